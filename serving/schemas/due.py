"""The accounts to look at again, as JSON."""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import Field

from serving.web.models import Strict


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
