"""What each behaviour did to the log-odds, with all that followed from it.

A contribution is a feature's own part, the others being what they are.  But one thing leads to
another: who spends beyond the income uses up the line, draws cash, pays less and asks for credit
elsewhere, and each of these takes a part of what the spending did.  The *effect* of a reason group
gives it back: the account's last year is lived again through the ledger, with one behaviour at the
level of the reference population; the effect is by how much lower the model's log-odds are then.
It is the total effect of causal inference (Pearl 2001, "Direct and indirect effects"), as far as a
ledger carries it.

Each reason group that behaviour drives has one.  Paying on time, repaying a share of the balance,
spending, drawing cash and asking for credit are acts of each month; a full line and debt elsewhere
are what the time before has left, and there the year begins at the reference's level.  Only towards
the reference: who does better than it is left alone, and who was never late has nothing to pay in
time.  No act belongs to two: a month that leaves an instalment uncovered is late payment's, and
weak repayment is of the others.  Short history and capacity have none.

Money is kept count of.  Payments and cash stay as they were.  What need not be paid any more, here
or as instalments elsewhere, is at hand: it pays off the balance, then stands in for cash, then pays
back what was borrowed.  What is paid more, or not drawn, is borrowed elsewhere.  So of the acts
only spending less makes a customer owe less in all, but for interest and fees.  A line less full
and less debt elsewhere are gifts, for who had them would have lived otherwise before.

The lender's books are kept as well: what the terms do not explain of a statement (another minimum,
another rate, a day of grace) is carried into the year that is lived again, and nobody is later in
it than they were.  So a year in which nothing is changed is the year that was, whoever sent it.

Conventions ----------- A *course* is one account with one behaviour, or as it was.  Arrays are
float64 (courses,), or (months, courses) with the newest month first, as in :mod:`features.window`.
Amounts in CNY.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from features.build import values_of
from features.catalogue import CATALOGUE
from features.window import Months, Window
from serving.decision.bundle import Bundle
from serving.decision.reasons.counterfactual import Levels, replay_year, take_levels
from serving.decision.scoring.score import log_odds_of

Driven = Literal[
    "late_payment", "high_utilization", "overspending", "weak_repayment", "cash_reliance", "credit_seeking",
    "external_debt",
]  # fmt: skip
DRIVEN: tuple[Driven, ...] = get_args(Driven)  # the reason groups that behaviour drives
_ACCOUNTS_A_BLOCK = 256  # their courses fit the processor's cache, and memory stays flat
_NAMES = tuple(feature.name for feature in CATALOGUE)


_SOURCES: Mapping[str, tuple[str, float]] = {
    "paid_share": ("payment_to_balance_12", 1.0),
    "spend": ("spend_to_income_12", 1.0),
    "debt": ("external_debt_to_income", 1.0),
    "cash": ("cash_to_limit_6", 1 / 6),
    "used": ("utilization_mean_12", 1.0),
    "limit_requests": ("limit_requests_12", 1.0),
    "inquiries": ("credit_inquiries_12", 1.0),
}
_GROUP_OF_LEVEL: Mapping[str, Driven] = {
    "paid_share": "weak_repayment",
    "spend": "overspending",
    "debt": "external_debt",
    "cash": "cash_reliance",
    "used": "high_utilization",
    "limit_requests": "credit_seeking",
    "inquiries": "credit_seeking",
}


def features_of(group: str) -> tuple[str, ...]:
    """The features whose medians are the group's levels; none of a group that has no level."""
    return tuple(_SOURCES[level][0] for level, own in _GROUP_OF_LEVEL.items() if own == group)


def levels_of(medians: Mapping[str, Mapping[str, float]], products: Sequence[str]) -> Levels:
    """The levels of accounts of these products, from the reference's medians: product -> feature ->
    median.
    """
    return Levels(
        **{
            name: np.array([medians[product].get(feature, np.nan) for product in products]) * times
            for name, (feature, times) in _SOURCES.items()
        }
    )


def effects(window: Window, products: Sequence[str], bundle: Bundle) -> NDArray[np.float64]:
    """The effects on a window's accounts, float64 (accounts, DRIVEN), in log-odds; positive = the
    behaviour raised them.

    NaN where it cannot be said: a history of one statement, or a level or an amount that is not
    known.  An account's effects are the same to the last bit whatever accounts stand beside it.
    """
    levels = levels_of(bundle.medians, products)
    blocks = [np.empty((0, len(DRIVEN)))]
    for start in range(0, len(products), _ACCOUNTS_A_BLOCK):
        accounts = np.arange(start, min(start + _ACCOUNTS_A_BLOCK, len(products)))
        blocks.append(_block(window, levels, accounts, bundle))
    return np.concatenate(blocks)


def by_group(row: Sequence[float]) -> dict[str, float]:
    """One account's effects by reason group, those that are known."""
    return {
        group: effect for group, effect in zip(DRIVEN, row, strict=True) if not math.isnan(effect)
    }


def _block(
    window: Window, levels: Levels, accounts: NDArray[np.int64], bundle: Bundle
) -> NDArray[np.float64]:
    ways = 1 + len(DRIVEN)  # as it was, then one behaviour each
    courses, own = (
        window.take(np.repeat(accounts, ways)),
        take_levels(levels, np.repeat(accounts, ways)),
    )
    driven = np.tile(np.array(["", *DRIVEN]), len(accounts))
    only = Levels(
        **{
            name: np.where(driven == group, getattr(own, name), np.nan)
            for name, group in _GROUP_OF_LEVEL.items()
        },
    )
    relived = replay_year(
        courses,
        only,
        driven == "late_payment",
        bundle.policy.terms,
        bundle.advice.search.instalment_share,
    )
    rows = values_of(Window(relived, courses.months_observed.astype(np.int64)))
    matrix = np.ascontiguousarray(rows[:, [_NAMES.index(name) for name in bundle.features]])
    log_odds = log_odds_of(matrix, bundle.scorer, threads=1).reshape(-1, ways)
    found = log_odds[:, :1] - log_odds[:, 1:] + 0.0
    return np.where(_known(window, levels, accounts), found, np.nan)


def _known(window: Window, levels: Levels, accounts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether an effect can be said, (accounts, DRIVEN)."""
    own = take_levels(levels, accounts)
    income = ~np.isnan(window.last_known("income")[accounts])
    seen: dict[Driven, NDArray[np.bool_]] = {
        "late_payment": np.ones(len(accounts), dtype=np.bool_),
        "high_utilization": ~np.isnan(own.used),
        "overspending": ~np.isnan(own.spend) & income & _ever(window["spend"], accounts),
        "weak_repayment": ~np.isnan(own.paid_share),
        "cash_reliance": ~np.isnan(own.cash) & _ever(window["cash_advance"], accounts),
        "credit_seeking": (
            ~np.isnan(own.limit_requests) & _ever(window["limit_requests"], accounts)
        )
        | (~np.isnan(own.inquiries) & _ever(window["credit_inquiries"], accounts)),
        "external_debt": ~np.isnan(own.debt) & income & _ever(window["external_debt"], accounts),
    }
    return (
        np.column_stack([seen[group] for group in DRIVEN])
        & (window.months_observed[accounts] > 1)[:, None]
    )


def _ever(column: Months, accounts: NDArray[np.int64]) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = np.any(~np.isnan(column[:, accounts]), axis=0)
    return known
