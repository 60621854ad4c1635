"""Lists as JSON: the decisions on an account, the accounts to look at again."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import Field

from serving.web.models import Strict


class DecisionInBrief(Strict):
    """What was decided on an account, without the reasons."""

    decision_id: Annotated[str, Field(json_schema_extra={"format": "uuid"})]
    account_id: str
    as_of: Annotated[str, Field(description="month of the last statement, YYYY-MM")]
    decided_at: Annotated[
        str, Field(description="UTC, to the microsecond", json_schema_extra={"format": "date-time"})
    ]
    action: Annotated[
        Literal["keep", "reduce", "suspend", "restore", "review"],
        Field(
            description=(
                "suspend = no new drawings; restore = limit comes back, or drawings are allowed "
                "again; review = a person decides, and nothing changes yet"
            )
        ),
    ]
    credit_limit: Annotated[float, Field(description="before the decision")]
    new_limit: Annotated[
        float, Field(description="from effective_on; for review the present limit")
    ]
    proposed_limit: Annotated[
        float | None, Field(description="the limit that a person is to confirm; null unless review")
    ]
    currency: Literal["CNY"]
    effective_on: Annotated[
        datetime.date | None,
        Field(description="on the lender's clock; null for keep and review"),
    ]
    review_on: Annotated[
        datetime.date | None,
        Field(
            description=(
                "day of the next assessment; for review the last day for a person's decision; "
                "null for keep without a cut in force, and where all of a limit is back"
            )
        ),
    ]


class ListedDecision(DecisionInBrief):
    """A decision on an account, as a list has it."""

    product: str
    send_by: Annotated[
        datetime.date | None,
        Field(description="the last day to notify the customer; null without a notice"),
    ]


class DecisionList(Strict):
    """The decisions on an account, the newest first."""

    decisions: list[ListedDecision]


class DueAccount(Strict):
    """An account with a cut or suspension in force, to be decided on again.

    Amounts in CNY, days on the lender's clock.
    """

    due_id: Annotated[str, Field(description="for `after`")]
    account_id: str
    decision_id: Annotated[
        str, Field(description="the decision, or the reviewed decision, that set review_on")
    ]
    review_on: Annotated[datetime.date, Field(description="the day of the next assessment")]
    limit_before: Annotated[
        float, Field(description="the limit from before the first cut that is still in force")
    ]
    limit_in_force: Annotated[float, Field(description="the limit that the latest decision left")]
    suspended: Annotated[bool, Field(description="whether no new drawing is allowed")]
    under_review: Annotated[
        bool,
        Field(
            description="whether the newest decision refers the account to a person, who has not "
            "answered: nothing is to be sent until then"
        ),
    ]


class DueList(Strict):
    """Accounts to decide on again, the soonest first."""

    accounts: list[DueAccount]
