"""What is in force for accounts, from the rows of their decisions and of the outcomes of reviews.

    find_past     each account's latest decision, its newest event that is a decision, and the
                  outcomes after that
    recall        those events -> the prior of the account's next decision
    newest_events the number of each account's newest event

An event is a decision with a notice, or the outcome of a review. A decision's row keeps, within the
body of its request, the prior that it was made with; so no earlier row has to be read.
"""

from serving.audit_log.memory.events import (
    DECIDED_ON,
    REVIEW_ON,
    Decided,
    after_outcome,
    decided_on,
    outcome_change,
    product_of,
    read_prior,
    write_prior,
)
from serving.audit_log.memory.past import Account, Past, find_past, newest_events
from serving.audit_log.memory.recall import NOTHING, Memory, recall

__all__ = [
    "DECIDED_ON",
    "NOTHING",
    "REVIEW_ON",
    "Account",
    "Decided",
    "Memory",
    "Past",
    "after_outcome",
    "decided_on",
    "find_past",
    "newest_events",
    "outcome_change",
    "product_of",
    "read_prior",
    "recall",
    "write_prior",
]
