"""The request and the answer of a decision as JSON.

Strict: values are not converted, and every column of a statement is a required key, unknown as
null, so that no field is left out by accident. Ranges, units and meanings are those of
:mod:`features.schema`.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import polars as pl
from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    create_model,
    model_serializer,
)
from pydantic.json_schema import SkipJsonSchema

from features.limits import (
    ACCOUNT_ID_FORM,
    ACCOUNT_ID_PATTERN,
    LONGEST_ACCOUNT_ID,
    MONTH_FORM,
    MONTH_PATTERN,
    MONTHS,
)
from features.schema import COLUMNS, LONGEST_WINDOW, PRODUCTS, table
from features.statements import Row, Statements, read_rows, read_table
from serving.schemas import examples
from serving.schemas.advice import Advice
from serving.schemas.base import DETAIL_TEXT, ApiRequest
from serving.schemas.lists import DecisionInBrief
from serving.schemas.prior import Prior, make_prior
from serving.schemas.reason import (
    ComparisonNote,
    DetailIfAsked,
    Reason,
    SinceLast,
    make_comparison,
    make_reason,
    make_since_last,
)
from serving.schemas.statement import ROUNDED, statement_field
from serving.storage.timestamps import encode_time
from serving.web.errors import Fault
from serving.web.models import STRICT, Strict, Text, matching_text

if TYPE_CHECKING:  # at run time these would load numba
    from serving.decision import notice, result
    from serving.decision.bundle import Bundle

MAX_ACCOUNTS = 100  # in a batch
_SWITCHES = {
    "advice": "Whether each decision comes with the advice on it.",
    "detail": DETAIL_TEXT,
}

if TYPE_CHECKING:  # mypy needs names that it can see
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
        month=(
            Annotated[str, *matching_text(MONTH_PATTERN, f"expected {MONTH_FORM}", MONTHS)],
            Field(description="the month that it closes, YYYY-MM"),
        ),
        **{
            column.name: statement_field(column)
            for column in COLUMNS
            if column.kind in ("amount", "whole_number")
        },
    )


StatementList = Annotated[list[Statement], Field(min_length=1, max_length=LONGEST_WINDOW), ROUNDED]


class Request(ApiRequest):
    """The statements of one account, in any order.

    The last month is `as_of`; a missing month between two is refused.
    """

    model_config = ConfigDict(json_schema_extra={"example": examples.REQUEST})
    switches: ClassVar[Mapping[str, str]] = _SWITCHES

    account_id: Annotated[
        str,
        *matching_text(ACCOUNT_ID_PATTERN, f"expected {ACCOUNT_ID_FORM}"),
        Field(max_length=LONGEST_ACCOUNT_ID, description="the lender's name for the account"),
    ]
    product: Annotated[
        Product,
        Field(
            description=(
                "what the limit is for; that of the earlier decisions on the account, unless the "
                "request states a prior"
            )
        ),
    ]
    currency: Annotated[Literal["CNY"], Field(description="of all amounts")]
    statements: StatementList
    prior: Annotated[
        Prior | None,
        Field(
            description=(
                "what earlier decisions left in force; null = no cut is in force; left out = as "
                "this service has recorded it for the account"
            ),
            json_schema_extra=lambda schema: schema.pop("default"),
        ),
    ] = None

    @property
    def states_prior(self) -> bool:
        """Whether `prior` was sent, be it null: then the service's record is not asked."""
        return "prior" in self.model_fields_set

    @model_serializer(mode="wrap")
    def _leave_out_prior(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A request of before there were priors has the bytes, and the digest, that it had then.
        content: dict[str, Any] = serialize(self)
        if not self.states_prior:
            del content["prior"]
        return content


class BatchRequest(ApiRequest):
    """Several accounts; a fault in one refuses them all."""

    model_config = ConfigDict(json_schema_extra={"example": {"accounts": [examples.REQUEST]}})
    switches: ClassVar[Mapping[str, str]] = _SWITCHES

    accounts: Annotated[
        list[Request],
        Field(min_length=1, max_length=MAX_ACCOUNTS, description="each account once"),
    ]

    def faults(self) -> list[Fault]:
        """Return a fault for each account that is repeated."""
        faults: list[Fault] = []
        seen: set[str] = set()
        for place, request in enumerate(self.accounts):
            if request.account_id in seen:
                path = f"$.accounts[{place}].account_id"
                faults.append(Fault(path=path, message="expected each account once"))
            seen.add(request.account_id)
        return faults


class Notice(Strict):
    """The notice of a decision to the customer."""

    kind: Annotated[
        Literal["adverse_action", "under_review", "restored", "still_reduced"],
        Field(
            description=(
                "adverse_action for reduce and suspend; under_review where a person decides and "
                "nothing changes yet; restored for restore; still_reduced for keep on the day of a "
                "look at a cut in force"
            )
        ),
    ]
    send_by: Annotated[
        datetime.date, Field(description="the last day to send it, on the lender's clock")
    ]
    text: Annotated[Text, Field(description="paragraphs, a blank line between them")]


class ModelNote(Strict):
    """The model, reference population and policy of a decision."""

    name: str
    version: Annotated[
        str, Field(description='of the registered model; "" = it was never registered')
    ]
    bundle: Annotated[str, Field(description="sha256 of the bundle")]
    reference: Annotated[str, Field(description="sha256 of the reference population")]
    policy: Annotated[str, Field(description="version of the policy")]


NoticeOrNull = Annotated[
    Notice | None,
    Field(description="to the customer; null for keep before the day of the next look"),
]
# Left out, not null, without ?advice=true: answers keep the bytes that they had before there was
# advice.
AdviceIfAsked = Annotated[
    Advice | SkipJsonSchema[None],
    Field(
        description="only with ?advice=true",
        exclude_if=lambda advice: advice is None,
        json_schema_extra=lambda schema: schema.pop("default"),
    ),
]


class AnswerOfAnyVersion(DecisionInBrief):
    """What a decision has had in every version of the service."""

    review_because: Annotated[
        list[str], Field(description="reasons for a person's decision; empty unless review")
    ]
    probability: Annotated[
        float, Field(description="of 60 days past due or worse within 6 months, without a cut")
    ]
    log_odds: Annotated[float, Field(description="logit of probability")]
    base_log_odds: Annotated[
        float,
        Field(
            description="mean log_odds of the reference population = log_odds minus contributions"
        ),
    ]
    cut_off: Annotated[float, Field(description="the probability above which limits are cut")]


class Answer(AnswerOfAnyVersion):
    """The decision on one account, with its reasons."""

    model_config = ConfigDict(**STRICT, json_schema_extra={"example": examples.ANSWER})

    reasons: Annotated[
        list[Reason],
        Field(
            description=(
                "at most four, and a serious delinquency; of restore and keep, why the limit is "
                "not higher, and empty before the day of the next look"
            )
        ),
    ]
    leaders: Annotated[int, Field(description="how many of the first reasons are main reasons")]
    comparison: Annotated[
        ComparisonNote | None, Field(description="null without reasons of the model")
    ]
    notice: NoticeOrNull
    suspended: Annotated[
        bool,
        Field(
            description=(
                "no drawing is allowed after this decision: it suspends, or a suspension is in "
                "force and not lifted"
            )
        ),
    ]
    prior: Annotated[
        Prior | None,
        Field(
            description=(
                "what earlier decisions left in force, as it was used here; null = no cut was in "
                "force"
            )
        ),
    ]
    since_last: Annotated[
        SinceLast | None,
        Field(
            description=(
                "what changed since the latest earlier decision on the account; null where the "
                "service has recorded none"
            )
        ),
    ]
    model: ModelNote
    advice: AdviceIfAsked = None
    detail: DetailIfAsked = None


class BatchAnswer(Strict):
    """The decisions in the order of the request's accounts."""

    model_config = ConfigDict(
        **STRICT, json_schema_extra={"example": {"decisions": [examples.ANSWER]}}
    )

    decisions: list[Answer]


def statements_table(requests: Sequence[Request]) -> pl.DataFrame:
    """Return the statements of all requests as one table of :mod:`features.schema`, unchecked."""
    return table(
        {
            **statement.__dict__,
            "account_id": request.account_id,
            "product": request.product,
            "month": _first_day(statement.month),
        }
        for request in requests
        for statement in request.statements
    )


def read_requests(requests: Sequence[Request]) -> Statements:
    """Return the checked statements of all requests, in order of account.

    Raises :class:`features.schema.StatementError`.
    """
    if len(requests) == 1:
        return read_rows(_rows_of(requests[0]))
    return read_table(statements_table(requests))


def _rows_of(request: Request) -> list[Row]:
    """Return the statements of a request in the order of the schema's columns."""
    # Declared in the order of the schema, the month first.
    statements = map(dict.values, map(attrgetter("__dict__"), request.statements))
    months, *numbers = zip(*statements, strict=True)
    account_id, product = repeat(request.account_id), repeat(request.product)
    # No loop in Python, which took twice as long.
    return list(zip(account_id, map(_first_day, months), product, *numbers))  # noqa: B905


@lru_cache(maxsize=1024)
def _first_day(month: str) -> datetime.date:
    return datetime.date(int(month[:4]), int(month[5:]), 1)


def make_answer(decision: result.Decision, bundle: Bundle, advice: Advice | None = None) -> Answer:
    """Return the answer for a decision of this bundle, with the advice on it if given."""
    return Answer(
        decision_id=decision.decision_id,
        account_id=decision.account_id,
        as_of=f"{decision.as_of:%Y-%m}",
        decided_at=encode_time(decision.decided_at),
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
        reasons=[make_reason(reason) for reason in decision.reasons],
        leaders=decision.leaders,
        comparison=None if decision.comparison is None else make_comparison(decision.comparison),
        notice=None if decision.notice is None else _notice(decision.notice),
        suspended=decision.suspended,
        prior=make_prior(decision.prior),
        since_last=make_since_last(decision.since_last),
        model=ModelNote(
            name=bundle.provenance.name,
            version=bundle.provenance.version,
            bundle=bundle.digest,
            reference=bundle.reference_digest,
            policy=bundle.policy.version,
        ),
        advice=advice,
    )


def _notice(sent: notice.Notice) -> Notice:
    text = Text(en=sent.text.en, zh=sent.text.zh)
    return Notice(kind=sent.kind, send_by=sent.send_by, text=text)
