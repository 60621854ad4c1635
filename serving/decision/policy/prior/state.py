"""What the lender did before to an account's limit: the decision's memory.

    prior, change -> after() -> prior of the next decision, None if nothing is to be remembered
    prior, latest statement -> up_to_date() -> prior, without a cut that the lender has taken back
    prior, latest statement -> limit_in_force() -> the limit that a decision starts from

A decision is pure, so its memory is an argument.  The service takes it from the audit log, an app
may send it, and the row of the decision keeps what was used.  All that the policy measures is
measured against the limit from before the first cut that is still in force: who is asked about
twice, with nothing changed, gets the same limit twice.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from json.encoder import encode_basestring_ascii
from math import isfinite
from operator import attrgetter
from typing import Any

from serving.decision.config.quick_init import quick_init

MOST_DECISIONS = 64  # ids in a prior; of more, the first and the latest are kept
LARGEST_LOG_ODDS = 100.0  # far beyond those of any probability that differs from 0 and 1


@quick_init
@dataclass(frozen=True, slots=True)
class Prior:
    """What is in force because of earlier decisions.  Amounts in CNY, days on the lender's clock.

    An account with nothing to remember has no prior (None).

    Attributes:
        limit_before: The limit from before the first cut that is still in force; the present limit
            if no cut is in force.
        balance_before: What was owed at that cut; negative = overpaid.
        first_cut_on: The day of the decision on that cut or suspension; None if none is in force.
        last_cut_on: The day of the decision on the latest one; None if none is in force.
        log_odds: Those of the latest cut or referral; None = unknown.
        limit_after: The limit that the latest cut left, from which steps back are measured.
        limit_in_force: The limit that the latest decision left.
        in_force_from: The first day of it; statements of months that end before show another.
        suspended: Whether no new drawing is allowed.
        restored_on: The day of the latest step back since ``last_cut_on``; None = there was none.
        referred_on: The day on which the account was last referred to a person, or on which a
            person overturned a cut; None = never.
        review_on: The day of the next look; None if no cut is in force.
        decisions: The ids of the decisions that this follows from, the earliest first.
    """

    limit_before: float
    balance_before: float
    first_cut_on: datetime.date | None
    last_cut_on: datetime.date | None
    log_odds: float | None
    limit_after: float
    limit_in_force: float
    in_force_from: datetime.date
    suspended: bool
    restored_on: datetime.date | None
    referred_on: datetime.date | None
    review_on: datetime.date | None
    decisions: tuple[str, ...]

    @property
    def cuts(self) -> bool:
        """Whether a cut or a suspension is in force."""
        return self.last_cut_on is not None

    def text(self) -> str:
        """The same text for the same prior, for the id of a decision.

        Fields that are None are left out: a field that later versions add with None as its default
        leaves the ids of stored decisions as they are.
        """
        written = [
            name + _WRITERS.get(type(value), json.dumps)(value)
            for name, value in zip(_NAMES, _values_of(self), strict=True)
            if value is not None
        ]
        return f"{{{', '.join(written)}}}"


_values_of: Callable[[Prior], tuple[object, ...]] = attrgetter(*Prior.__slots__)
_NAMES = tuple(f'"{name}": ' for name in Prior.__slots__)  # as JSON has them before the values


def _write_number(value: float) -> str:
    if not isfinite(value):
        return json.dumps(value)
    return float.__repr__(value)


def _write_day(day: datetime.date) -> str:
    return f'"{day.isoformat()}"'


def _write_ids(ids: tuple[str, ...]) -> str:
    written = map(encode_basestring_ascii, ids)
    return f"[{', '.join(written)}]"


# The JSON of a value by its type, a day as its text: json.dumps takes four times as long.
_WRITERS: Mapping[type, Callable[[Any], str]] = {
    float: _write_number,
    datetime.date: _write_day,
    bool: {False: "false", True: "true"}.__getitem__,
    tuple: _write_ids,
}


class PriorError(ValueError):
    """A prior that contradicts itself, the statements or the day of the decision.

    Attributes:
        account_id: Of the account; "" where only the prior is known.
        field: Of :class:`Prior`.
        expected: What was expected, without any value that came.
        got: What came.
    """

    def __init__(self, field: str, expected: str, got: object, account_id: str = "") -> None:
        place = f" of account {account_id}" if account_id else ""
        super().__init__(f"prior{place}: {field}: expected {expected}, got {got}")
        self.account_id, self.field = account_id, field
        self.expected, self.got = expected, got

    def of(self, account_id: str) -> PriorError:
        """The same error, naming its account."""
        return PriorError(self.field, self.expected, self.got, account_id)


@dataclass(frozen=True, slots=True)
class Change:
    """What a decision, or a person's resolution of a review, put in force or looked at.

    Attributes:
        decision_id: Of the decision, or of the resolution.
        on: The day of it, on the lender's clock.
        limit_before: In force before it, CNY.
        limit: In force after it, CNY.
        effective_on: The first day of ``limit``.
        suspended: Whether no new drawing is allowed after it.
        balance: Owed on the last statement that it saw, CNY.
        log_odds: Of the decision; None for a person's resolution.
        review_on: The day of the next look; None if there is none.
        refers: Whether it refers the account to a person, and so changes nothing yet.
    """

    decision_id: str
    on: datetime.date
    limit_before: float
    limit: float
    effective_on: datetime.date
    suspended: bool
    balance: float
    log_odds: float | None
    review_on: datetime.date | None
    refers: bool = False


def after(prior: Prior | None, change: Change) -> Prior | None:
    """The prior of the next decision.

    ``prior`` is that of the decision that made ``change``.  A change that changes and looks at
    nothing gives it back as it is.  None where nothing is to be remembered.
    """
    if prior is not None and is_raised(prior, change.limit_before):
        prior = _without_cut(prior, change.limit_before)
    if change.refers:
        return _after_referral(prior or _start(change), change)
    was_suspended = prior is not None and prior.suspended
    suspends = change.suspended and not was_suspended
    if suspends or change.limit < change.limit_before:
        return _after_cut(prior or _start(change), change)
    if prior is None or not prior.cuts:
        return prior
    lifts = was_suspended and not change.suspended
    if lifts or change.limit > change.limit_before:
        return _after_step_back(prior, change)
    if change.review_on in (None, prior.review_on):
        return prior
    return replace(prior, review_on=change.review_on, decisions=_with_id(prior, change))


def after_overturn(prior: Prior, on: datetime.date, log_odds: float) -> Prior:
    """``prior`` with a person's answer: the cut of a decision with these log-odds was wrong.

    It is remembered as a referral is: the model does not cut again for the same thing.  ``on`` is
    the day of the answer.
    """
    return replace(prior, log_odds=_log_odds_to_remember(prior, log_odds), referred_on=on)


def up_to_date(prior: Prior | None, as_of: datetime.date, statement_limit: float) -> Prior | None:
    """The prior of the lender's record, without what the statements show to be over.

    A limit that came back is remembered until a statement shows it.  A statement, of the month
    ``as_of``, with a limit above ``limit_before`` shows that the lender has ended the cut.
    """
    if prior is None or _is_over(prior, as_of):
        return None
    limit = limit_in_force(prior, as_of, statement_limit)
    return _without_cut(prior, limit) if is_raised(prior, limit) else prior


def limit_in_force(prior: Prior | None, as_of: datetime.date, statement_limit: float) -> float:
    """The limit in force before a decision, CNY.

    It is that of the latest statement, whose month is ``as_of``; while that month ends before the
    day from which the latest decision's limit is in force, it is the limit of that decision.
    """
    if prior is None or not _shows_limit_before(prior, as_of):
        return statement_limit
    return prior.limit_in_force


def _shows_limit_before(prior: Prior, as_of: datetime.date) -> bool:
    """Whether the statement of that month ends before the limit in force began."""
    began = prior.in_force_from
    # The days first: mostly it began long ago.
    return as_of < began and (as_of.year, as_of.month) < (began.year, began.month)


def _is_over(prior: Prior, as_of: datetime.date) -> bool:
    """Whether the prior has neither a cut nor a referral, and the statements show its limit."""
    return not (prior.cuts or prior.referred_on or _shows_limit_before(prior, as_of))


def is_raised(prior: Prior, limit: float) -> bool:
    """Whether the lender has raised the limit above that from before the first cut in force."""
    return prior.cuts and limit > prior.limit_before


def _without_cut(prior: Prior, limit: float) -> Prior | None:
    """The prior after the lender ended its cut; a referral is remembered."""
    return None if prior.referred_on is None else _end_cut(prior, limit)


def _end_cut(prior: Prior, limit: float) -> Prior:
    return replace(
        prior,
        limit_before=limit,
        first_cut_on=None,
        last_cut_on=None,
        log_odds=None if prior.referred_on is None else prior.log_odds,
        limit_after=limit,
        limit_in_force=limit,
        suspended=False,
        restored_on=None,
        review_on=None,
    )


def _start(change: Change) -> Prior:
    """A prior with nothing in force yet."""
    return Prior(
        limit_before=change.limit_before,
        balance_before=change.balance,
        first_cut_on=None,
        last_cut_on=None,
        log_odds=None,
        limit_after=change.limit_before,
        limit_in_force=change.limit_before,
        in_force_from=change.on,
        suspended=False,
        restored_on=None,
        referred_on=None,
        review_on=None,
        decisions=(),
    )


def _after_referral(prior: Prior, change: Change) -> Prior:
    return replace(
        prior,
        log_odds=_log_odds_to_remember(prior, change.log_odds),
        referred_on=change.on,
        decisions=_with_id(prior, change),
    )


def _log_odds_to_remember(prior: Prior, log_odds: float | None) -> float | None:
    """The log-odds of a referral or of an overturned cut, or those of a cut in force if higher."""
    if log_odds is None:
        return prior.log_odds
    if not prior.cuts or prior.log_odds is None:
        return log_odds
    # A referral at lower log-odds must not make the next cut easier.
    return max(log_odds, prior.log_odds)


def _after_cut(prior: Prior, change: Change) -> Prior:
    limit_before = prior.limit_before
    balance_before = prior.balance_before
    first_cut_on = prior.first_cut_on
    if not prior.cuts:
        # A referral alone may be old: the first cut decides what all later ones are measured by.
        limit_before = change.limit_before
        balance_before = change.balance
        first_cut_on = change.on
    return replace(
        prior,
        limit_before=max(limit_before, change.limit),
        balance_before=balance_before,
        first_cut_on=first_cut_on,
        last_cut_on=change.on,
        # A person confirms what the model proposed: the log-odds are those of the referral.
        log_odds=prior.log_odds if change.log_odds is None else change.log_odds,
        limit_after=change.limit,
        limit_in_force=change.limit,
        in_force_from=change.effective_on,
        suspended=change.suspended,
        restored_on=None,
        review_on=change.review_on,
        decisions=_with_id(prior, change),
    )


def _after_step_back(prior: Prior, change: Change) -> Prior:
    if change.limit >= prior.limit_before and not change.suspended:
        # Until a statement shows the limit, a further decision would take it to be the cut one.
        return replace(
            _end_cut(prior, change.limit),
            in_force_from=change.effective_on,
            decisions=_with_id(prior, change),
        )
    return replace(
        prior,
        # A person may give more than was taken, and stop drawings all the same.
        limit_before=max(prior.limit_before, change.limit),
        limit_in_force=change.limit,
        in_force_from=change.effective_on,
        suspended=change.suspended,
        restored_on=change.on,
        review_on=change.review_on,
        decisions=_with_id(prior, change),
    )


def _with_id(prior: Prior, change: Change) -> tuple[str, ...]:
    ids = (*prior.decisions, change.decision_id)
    return ids if len(ids) <= MOST_DECISIONS else (ids[0], *ids[2:])
