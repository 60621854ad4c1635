"""What is in force for the account of a review, before and after its outcome.

A later decision about the account may have changed the limit since the reviewed one.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace

from features.months import add_months
from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.memory import REVIEW_ON, Decided, Memory, after_outcome, decided_on
from serving.decision.config.policy import Policy
from serving.decision.config.reasons import Wording
from serving.reviews.errors import invalid
from serving.reviews.notice import Announced, Use
from serving.reviews.workflow import decision_in, limit_of, reviews_of
from serving.schemas.review import ResolutionRequest


def limit_in_force(rows: Sequence[Entry], memory: Memory) -> float:
    """Return the limit that is in force for the account now, CNY.

    `rows` are those about the reviewed decision, and `memory` is of its account.
    """
    if _is_newest(rows[0], memory):
        return limit_of(rows)
    if memory.prior is None or not memory.prior.cuts:
        # Later decisions gave all of it back.
        before: float = decision_in(rows[0])["credit_limit"]
        return before
    return memory.prior.limit_in_force


def limit_on(day: datetime.date, rows: Sequence[Entry], memory: Memory) -> float:
    """Return the limit in force for the account on a day, CNY.

    Until a cut takes effect, that is the limit from before it.
    """
    limit = memory.limit_on(day)
    return limit_in_force(rows, memory) if limit is None else limit


def announced_limit(day: datetime.date, rows: Sequence[Entry], memory: Memory) -> Announced | None:
    """Return the limit that was decided and is not in force on a day yet; None = there is none."""
    prior = memory.prior
    if prior is None or prior.in_force_from <= day:
        return None
    if prior.limit_in_force == limit_on(day, rows, memory):
        return None
    return Announced(prior.limit_in_force, prior.in_force_from)


def resolved_limit(body: ResolutionRequest, rows: Sequence[Entry], memory: Memory) -> float:
    """Return the limit that an outcome leads to, CNY; ApiError (422) if it is not allowed.

    An amended limit is at least the one that the decision left or proposed, and at least the one in
    force if there was a later decision, so that a review never takes more than the decision did. It
    is at most the one before the decision, or before the first cut that was in force at it.
    """
    decision = decision_in(rows[0])
    in_force = limit_in_force(rows, memory)
    # Under the action "review" there is no decision yet: the person makes it.
    undecided = decision["action"] == "review"
    if body.outcome == "uphold":
        if undecided and not any(review.resolution for review in reviews_of(rows)):
            raise invalid(
                "outcome",
                "nothing was decided yet: expected overturn, and the limit stays, or amend",
            )
        return in_force
    if body.outcome == "overturn":
        return _overturned_limit(
            decision["credit_limit"],
            decision["new_limit"],
            rows,
            memory,
        )
    lowest, left_by = decision["new_limit"], "that the decision left"
    if undecided:
        # A proposal may also give back; then nothing may be taken.
        lowest = min(decision["proposed_limit"], decision["credit_limit"])
        left_by = "in proposed_limit of the decision, or in force if that is less"
    if not _is_newest(rows[0], memory):
        lowest, left_by = in_force, "in force after a later decision"
    highest = max(decision["credit_limit"], _limit_before_first_cut(decision))
    if body.new_limit is None or not lowest <= body.new_limit <= highest:
        raise invalid(
            "new_limit",
            f"expected {lowest:,.2f} or more, the limit {left_by}, and {highest:,.2f} or less, the "
            "one from before the reviewed decision",
        )
    return body.new_limit


def use_after(entry: NewEntry, decision: Entry, memory: Memory, wording: Wording) -> Use | None:
    """Return what an outcome leaves of new drawings; None = it is no matter of the review.

    `entry` is the row of the outcome, without or with its notice, `decision` the reviewed one, and
    `memory` is of its account before the outcome. A referral may have proposed a suspension, so its
    outcome always says whether there is one.
    """
    decided, before = Decided.read(decision), memory.prior
    prior = after_outcome(before, entry, decided, _is_newest(decision, memory))
    new_use = wording.new_use.get(decision.metadata["product"])
    if prior is not None and prior.suspended:
        return Use("stopped", new_use)
    if before is not None and before.suspended:
        return Use("stop_withdrawn", new_use)
    return Use("allowed", new_use) if decided.refers else None


def with_next_look(entry: NewEntry, decision: Entry, memory: Memory, policy: Policy) -> NewEntry:
    """Return the row of an outcome, which says when the account is looked at again.

    `decision` is the reviewed one, and `memory` is of its account before the outcome. A row that
    changes nothing says nothing.
    """
    next_look = add_months(decided_on(entry), int(policy.dates.review_after_months))
    changing = _looked_at(entry, next_look.isoformat())
    is_newest = _is_newest(decision, memory)
    prior = after_outcome(memory.prior, changing, Decided.read(decision), is_newest)
    if prior == memory.prior:
        return entry
    if prior is None or prior.review_on is None:
        return _looked_at(entry, None)
    return _looked_at(entry, prior.review_on.isoformat())


def _looked_at(entry: NewEntry, day: str | None) -> NewEntry:
    return replace(entry, metadata={**entry.metadata, REVIEW_ON: day})


def _is_newest(decision: Entry, memory: Memory) -> bool:
    return memory.newest_decision in (None, decision.entry_id)


def _overturned_limit(
    limit_before: float, new_limit: float, rows: Sequence[Entry], memory: Memory
) -> float:
    if new_limit > limit_before:
        raise invalid("outcome", "the decision gave back a part of the limit: expected amend")
    if _is_newest(rows[0], memory):
        return limit_before
    return max(limit_before, limit_in_force(rows, memory))


def _limit_before_first_cut(decision: dict[str, object]) -> float:
    prior = decision.get("prior")
    return float(prior["limit_before"]) if isinstance(prior, dict) else 0.0
