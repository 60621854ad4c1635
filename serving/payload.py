"""Request and answer as JSON: the only place that knows it.

Strict: nothing is converted or left out.  Every column of the statement is a required key, and unknown is said with null, so
that nobody forgets a field by accident.  Ranges, units and meanings are those of :mod:`features.schema`.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

import polars as pl
from pydantic import AfterValidator, ConfigDict, Field, PrivateAttr, ValidationError, create_model
from pydantic.config import JsonDict
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError
from starlette.requests import Request as HttpRequest

from features.schema import COLUMNS, LONGEST_WINDOW, PRODUCTS, SMALLEST_AMOUNT, Column, table
from serving import example
from serving.caller import Caller, caller_of
from serving.decision import Bundle, Decision
from serving.decision.notice import Notice as MadeNotice
from serving.decision.reasons import Reason as PrincipalReason
from serving.descriptor import STRICT, IODescriptor, Strict, Text
from serving.edge import read_body
from serving.idempotency import key_of
from serving.query import switched_on
from serving.refusals import Fault, Refused, of_validation, path_of, refusal
from serving.way_back import Advice

MOST_ACCOUNTS = 100
_OF_REQUEST = ("account_id", "product")  # columns that are stated once for all statements
_WRITTEN = {"amount": f", 0 or at least {SMALLEST_AMOUNT:g} away from it", "whole_number": ", written without a point"}
_NO_MONEY: JsonDict = {"exclusiveMinimum": -SMALLEST_AMOUNT, "exclusiveMaximum": SMALLEST_AMOUNT, "not": {"const": 0}}
_NULL = {"never": "", "any": "; null = unknown", "whole": "; null = unknown, in all statements or in none"}
_SWITCHES = {"advice": "Whether each decision comes with the advice on it."}
_Submitted = TypeVar("_Submitted", bound="Submitted")


def _field(column: Column) -> Any:
    """The annotation and field of a column."""
    number = float if column.kind == "amount" else int
    low, high, above = (None if bound is None else number(bound) for bound in (column.low, column.high, column.above))
    value: Any = Annotated[number, Field(ge=low, le=high, gt=above)]
    if column.kind == "amount":
        value = Annotated[value, *MONEY]
    kind = value if column.null == "never" else value | None
    return kind, Field(description=f"{column.meaning}; {column.unit}{_WRITTEN[column.kind]}{_NULL[column.null]}")


def _some_money(amount: float) -> float:
    if 0.0 < abs(amount) < SMALLEST_AMOUNT:
        raise PydanticCustomError(
            "amount", "Input should be 0 or at least {smallest} away from it", {"smallest": SMALLEST_AMOUNT}
        )
    return amount + 0.0  # of -0.0 that makes 0.0


MONEY: tuple[Any, ...] = (AfterValidator(_some_money), Field(json_schema_extra={"not": _NO_MONEY}))  # of every amount

if TYPE_CHECKING:
    Product = str

    class Statement(Strict):
        """One month of an account."""

        month: str
else:
    Product = Literal[PRODUCTS]
    Statement = create_model(
        "Statement",
        __base__=Strict,
        __module__=__name__,
        __doc__="One month of an account.  Amounts in CNY.",
        month=(str, Field(pattern="^(19|20)[0-9]{2}-(0[1-9]|1[0-2])$", description="the month that it closes, YYYY-MM")),
        **{c.name: _field(c) for c in COLUMNS if c.kind in ("amount", "whole_number")},
    )


class Submitted(IODescriptor):
    """A request as it comes in: parsed, or handed on as the problem that it has."""

    model_config = STRICT
    largest_body: ClassVar[int] = 256 * 1024
    switches: ClassVar[Mapping[str, str]] = {}  # what may be true or false in the URL's query, and what it means

    _on: frozenset[str] = PrivateAttr(default=frozenset())
    _key: str | None = PrivateAttr(default=None)
    _caller: Caller = PrivateAttr()
    _arrived: float = PrivateAttr(default_factory=time.monotonic)

    @classmethod
    async def from_http_request(cls, request: HttpRequest, serde: object) -> IODescriptor:
        """The request, or the :class:`Problem` to answer with: BentoML logs what is raised here with the values sent."""
        arrived = time.monotonic()
        try:
            on = switched_on(request.scope["query_string"], cls.switches)
            key = key_of(request.headers)
            submitted = parse(cls, await read_body(request, cls.largest_body))
        except Refused as refused:
            return refused.problem
        submitted._on, submitted._key, submitted._arrived = on, key, arrived
        submitted._caller = caller_of(request.scope)
        return submitted

    @property
    def key(self) -> str | None:
        """What makes asking again the same request; None = nothing does."""
        return self._key

    @property
    def caller(self) -> Caller:
        """Who asks, as the gate found."""
        return self._caller

    @property
    def arrived(self) -> float:
        """When the request came, on time.monotonic's clock."""
        return self._arrived

    @property
    def with_advice(self) -> bool:
        """Whether the URL asks for advice beside the decision."""
        return "advice" in self._on

    def faults(self) -> list[Fault]:
        """What is wrong beyond single fields."""
        return []


class Request(Submitted):
    """The statements of one account, in any order.  The last month is `as_of`; a month missing between two is refused."""

    model_config = ConfigDict(json_schema_extra={"example": example.REQUEST})
    switches: ClassVar[Mapping[str, str]] = _SWITCHES

    account_id: Annotated[
        str,
        Field(pattern="^[A-Za-z0-9][A-Za-z0-9._:-]*$", max_length=64, description="the lender's name for the account"),
    ]
    product: Annotated[Product, Field(description="what the limit is for")]
    currency: Annotated[Literal["CNY"], Field(description="of all amounts")]
    statements: Annotated[list[Statement], Field(min_length=1, max_length=LONGEST_WINDOW)]


class BatchRequest(Submitted):
    """Several accounts; a fault in one refuses them all."""

    model_config = ConfigDict(json_schema_extra={"example": {"accounts": [example.REQUEST]}})
    largest_body: ClassVar[int] = 2 * 1024 * 1024
    switches: ClassVar[Mapping[str, str]] = _SWITCHES

    accounts: Annotated[list[Request], Field(min_length=1, max_length=MOST_ACCOUNTS, description="each account once")]

    def faults(self) -> list[Fault]:
        """Accounts that were there before."""
        names = [request.account_id for request in self.accounts]
        first = {name: place for place, name in reversed(list(enumerate(names)))}
        repeated = [place for place, name in enumerate(names) if first[name] != place]
        return [Fault(path=f"$.accounts[{i}].account_id", message="expected each account once") for i in repeated]


class ReasonFeature(Strict):
    """A feature behind a reason."""

    name: str
    value: Annotated[float | None, Field(description="the account's; null = unknown")]
    reference_value: Annotated[
        float | None, Field(description="median of the reference population where known; null = mostly unknown there")
    ]
    unit: Annotated[str, Field(description="months, days, count, share, times, CNY or yes_no")]
    contribution: Annotated[float, Field(description="to the log-odds, against the reference population")]


class Reason(Strict):
    """A principal reason."""

    rank: Annotated[int, Field(description="1 = first")]
    code: Annotated[str, Field(description="the reason group, or the rule that decided")]
    cause: Literal["risk", "behavior", "regulation"]
    share: Annotated[float | None, Field(description="of all that pushed toward the cut; null for a rule")]
    contribution: Annotated[
        float | None, Field(description="to the log-odds, of the group's features by themselves; null for a rule")
    ]
    effect: Annotated[
        float | None,
        Field(
            description="on the log-odds, of the group's behaviour with all that followed from it; "
            "null for a rule, and where behaviour does not drive the group or it is not known"
        ),
    ]
    text: Text
    features: Annotated[list[ReasonFeature], Field(description="those that pushed most first")]


class Notice(Strict):
    """What the customer is told of the decision."""

    kind: Annotated[
        Literal["adverse_action", "under_review"],
        Field(description="adverse_action for reduce and suspend; under_review where a person decides and nothing changes yet"),
    ]
    send_by: Annotated[datetime.date, Field(description="the last day to send it, on the lender's clock")]
    text: Annotated[Text, Field(description="paragraphs, a blank line between them")]


class ModelNote(Strict):
    """What decided."""

    name: str
    version: Annotated[str, Field(description='of the registered model; "" where it was never registered')]
    bundle: Annotated[str, Field(description="sha256 of the bundle")]
    reference: Annotated[str, Field(description="sha256 of the reference population")]
    policy: Annotated[str, Field(description="version of the policy")]


class Answer(IODescriptor):
    """The decision on one account, with its reasons."""

    model_config = ConfigDict(**STRICT, json_schema_extra={"example": example.ANSWER})

    decision_id: Annotated[str, Field(json_schema_extra={"format": "uuid"})]
    account_id: str
    as_of: Annotated[str, Field(description="month of the last statement, YYYY-MM")]
    decided_at: Annotated[str, Field(description="UTC, to the microsecond", json_schema_extra={"format": "date-time"})]
    action: Annotated[
        Literal["keep", "reduce", "suspend", "review"],
        Field(description="suspend = no new drawings; review = a person decides, and nothing changes yet"),
    ]
    credit_limit: Annotated[float, Field(description="before the decision")]
    new_limit: Annotated[float, Field(description="from effective_on; under review the present one")]
    proposed_limit: Annotated[float | None, Field(description="what a person is asked to confirm; null unless review")]
    currency: Literal["CNY"]
    effective_on: Annotated[datetime.date | None, Field(description="on the lender's clock; null unless the limit changes")]
    review_on: Annotated[
        datetime.date | None,
        Field(description="when the account is looked at again; under review the day by which a person decides; null for keep"),
    ]
    review_because: Annotated[list[str], Field(description="why a person decides; empty unless review")]
    probability: Annotated[float, Field(description="of 60 days past due or worse within 6 months, if nothing is done")]
    log_odds: Annotated[float, Field(description="logit of probability")]
    base_log_odds: Annotated[
        float, Field(description="mean log_odds of the reference population: log_odds less all contributions")
    ]
    cut_off: Annotated[float, Field(description="the probability from which limits are cut")]
    reasons: Annotated[list[Reason], Field(description="at most four; empty for keep")]
    notice: Annotated[Notice | None, Field(description="to the customer; null for keep")]
    model: ModelNote
    # Left out where it was not asked for: the answer's bytes are then those that they were before there was advice.
    advice: Annotated[
        Advice | SkipJsonSchema[None],
        Field(
            description="only where the URL asks for it, with ?advice=true",
            exclude_if=lambda advice: advice is None,
            json_schema_extra=lambda schema: schema.pop("default"),
        ),
    ] = None


class BatchAnswer(IODescriptor):
    """The decisions in the order of the request's accounts."""

    model_config = ConfigDict(**STRICT, json_schema_extra={"example": {"decisions": [example.ANSWER]}})

    decisions: list[Answer]


def parse(model: type[_Submitted], body: bytes) -> _Submitted:
    """The request in a body of UTF-8 JSON; raises :class:`serving.refusals.Refused` with a path to each fault.

    >>> import json
    >>> parse(Request, json.dumps(example.REQUEST).encode()).statements[-1].month
    '2026-10'
    """
    try:
        request = model.model_validate_json(body)
    except ValidationError as error:
        # Without its cause: the error holds what was sent.
        raise of_validation(error) from None
    faults = [Fault(path=path, message="expected each field once") for path in _repeated_fields(body)] or request.faults()
    if faults:
        raise refusal(HTTPStatus.UNPROCESSABLE_ENTITY, faults)
    return request


def statements(requests: Sequence[Request]) -> pl.DataFrame:
    """The statements of all requests as one table of :mod:`features.schema`; nothing is checked here."""
    return table(
        {
            **statement.__dict__,
            "account_id": request.account_id,
            "product": request.product,
            "month": datetime.date(int(statement.month[:4]), int(statement.month[5:]), 1),
        }
        for request in requests
        for statement in request.statements
    )


def answer(decision: Decision, bundle: Bundle, advice: Advice | None = None) -> Answer:
    """The answer for a decision that this bundle made, with the advice on it where one was asked for."""
    return Answer(
        decision_id=decision.decision_id,
        account_id=decision.account_id,
        as_of=f"{decision.as_of:%Y-%m}",
        decided_at=decision.decided_at.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        action=decision.action,
        credit_limit=decision.credit_limit,
        new_limit=decision.new_limit,
        proposed_limit=decision.proposed_limit,
        currency="CNY",
        effective_on=decision.effective_on,
        review_on=decision.review_on,
        review_because=list(decision.review_because),
        probability=decision.probability,
        log_odds=decision.log_odds,
        base_log_odds=decision.base_log_odds,
        cut_off=decision.cut_off,
        reasons=[_reason(reason) for reason in decision.reasons],
        notice=None if decision.notice is None else _notice(decision.notice),
        model=ModelNote(
            name=bundle.provenance.name,
            version=bundle.provenance.version,
            bundle=bundle.digest,
            reference=bundle.reference_digest,
            policy=bundle.policy.version,
        ),
        advice=advice,
    )


def _reason(reason: PrincipalReason) -> Reason:
    return Reason(
        rank=reason.rank,
        code=reason.code,
        cause=reason.cause,
        share=reason.share,
        contribution=reason.contribution,
        effect=reason.effect,
        text=Text(en=reason.text.en, zh=reason.text.zh),
        features=[
            ReasonFeature(
                name=f.name, value=f.value, reference_value=f.reference_value, unit=f.unit, contribution=f.contribution
            )
            for f in reason.features
        ],
    )


def _notice(notice: MadeNotice) -> Notice:
    return Notice(kind=notice.kind, send_by=notice.send_by, text=Text(en=notice.text.en, zh=notice.text.zh))


def encode(answered: IODescriptor) -> bytes:
    """The bytes that the endpoint sends; an answer has the same ones alone and in a batch."""
    return answered.model_dump_json().encode()


class _Repeating(dict[str, object]):
    """A JSON object in which a name stood twice."""

    repeated: str


def _repeated_fields(body: bytes) -> list[str]:
    """The paths of fields that stand twice in their object: RFC 8259 leaves open which of them counts.

    pydantic takes the last and does not tell.  The body has the right shape already, so what is walked has known names only.
    """
    found = False

    def read(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal found
        made = dict(pairs)
        if len(made) == len(pairs):
            return made
        found = True
        names = [name for name, _ in pairs]
        repeating = _Repeating(made)
        repeating.repeated = next(name for name in names if names.count(name) > 1)
        return repeating

    document = json.loads(body, object_pairs_hook=read)
    return list(_walk(document, ())) if found else []


def _walk(value: object, location: tuple[str | int, ...]) -> Iterator[str]:
    if isinstance(value, _Repeating):
        yield path_of((*location, value.repeated))
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _walk(inner, (*location, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _walk(inner, (*location, place))
