"""What the lender did before to an account's limit: what is remembered, and whether it can be.

state   the prior, what a decision or a person's answer makes of it, the limit in force
check   whether a prior contradicts itself, the statements or the day
"""

from serving.decision.policy.prior.state import (
    LARGEST_LOG_ODDS,
    MOST_DECISIONS,
    Change,
    Prior,
    PriorError,
    after,
    after_overturn,
    is_raised,
    limit_in_force,
    up_to_date,
)

__all__ = [
    "LARGEST_LOG_ODDS",
    "MOST_DECISIONS",
    "Change",
    "Prior",
    "PriorError",
    "after",
    "after_overturn",
    "is_raised",
    "limit_in_force",
    "up_to_date",
]
