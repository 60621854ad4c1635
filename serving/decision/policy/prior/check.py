"""Whether a prior is possible: for itself, on the statements, on the day.

    prior, latest statement -> check_prior() -> None, or PriorError with the field

A prior may come from an app.  What was expected names fields and no values, because it is in the
answer to a wrong request.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from features.build import FEATURE_NAMES
from features.months import add_months
from features.statements import Statements
from features.types import Matrix
from serving.decision.config.policy import LONGEST_TO_NEXT_LOOK
from serving.decision.config.quick_init import quick_init
from serving.decision.policy.prior import (
    LARGEST_LOG_ODDS,
    MOST_DECISIONS,
    Prior,
    PriorError,
    is_raised,
    limit_in_force,
)

# From a decision until its limit is in force.  The longest period of notice that we know is two
# months; a policy that was in use when the prior was made may have had a longer one.
_MONTHS_AHEAD = 12
_LIMIT = FEATURE_NAMES.index("limit_now")
_LATEST = {"in_force_from": _MONTHS_AHEAD, "review_on": LONGEST_TO_NEXT_LOOK}


@quick_init
@dataclass(frozen=True, slots=True)
class LatestStatement:
    """The latest statement of an account: its month, and the limit on it in CNY."""

    account_id: str
    as_of: datetime.date
    limit: float


def latest_statements(read: Statements, values: Matrix) -> list[LatestStatement]:
    """The latest statement of each account; ``values`` are its features, (accounts, features)."""
    limits = values[:, _LIMIT].tolist()
    return [
        LatestStatement(account_id, as_of, limit)
        for account_id, as_of, limit in zip(read.account_ids, read.as_of, limits, strict=True)
    ]


def check_prior(
    prior: Prior, as_of: datetime.date, statement_limit: float, today: datetime.date
) -> None:
    """Raise :class:`PriorError` for the first contradiction.

    Args:
        prior: As an app or the record states it.
        as_of: The month of the latest statement.
        statement_limit: The limit on it, CNY.
        today: The day of the decision on the lender's clock.
    """
    for field, expected, got in _contradictions(prior):
        raise PriorError(field, expected, got)
    for field in ("first_cut_on", "last_cut_on", "restored_on", "referred_on"):
        day: datetime.date | None = getattr(prior, field)
        if day is not None and day > today:
            raise PriorError(field, "a day until today", day)
    for field, months in _LATEST.items():
        day = getattr(prior, field)
        if day is not None and day > today and day > add_months(today, months):
            raise PriorError(field, f"a day within {months} months from today", day)
    limit = limit_in_force(prior, as_of, statement_limit)
    if is_raised(prior, limit):
        expected = "at least the limit of the latest statement, as a cut is in force"
        raise PriorError("limit_before", expected, f"{prior.limit_before:g} and {limit:g}")


def priors_in_order(
    priors: Mapping[str, Prior] | None,
    read: Statements,
    values: Matrix,
    today: datetime.date,
) -> list[Prior | None]:
    """:func:`check_priors` of statements as they were read; ``values`` are their features."""
    if not priors:  # most accounts have nothing in force
        return [None] * len(read.account_ids)
    return check_priors(priors, latest_statements(read, values), today)


def check_priors(
    priors: Mapping[str, Prior], statements: Sequence[LatestStatement], today: datetime.date
) -> list[Prior | None]:
    """The prior, of ``priors`` by account, of each of ``statements``; None where it has none.

    Raises:
        PriorError: The first that :func:`check_prior` refuses; it names the account.
        ValueError: A prior is of an account that has no statements.
    """
    known = {statement.account_id for statement in statements}
    if not priors.keys() <= known:
        strangers = sorted(priors.keys() - known)
        more = max(len(strangers) - 3, 0)
        raise ValueError(
            f"priors: expected accounts that have statements, got {strangers[:3]} and {more} more"
        )
    remembered = [priors.get(statement.account_id) for statement in statements]
    for prior, statement in zip(remembered, statements, strict=True):
        if prior is None:
            continue
        try:
            check_prior(prior, statement.as_of, statement.limit, today)
        except PriorError as error:
            raise error.of(statement.account_id) from None
    return remembered


def _contradictions(prior: Prior) -> Iterator[tuple[str, str, object]]:
    """The field, what it may be, and what it is, of what a prior itself contradicts."""
    yield from _impossible_numbers(prior)
    if len(prior.decisions) > MOST_DECISIONS:
        yield "decisions", f"at most {MOST_DECISIONS} ids", len(prior.decisions)
    if len(set(prior.decisions)) < len(prior.decisions):
        yield "decisions", "each id once", f"{len(prior.decisions)} ids with repeated ones"
    if prior.first_cut_on is None or prior.last_cut_on is None:
        yield from _contradictions_without_cut(prior)
    else:
        yield from _contradictions_of_days(prior, prior.first_cut_on, prior.last_cut_on)


def _impossible_numbers(prior: Prior) -> Iterator[tuple[str, str, object]]:
    for field in ("limit_before", "limit_after", "limit_in_force"):
        amount: float = getattr(prior, field)
        if not 0 <= amount < math.inf:
            yield field, "an amount of at least 0", amount
    if not math.isfinite(prior.balance_before):
        yield "balance_before", "a finite amount", prior.balance_before
    # Not a number is not within the bounds either.
    if prior.log_odds is not None and not abs(prior.log_odds) <= LARGEST_LOG_ODDS:
        expected = f"a number from {-LARGEST_LOG_ODDS:g} to {LARGEST_LOG_ODDS:g}, or null"
        yield "log_odds", expected, prior.log_odds
    in_force = prior.limit_in_force
    if prior.limit_before < in_force:
        yield "limit_before", "at least limit_in_force", f"{prior.limit_before:g} and {in_force:g}"
    if prior.limit_after > in_force:
        yield "limit_after", "at most limit_in_force", f"{prior.limit_after:g} and {in_force:g}"


def _contradictions_without_cut(prior: Prior) -> Iterator[tuple[str, str, object]]:
    for field in ("first_cut_on", "last_cut_on"):
        if (prior.first_cut_on, prior.last_cut_on) != (None, None) and not getattr(prior, field):
            yield field, "a day, as the other day of a cut is given", None
    for field in ("restored_on", "review_on"):
        if (day := getattr(prior, field)) is not None:
            yield field, "null, as no cut is in force", day
    if prior.suspended:
        yield "suspended", "false, as no day of a cut or suspension is given", True
    if prior.limit_after < prior.limit_before:
        got = f"{prior.limit_after:g} and {prior.limit_before:g}"
        yield "limit_after", "limit_before, as no cut is in force", got


def _contradictions_of_days(
    prior: Prior, first: datetime.date, last: datetime.date
) -> Iterator[tuple[str, str, object]]:
    if first > last:
        yield "first_cut_on", "a day until last_cut_on", f"{first} and {last}"
    for field in ("in_force_from", "restored_on", "review_on"):
        day: datetime.date | None = getattr(prior, field)
        if day is not None and day < last:
            yield field, "a day from last_cut_on on", f"{day} and {last}"
    if prior.limit_in_force == prior.limit_before and not prior.suspended:
        expected = "less than limit_before, as a cut is in force"
        yield "limit_in_force", expected, f"{prior.limit_in_force:g}"
