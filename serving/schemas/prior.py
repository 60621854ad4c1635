"""What earlier decisions left in force, as JSON: in a request, and as it was used in its answer."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from features.limits import LARGEST_AMOUNT
from serving.decision.policy import prior
from serving.schemas.statement import MONEY
from serving.web.models import Strict

if TYPE_CHECKING:  # the request has a prior, and is defined above this
    from serving.schemas.decision import Request

_LONGEST_ID = 64  # characters
_Limit = Annotated[float, Field(ge=0, le=LARGEST_AMOUNT), *MONEY]


class Prior(Strict):
    """What earlier decisions left in force.  Amounts in CNY, days on the lender's clock."""

    # The fields are those of serving.decision.policy.prior.Prior, in the same order.

    limit_before: Annotated[
        _Limit,
        Field(
            description=(
                "the limit from before the first cut that is still in force; the present limit if "
                "no cut is in force"
            )
        ),
    ]
    balance_before: Annotated[
        float,
        Field(
            ge=-LARGEST_AMOUNT,
            le=LARGEST_AMOUNT,
            description="owed at the first cut; negative = overpaid",
        ),
        *MONEY,
    ]
    first_cut_on: Annotated[
        datetime.date | None,
        Field(
            description=(
                "day of the decision on the first cut or suspension that is still in force; null "
                "if none is"
            )
        ),
    ]
    last_cut_on: Annotated[
        datetime.date | None,
        Field(description="day of the decision on the latest one; null if none is in force"),
    ]
    log_odds: Annotated[
        Annotated[float, Field(ge=-prior.LARGEST_LOG_ODDS, le=prior.LARGEST_LOG_ODDS)] | None,
        Field(description="of the latest cut or referral; null = unknown"),
    ]
    limit_after: Annotated[
        _Limit,
        Field(description="the limit that the latest cut left, from which steps back are measured"),
    ]
    limit_in_force: Annotated[_Limit, Field(description="the limit that the latest decision left")]
    in_force_from: Annotated[
        datetime.date,
        Field(
            description=(
                "first day of limit_in_force; statements of months that end before it show the "
                "limit of before"
            )
        ),
    ]
    suspended: Annotated[bool, Field(description="whether no new drawing is allowed")]
    restored_on: Annotated[
        datetime.date | None,
        Field(description="day of the latest step back since last_cut_on; null = there was none"),
    ]
    referred_on: Annotated[
        datetime.date | None,
        Field(
            description="day on which a person was last asked, or overturned a cut; null = never"
        ),
    ]
    review_on: Annotated[
        datetime.date | None,
        Field(description="day of the next look at the account; null if no cut is in force"),
    ]
    decisions: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=_LONGEST_ID)]],
        Field(
            max_length=prior.MOST_DECISIONS,
            description="ids of the decisions that this follows from, the earliest first",
        ),
    ]

    def to_decision(self) -> prior.Prior:
        """Return the prior as the decision takes it."""
        fields = dict(self)
        return prior.Prior(**fields | {"decisions": tuple(self.decisions)})


def make_prior(known: prior.Prior | None) -> Prior | None:
    """Return the JSON of a prior, and None for none."""
    if known is None:
        return None
    fields = {name: getattr(known, name) for name in Prior.model_fields}
    return Prior.model_construct(**fields | {"decisions": list(known.decisions)})


def priors_of(requests: Sequence[Request]) -> dict[str, prior.Prior]:
    """Return the priors in requests by account.

    An account whose request has none, or null, has no cut in force.
    """
    return {
        request.account_id: request.prior.to_decision()
        for request in requests
        if request.prior is not None
    }
