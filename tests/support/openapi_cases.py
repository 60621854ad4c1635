"""Cases that Schemathesis draws from the service's OpenAPI document, and the faults of the answers.

A request that is drawn from a schema alone is nearly always refused: its months have gaps, and no
id exists. So a part of the cases is *meant* to be accepted: drawn in the same way, then changed to
consecutive months and to decisions and reviews that exist in the right state.
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

from features.schema import COLUMNS

# drawn    from the schema
# negated  from the schema, with one thing made wrong
# meant    to be accepted
# stranger from the schema, with an unknown key
Kind = Literal["drawn", "negated", "meant", "stranger"]
Operation = APIOperation[Any, Any, Any, Any]
Case = AnyCase[Any]
Json = dict[str, Any]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    # Checks negated cases only.  There is no check that drawn cases are accepted: see above.
    negative_data_rejection,
]
ANSWER_WITHIN = 20.0  # seconds
UNKNOWN_KEY = f"Bearer clk_{'0' * 16}_{'Q' * 43}"
_WHOLE = [column.name for column in COLUMNS if column.null == "whole"]
_AMOUNTS = [column.name for column in COLUMNS if column.kind == "amount"]
_COUNTS = [column.name for column in COLUMNS if column.kind == "whole_number"]
# The last part of the path of a step -> the kind of its row -> the state after it.
_ROW_KINDS = {"start": "started", "resolution": "resolution", "withdrawal": "withdrawal"}
_STATE_AFTER = {"started": "in_review", "resolution": "resolved", "withdrawal": "withdrawn"}
_STATES_BEFORE = {
    "start": ("open",),
    "resolution": ("in_review",),
    "withdrawal": ("open", "in_review"),
}
_ANY_STATE = ("open", "in_review", "resolved", "withdrawn")


class Result(NamedTuple):
    """A case, its answer (None = none in time), and what is wrong with the answer."""

    operation: str
    kind: Kind
    case: Case
    response: Response | None
    wrong: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        return self.response is not None and self.response.status_code < 300


@dataclass
class KnownDecision:
    """A decision that the service has answered."""

    account_id: str
    limit_before: float
    lowest_limit: float  # that a review can lead to while there is no later decision
    as_of: str
    undecided: bool  # a person has to make it
    has_notice: bool


@dataclass
class Known:
    """What the service has stored, by its answers."""

    # The kind of the row and its id; for a step, the id of its review.
    rows: set[tuple[str, str]] = field(default_factory=set)
    decisions: dict[str, KnownDecision] = field(default_factory=dict)
    newest: dict[str, str] = field(default_factory=dict)  # account id -> its newest decision
    # review id -> decision id and state
    reviews: dict[str, tuple[str, str]] = field(default_factory=dict)
    reviewers: dict[str, str] = field(default_factory=dict)

    def learn(self, operation: str, response: Response) -> None:
        """Add what an answer says is stored."""
        if response.status_code >= 300 or not operation.startswith("POST"):
            return
        answer, last = response.json(), operation.rsplit("/", 1)[1]
        if last in _ROW_KINDS:
            self._learn_step(_ROW_KINDS[last], answer)
        elif last == "reviews":
            self._learn_review(answer)
        elif last == "notifications":
            self.rows.add(("notification", answer["notification"]["notification_id"]))
        else:
            for decision in answer.get("decisions") or [answer.get("decision") or answer]:
                self._learn_decision(decision)

    def _learn_step(self, kind: str, review: Json) -> None:
        review_id = review["review_id"]
        self.rows.add((kind, review_id))
        self.reviews[review_id] = (review["decision_id"], _STATE_AFTER[kind])
        self.reviewers[review_id] = review["reviewer"]

    def _learn_review(self, review: Json) -> None:
        decision_id = review["decision_id"]
        self.rows.add(("review", review["review_id"]))
        if self.decisions[decision_id].undecided:
            self.rows.add(("withdrawal", f"policy's of {decision_id}"))
        self.reviews[review["review_id"]] = (decision_id, "open")

    def _learn_decision(self, decision: Json) -> None:
        decision_id, undecided = decision["decision_id"], decision["action"] == "review"
        if decision_id in self.decisions:
            return
        self.newest[decision["account_id"]] = decision_id
        self.decisions[decision_id] = KnownDecision(
            account_id=decision["account_id"],
            limit_before=decision["credit_limit"],
            lowest_limit=decision["proposed_limit"] if undecided else decision["new_limit"],
            as_of=decision["as_of"],
            undecided=undecided,
            has_notice=decision["notice"] is not None,
        )
        self.rows.add(("decision", decision_id))
        if undecided:
            self.rows.add(("review", f"policy's of {decision_id}"))

    def with_notice(self) -> list[str]:
        """The decisions that a customer is to be notified of."""
        return [name for name, decision in self.decisions.items() if decision.has_notice]

    def without_review(self) -> list[str]:
        """The decisions without an unanswered review of a customer."""
        under_way = {
            decision for decision, state in self.reviews.values() if state in ("open", "in_review")
        }
        return [decision for decision in self.decisions if decision not in under_way]

    def in_state(self, *states: str) -> list[str]:
        """The reviews in one of these states."""
        return [review for review, (_, state) in self.reviews.items() if state in states]


@dataclass(frozen=True)
class Client:
    """Where the service is, the headers of its keys, and how long it has to answer, in seconds.

    Who asks for a review cannot answer it, so the steps of an answer have a key of their own.
    """

    url: str
    key: str
    reviewer_key: str
    within: float = ANSWER_WITHIN

    def key_for(self, operation: Operation) -> str:
        """The header of the key that may call an operation."""
        is_answer = operation.label.endswith(("/start", "/resolution"))
        return self.reviewer_key if is_answer else self.key


class Battery:
    """Sends cases of every operation of a document, in turns.

    `accounts` are requests as a lender has them.
    """

    def __init__(
        self, document: Mapping[str, Any], client: Client, accounts: Sequence[Json]
    ) -> None:
        self.schema = read_schema(document)
        self.operations = {operation.label: operation for operation in all_operations(self.schema)}
        self.known = Known()
        self._client, self._accounts = client, accounts
        self._session = requests.Session()
        self._turn = 0

    def run(self, count: int) -> list[Result]:
        """Send `count` cases of each kind for each operation, and a tenth of that by strangers."""
        lots: list[tuple[Operation, Kind, list[Case]]] = []
        for operation in self.operations.values():
            positive, negative = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
            if not operation.path.startswith("/v1/"):
                lots.append((operation, "meant", draw_cases(operation, positive, 1)))
                continue
            strangers = max(count // 10, 1)
            cases = draw_cases(operation, positive, 2 * count + strangers)
            lots.append((operation, "drawn", cases[:count]))
            lots.append((operation, "meant", cases[count : 2 * count]))
            lots.append((operation, "stranger", cases[2 * count :]))
            lots.append((operation, "negated", draw_cases(operation, negative, count)))
        results: list[Result] = []
        for self._turn in range(max(len(cases) for _, _, cases in lots)):
            for operation, kind, cases in lots:
                if self._turn < len(cases):
                    results.append(self._result(operation, kind, cases[self._turn]))
        return results

    def _result(self, operation: Operation, kind: Kind, case: Case) -> Result:
        if kind == "meant":
            case = self._made_acceptable(operation, case)
        elif kind != "stranger" and self._turn % 2:
            self._use_known_id(operation, case)
        key = UNKNOWN_KEY if kind == "stranger" else self._client.key_for(operation)
        response, wrong = self._send(operation, case, key)
        if response is None:
            return Result(operation.label, kind, case, response, wrong)
        if kind == "meant" and response.status_code >= 300:
            wrong += (f"meant to be accepted: {response.status_code} {response.text[:300]}",)
        if kind == "stranger" and response.status_code != 401:
            wrong += ("a stranger is answered",)
        if kind == "meant" and "Idempotency-Key" in (case.headers or {}):
            again, _ = self._send(operation, case, self._client.key_for(operation))
            if again is None or again.content != response.content:
                wrong += ("the same key got another answer",)
        return Result(operation.label, kind, case, response, wrong)

    def _send(
        self, operation: Operation, case: Case, key: str
    ) -> tuple[Response | None, tuple[str, ...]]:
        headers, within = {"Authorization": key}, self._client.within
        try:
            response = case.call(self._client.url, self._session, headers, timeout=within)
        except (requests.RequestException, TimeoutError) as error:
            return None, (f"no answer: {type(error).__name__}",)
        wrong = find_faults(case, response)
        self.known.learn(operation.label, response)
        return response, wrong

    def _use_known_id(self, operation: Operation, case: Case) -> None:
        """Give a case an id that exists, unless its id is the part that was negated."""
        negated = case.meta is not None and any(
            location == ParameterLocation.PATH and info.mode.is_negative
            for location, info in case.meta.components.items()
        )
        if "{id}" not in operation.path or negated:
            return
        of_decision = operation.path.startswith("/v1/decisions")
        known = list(self.known.decisions if of_decision else self.known.reviews)
        if known:
            case.path_parameters = {"id": known[self._turn % len(known)]}

    # Cases that are meant to be accepted

    def _made_acceptable(self, operation: Operation, case: Case) -> Case:
        """Return the case, changed so that the service has to accept it."""
        known_id = self._acceptable_id(operation.label)
        # A case without a body has a marker that cannot be copied.
        body = copy.deepcopy(case.body) if isinstance(case.body, dict) else case.body
        if isinstance(body, dict):
            self._mend_body(operation.label, body, known_id or "")
        return operation.Case(
            path_parameters={} if known_id is None else {"id": known_id},
            query=self._acceptable_query(operation.label, case),
            headers=self._acceptable_headers(case),
            body=body,
            media_type=case.media_type,
        )

    def _acceptable_id(self, label: str) -> str | None:
        if label == "POST /v1/decisions/{id}/reviews":
            return self._decision(self.known.without_review())
        if label == "POST /v1/decisions/{id}/notifications":
            return self._decision(self.known.with_notice())
        if label == "GET /v1/decisions/{id}":
            return self._decision(list(self.known.decisions))
        if "/v1/reviews/{id}" in label:
            step = label.rsplit("/", 1)[1]
            return self._review(_STATES_BEFORE.get(step, _ANY_STATE))
        return None

    def _acceptable_query(self, label: str, case: Case) -> Json:
        query = dict(case.query or {})
        if "account_id" in query:
            # Of an account without decisions there is no page after another.
            query.pop("after", None)
        # Of the due accounts no place is known: that of a decision is taken again by the next one.
        if query.pop("after", None) is not None and self._turn % 2 and "due" not in label:
            if "notices" in label:
                query["after"] = self._decision(self.known.with_notice())
            else:
                query["after"] = self._review(tuple(_STATE_AFTER.values()))
        return query

    def _acceptable_headers(self, case: Case) -> dict[str, str]:
        headers = {
            name: value
            for name, value in (case.headers or {}).items()
            if name.lower() != "authorization"
        }
        if "Idempotency-Key" in headers:
            # Of a key that is used once.
            unique = f"{self._turn}-{len(self.known.rows)}"
            headers["Idempotency-Key"] = f"{headers['Idempotency-Key'][:100]}-{unique}"
        return headers

    def _mend_body(self, label: str, body: Json, known_id: str) -> None:
        for place, request in enumerate(body.get("accounts", [body])):
            self._mend_request(label, request, place, known_id)
        if "choices" in body:
            body["choices"] = None  # the choices that are possible depend on the account
        if label.endswith("notifications"):
            now = datetime.datetime.now(datetime.UTC)
            body["sent_at"] = now.strftime("%Y-%m-%dT%H:%M:%SZ")
            body["review_id"] = None
        if label.endswith("start"):
            body["instead_of"] = None
        if label.endswith("resolution"):
            self._mend_resolution(body, known_id)

    def _mend_request(self, label: str, request: Json, place: int, known_id: str) -> None:
        if "prior" in request:
            request["prior"] = None  # the priors that are possible depend on the account
        if request.get("statements"):
            request["statements"] = with_consecutive_months(request["statements"], self._turn % 4)
            if label.endswith("reviews"):
                as_of = self.known.decisions[known_id].as_of
                request["statements"] = moved_to_end_in(request["statements"], as_of)
        if "account_id" in request:
            drawn = request["account_id"]
            if (self._turn + place) % 3 == 0:
                request |= self._accounts[(self._turn + place) % len(self._accounts)]
            # An account has one product.
            request["account_id"] = f"{drawn[:50]}-{place}-{request['product']}"

    def _mend_resolution(self, body: Json, review_id: str) -> None:
        decision_id, _ = self.known.reviews[review_id]
        decision = self.known.decisions[decision_id]
        body["reviewer"] = self.known.reviewers[review_id]
        if decision.undecided and body["outcome"] == "uphold":
            body["outcome"] = "overturn"
        # After a later decision the lowest limit is the one in force, which no answer has told.
        if self.known.newest[decision.account_id] != decision_id and body["outcome"] == "amend":
            body["outcome"] = "overturn"
        if body["outcome"] == "amend":
            drawn = body.get("new_limit") or 0.0
            body["new_limit"] = min(max(drawn, decision.lowest_limit), decision.limit_before)
        else:
            body["new_limit"] = None

    def _decision(self, fitting: Sequence[str]) -> str:
        """Return one of these decisions, or a new one with a notice."""
        if fitting:
            return fitting[self._turn % len(fitting)]
        for account in self._accounts:
            self._prepare("POST /v1/decisions", account)
            if self.known.with_notice():
                return self.known.with_notice()[-1]
        raise LookupError("expected an account whose limit is not kept, got none")

    def _review(self, states: Sequence[str]) -> str:
        """Return a review in one of these states; makes one if there is none."""
        if fitting := self.known.in_state(*states):
            return fitting[self._turn % len(fitting)]
        if "open" in states:
            decision_id = self._decision(self.known.without_review())
            path, body = "POST /v1/decisions/{id}/reviews", {"reason": "It was paid."}
            self._prepare(path, body, decision_id)
            return self._review(states)
        open_review = self._review(("open",))
        self._prepare("POST /v1/reviews/{id}/start", {"reviewer": "Li Na"}, open_review)
        if "in_review" not in states:
            taken = self._review(("in_review",))
            self._prepare("POST /v1/reviews/{id}/withdrawal", {"reason": None}, taken)
        return self._review(states)

    def _prepare(self, label: str, body: Json, known_id: str | None = None) -> None:
        operation = self.operations[label]
        path = {} if known_id is None else {"id": known_id}
        case = operation.Case(path_parameters=path, body=body, media_type="application/json")
        response, wrong = self._send(operation, case, self._client.key_for(operation))
        if response is None or response.status_code >= 300:
            text = "" if response is None else response.text[:300]
            raise LookupError(f"{label}: {wrong} {text}")


def read_schema(document: Mapping[str, Any]) -> BaseSchema:
    """Return the document as Schemathesis reads it.

    Each case gets its key from the test: Schemathesis draws none.
    """
    generation = GenerationConfig(with_security_parameters=False)
    config = Config(projects=ProjectsConfig(default=ProjectConfig(generation=generation)))
    return schemathesis.openapi.from_dict(copy.deepcopy(dict(document)), config=config)


def all_operations(schema: BaseSchema) -> Iterator[Operation]:
    for path, methods in schema.items():
        for method in methods:
            yield schema[path][method]


def draw_cases(operation: Operation, mode: GenerationMode, count: int) -> list[Case]:
    """Return `count` cases, or all that there are; the same ones in each run."""
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


def find_faults(case: Case, response: Response) -> tuple[str, ...]:
    """Return where an answer is not as the document says."""
    try:
        case.validate_response(response, checks=CHECKS)
    except FailureGroup as group:
        return tuple(f"{type(error).__name__}: {error}" for error in group.exceptions)
    return ()


def with_consecutive_months(statements: Sequence[Mapping[str, Any]], months_ago: int) -> list[Json]:
    """Return the statements with consecutive months, and nulls where the columns allow them.

    The last month is `months_ago` months before the last full one.
    """
    today = datetime.datetime.now(datetime.UTC).date()
    last = today.year * 12 + today.month - 2 - months_ago
    mended: list[Json] = []
    for place, statement in enumerate(statements):
        month = _month_text(last - len(statements) + 1 + place)
        mended.append(_mended(statement, statements[0]) | {"month": month})
    return mended


def _mended(statement: Mapping[str, Any], first: Mapping[str, Any]) -> Json:
    mended = dict(statement)
    for name in _WHOLE:
        # Unknown in all statements or in none.
        if (mended[name] is None) != (first[name] is None):
            mended[name] = first[name]
    # JSON Schema takes 3.0 for a whole number; the service does not.
    for name in _COUNTS:
        if mended[name] is not None:
            mended[name] = int(mended[name])
    return mended


def moved_to_end_in(statements: Sequence[Json], month: str) -> list[Json]:
    """Return statements with consecutive months so that the last is `month`; none before 1900."""
    last = int(month[:4]) * 12 + int(month[5:]) - 1
    latest_first = sorted(statements, key=lambda statement: str(statement["month"]), reverse=True)
    moved = [
        statement | {"month": _month_text(last - back)}
        for back, statement in enumerate(latest_first)
    ]
    return [statement for statement in moved if statement["month"] >= "1900-01"]


def _month_text(index: int) -> str:
    """Return YYYY-MM for a number of months since year 0."""
    year, month = divmod(index, 12)
    return f"{year:04d}-{month + 1:02d}"


def describe_result(result: Result) -> str:
    """Return a case and what is wrong with its answer, as text."""
    sent = {
        "path": result.case.path_parameters,
        "query": result.case.query,
        "headers": dict(result.case.headers or {}),
    }
    body = result.case.body
    if isinstance(body, dict | list | str):
        text = json.dumps(body, ensure_ascii=True, default=str)
    else:
        text = repr(body)
    return f"{result.operation} {result.kind} {sent} {text[:400]}: {' | '.join(result.wrong)}"
