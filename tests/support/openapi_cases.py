"""Cases that Schemathesis makes from the service's OpenAPI document, and what is wrong with the
answers to them.

What is drawn from a schema alone is nearly always refused: no history has a month missing, and
nobody guesses an id.  So a part of the cases is *meant* to be accepted: drawn in the same way, then
led to months that follow each other and to decisions and reviews that are there in the state that
is asked for.
"""

from __future__ import annotations

import copy
import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import APIOperation, Config, GenerationMode, Response
from schemathesis import Case as AnyCase
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.core.parameters import ParameterLocation
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from features.schema import COLUMNS, SMALLEST_AMOUNT

Kind = Literal["drawn", "negated", "meant", "stranger"]
Operation = APIOperation[Any, Any, Any, Any]
Case = AnyCase[Any]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    # Only where a case was negated; that what is drawn is accepted holds of the meant ones alone,
    # see above.
    negative_data_rejection,
]
ANSWER_WITHIN = 20.0  # seconds
NOBODY = f"Bearer clk_{'0' * 16}_{'Q' * 43}"
_WHOLE = [column.name for column in COLUMNS if column.null == "whole"]
_AMOUNTS = [column.name for column in COLUMNS if column.kind == "amount"]
_COUNTS = [column.name for column in COLUMNS if column.kind == "whole_number"]
_STEPS = {"start": "started", "resolution": "resolution", "withdrawal": "withdrawal"}
_AFTER = {"started": "in_review", "resolution": "resolved", "withdrawal": "withdrawn"}


class Asked(NamedTuple):
    """A case, its answer (None = there was none in time), and what is wrong with it."""

    operation: str
    kind: Kind
    case: Case
    response: Response | None
    wrong: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        return self.response is not None and self.response.status_code < 300


@dataclass
class Known:
    """What the service has said so far that it keeps."""

    # kind, and the row's id or for a step its review's
    rows: set[tuple[str, str]] = field(default_factory=set)
    decisions: list[str] = field(default_factory=list)
    limits: dict[str, float] = field(default_factory=dict)  # before the decision
    due: list[str] = field(default_factory=list)
    least: dict[str, float] = field(default_factory=dict)  # what a review can leave of it
    as_of: dict[str, str] = field(default_factory=dict)
    undecided: set[str] = field(default_factory=set)  # decisions that a person has to make
    # review -> its decision and state
    reviews: dict[str, tuple[str, str]] = field(default_factory=dict)
    reviewers: dict[str, str] = field(default_factory=dict)

    def heard(self, operation: str, response: Response) -> None:
        """Take an answer that says that something was kept."""
        if response.status_code >= 300 or not operation.startswith("POST"):
            return
        answered, last = response.json(), operation.rsplit("/", 1)[1]
        if last in _STEPS:
            kind, review = _STEPS[last], answered["review_id"]
            self.rows.add((kind, review))
            self.reviews[review] = (answered["decision_id"], _AFTER[kind])
            self.reviewers[review] = answered["reviewer"]
        elif last == "reviews":
            self.rows.add(("review", answered["review_id"]))
            if answered["decision_id"] in self.undecided:
                self.rows.add(("withdrawal", f"policy's of {answered['decision_id']}"))
            self.reviews[answered["review_id"]] = (answered["decision_id"], "open")
        elif last == "notifications":
            self.rows.add(("notification", answered["notification"]["notification_id"]))
        else:
            for decision in answered.get("decisions") or [answered.get("decision") or answered]:
                name = decision["decision_id"]
                if name not in self.limits:
                    self.decisions.append(name)
                    self.limits[name] = decision["credit_limit"]
                    self.as_of[name] = decision["as_of"]
                    self.least[name] = (
                        0.0 if decision["action"] == "review" else decision["new_limit"]
                    )
                    if decision["action"] == "review":
                        self.undecided.add(name)
                        self.rows.add(("review", f"policy's of {name}"))
                    self.rows.add(("decision", name))
                    self.due += [name] * (decision["notice"] is not None)

    def in_state(self, *states: str) -> list[str]:
        return [review for review, (_, state) in self.reviews.items() if state in states]

    def without_review(self) -> list[str]:
        under_way = {
            decision for decision, state in self.reviews.values() if state in ("open", "in_review")
        }
        return [decision for decision in self.decisions if decision not in under_way]


class Battery:
    """Every operation of a document asked of a service, in turns; ``accounts``: requests as a
    lender has them.
    """

    def __init__(
        self,
        document: Mapping[str, Any],
        url: str,
        key: str,
        accounts: Sequence[dict[str, Any]],
        within: float = ANSWER_WITHIN,
    ) -> None:
        self.schema = described(document)
        self.operations = {each.label: each for each in all_operations(self.schema)}
        self.known = Known()
        self._url, self._key, self._accounts, self._within = url, key, accounts, within
        self._session = requests.Session()
        self._turn = 0

    def run(self, each: int, of_health: int = 1) -> list[Asked]:
        """So many cases of each kind of each operation of ours, of which some are named after a
        kind that cannot be made.
        """
        lots: list[tuple[Operation, Kind, list[Case]]] = []
        for operation in self.operations.values():
            positive, negative = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
            if not operation.path.startswith("/v1/"):
                lots.append((operation, "meant", drawn(operation, positive, of_health)))
                continue
            strangers = max(each // 10, 1)
            made = drawn(operation, positive, 2 * each + strangers)
            lots.append((operation, "drawn", made[:each]))
            lots.append((operation, "meant", made[each : 2 * each]))
            lots.append((operation, "stranger", made[2 * each :]))
            lots.append((operation, "negated", drawn(operation, negative, each)))
        found: list[Asked] = []
        for self._turn in range(max(len(cases) for _, _, cases in lots)):
            found += [
                self._ask(operation, kind, cases[self._turn])
                for operation, kind, cases in lots
                if self._turn < len(cases)
            ]
        return found

    def _ask(self, operation: Operation, kind: Kind, case: Case) -> Asked:
        if kind == "meant":
            case = self._meant(operation, case)
        elif kind != "stranger" and self._turn % 2:
            self._lead(operation, case)
        response, wrong = self._sent(operation, case, NOBODY if kind == "stranger" else self._key)
        if response is not None:
            if kind == "meant" and response.status_code >= 300:
                wrong += (f"meant to be accepted: {response.status_code} {response.text[:300]}",)
            if kind == "stranger" and response.status_code != 401:
                wrong += ("a stranger is answered",)
            if kind == "meant" and "Idempotency-Key" in (case.headers or {}):
                again, _ = self._sent(operation, case, self._key)
                if again is None or again.content != response.content:
                    wrong += ("asked again with its key, another answer",)
        return Asked(operation.label, kind, case, response, wrong)

    def _sent(
        self, operation: Operation, case: Case, key: str
    ) -> tuple[Response | None, tuple[str, ...]]:
        try:
            response = case.call(
                self._url, self._session, {"Authorization": key}, timeout=self._within
            )
        except (requests.RequestException, TimeoutError) as error:
            return None, (f"no answer: {type(error).__name__}",)
        wrong = faults(case, response)
        self.known.heard(operation.label, response)
        return response, wrong

    def _lead(self, operation: Operation, case: Case) -> None:
        """Lead a case to an id that is there, unless its id is what was negated."""
        negated = case.meta is not None and any(
            location == ParameterLocation.PATH and info.mode.is_negative
            for location, info in case.meta.components.items()
        )
        if "{id}" in operation.path and not negated:
            known = (
                self.known.decisions
                if operation.path.startswith("/v1/decisions")
                else list(self.known.reviews)
            )
            if known:
                case.path_parameters = {"id": known[self._turn % len(known)]}

    def _meant(self, operation: Operation, case: Case) -> Case:
        """The case, led to be accepted."""
        label, query = operation.label, dict(case.query or {})
        # nothing at all is no value to be copied
        body = copy.deepcopy(case.body) if isinstance(case.body, dict) else case.body
        headers = {
            name: value
            for name, value in (case.headers or {}).items()
            if name.lower() != "authorization"
        }
        if "Idempotency-Key" in headers:
            headers["Idempotency-Key"] = (
                f"{headers['Idempotency-Key'][:100]}-{self._turn}-{len(self.known.rows)}"
            )
        name: str | None = None
        if label.startswith("POST /v1/decisions/{id}/"):
            name = self._decision(
                self.known.without_review() if label.endswith("reviews") else self.known.due
            )
        elif label == "GET /v1/decisions/{id}":
            name = self._decision(self.known.decisions)
        elif "/v1/reviews/{id}" in label:
            states = {
                "start": ("open",),
                "resolution": ("in_review",),
                "withdrawal": ("open", "in_review"),
            }
            name = self._review(
                states.get(label.rsplit("/", 1)[1], ("open", "in_review", "resolved", "withdrawn"))
            )
        elif query.pop("after", None) is not None and self._turn % 2:
            query["after"] = (
                self._decision(self.known.due)
                if "notices" in label
                else self._review(tuple(_AFTER.values()))
            )
        path = {} if name is None else {"id": name}
        if isinstance(body, dict):
            self._mend(label, body, name)
        return operation.Case(
            path_parameters=path,
            query=query,
            headers=headers,
            body=body,
            media_type=case.media_type,
        )

    def _mend(self, label: str, body: dict[str, Any], name: str | None) -> None:
        requests_in = body.get("accounts", [body])
        for place, request in enumerate(requests_in):
            if request.get("statements"):
                request["statements"] = mended(request["statements"], self._turn % 4)
                if label.endswith("reviews"):
                    _end_in(request["statements"], self.known.as_of[name or ""])
            if "account_id" in request:
                request["account_id"] = f"{request['account_id'][:50]}-{place}"
                if (self._turn + place) % 3 == 0:
                    request |= self._accounts[(self._turn + place) % len(self._accounts)] | {
                        "account_id": request["account_id"]
                    }
        if "choices" in body:
            body["choices"] = None  # what may be chosen depends on the account
        if label.endswith("notifications"):
            body["sent_at"] = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            body["review_id"] = None
        if label.endswith("start"):
            body["instead_of"] = None
        if label.endswith("resolution"):
            decision = self.known.reviews[name or ""][0]
            body["reviewer"] = self.known.reviewers[name or ""]
            if decision in self.known.undecided and body["outcome"] == "uphold":
                body["outcome"] = "overturn"
            wanted = min(
                max(body.get("new_limit") or 0.0, self.known.least[decision]),
                self.known.limits[decision],
            )
            body["new_limit"] = wanted if body["outcome"] == "amend" else None

    def _decision(self, fitting: Sequence[str]) -> str:
        """One of these, or a new one that somebody has to be told of."""
        if fitting:
            return fitting[self._turn % len(fitting)]
        for account in self._accounts:
            self._prepare("POST /v1/decisions", account)
            if self.known.due:
                return self.known.due[-1]
        raise LookupError("expected an account among them whose limit is not kept")

    def _review(self, states: Sequence[str]) -> str:
        """A review in one of these states, brought there where there is none."""
        if fitting := self.known.in_state(*states):
            return fitting[self._turn % len(fitting)]
        if "open" in states:
            decision = self._decision(self.known.without_review())
            self._prepare("POST /v1/decisions/{id}/reviews", {"reason": "It was paid."}, decision)
        else:
            self._prepare(
                "POST /v1/reviews/{id}/start", {"reviewer": "Li Na"}, self._review(("open",))
            )
            if "in_review" not in states:
                self._prepare(
                    "POST /v1/reviews/{id}/withdrawal",
                    {"reason": None},
                    self._review(("in_review",)),
                )
        return self._review(states)

    def _prepare(self, label: str, body: dict[str, Any], name: str | None = None) -> None:
        operation = self.operations[label]
        path = {} if name is None else {"id": name}
        case = operation.Case(path_parameters=path, body=body, media_type="application/json")
        response, wrong = self._sent(operation, case, self._key)
        if response is None or response.status_code >= 300:
            raise LookupError(f"{label}: {wrong} {'' if response is None else response.text[:300]}")


def _end_in(statements: list[dict[str, Any]], month: str) -> None:
    """Move statements whose months follow each other so that the last is of this month; none can be
    of before 1900.
    """
    last = int(month[:4]) * 12 + int(month[5:]) - 1
    for back, statement in enumerate(
        sorted(statements, key=lambda one: str(one["month"]), reverse=True)
    ):
        year, number = divmod(last - back, 12)
        statement["month"] = f"{year:04d}-{number + 1:02d}"
    statements[:] = [statement for statement in statements if statement["month"] >= "1900-01"]


def described(document: Mapping[str, Any]) -> BaseSchema:
    """The document as Schemathesis reads it.  Who asks is said with each case, never drawn."""
    generation = GenerationConfig(with_security_parameters=False)
    config = Config(projects=ProjectsConfig(default=ProjectConfig(generation=generation)))
    return schemathesis.openapi.from_dict(copy.deepcopy(dict(document)), config=config)


def all_operations(schema: BaseSchema) -> Iterator[Operation]:
    for path, methods in schema.items():
        for method in methods:
            yield schema[path][method]


def drawn(operation: Operation, mode: GenerationMode, count: int) -> list[Case]:
    """So many cases, or all that there are; the same ones in each run."""
    cases: list[Case] = []

    @settings(
        max_examples=count,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def draw(case: Case) -> None:
        cases.append(case)

    draw()
    return cases[:count]


def faults(case: Case, response: Response) -> tuple[str, ...]:
    """Where an answer is not what the document says."""
    try:
        case.validate_response(response, checks=CHECKS)
    except FailureGroup as group:
        return tuple(f"{type(error).__name__}: {error}" for error in group.exceptions)
    return ()


def mended(statements: Sequence[Mapping[str, Any]], months_ago: int) -> list[dict[str, Any]]:
    """The statements with months that follow each other, and what is unknown in the first unknown
    in all.
    """
    today = datetime.datetime.now(datetime.UTC).date()
    last = today.year * 12 + today.month - 2 - months_ago
    found = []
    for place, statement in enumerate(statements):
        index = last - len(statements) + 1 + place
        whole = {
            name: statements[0][name]
            for name in _WHOLE
            if (statement[name] is None) != (statements[0][name] is None)
        }
        made = {**statement, **whole, "month": f"{index // 12}-{index % 12 + 1:02d}"}
        # To JSON Schema 3.0 is a whole number and 1e-300 an amount; here neither is.
        made |= {name: int(made[name]) for name in _COUNTS if made[name] is not None}
        made |= {
            name: SMALLEST_AMOUNT
            for name in _AMOUNTS
            if made[name] and abs(made[name]) < SMALLEST_AMOUNT
        }
        found.append(made)
    return found


def shown(asked: Asked) -> str:
    """A case with what is wrong, for whoever has to mend it."""
    sent = {
        "path": asked.case.path_parameters,
        "query": asked.case.query,
        "headers": dict(asked.case.headers or {}),
    }
    body = asked.case.body
    text = (
        json.dumps(body, ensure_ascii=True, default=str)
        if isinstance(body, dict | list | str)
        else repr(body)
    )
    return f"{asked.operation} {asked.kind} {sent} {text[:400]}: {' | '.join(asked.wrong)}"
