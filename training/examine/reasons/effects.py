"""The effect of each behaviour on the log-odds, with all that follows from it.

An effect chooses and orders no reason.  The examination compares it with the true causes that the
simulator knows.

A contribution is a feature's own part, given the values of the others.  But behaviour has
consequences: spending beyond the income fills the line, leads to cash, to smaller payments and to
applications elsewhere.  The contributions of these features contain a part of what the spending
caused.  The *effect* of a reason group includes these parts: the account's last year is replayed
through the ledger with one behaviour at the level of the reference population, and the effect is
the fall of the model's log-odds.  It is the total effect of causal inference (Pearl 2001, "Direct
and indirect effects"), limited to the consequences that the ledger computes.

Which behaviours
    Paying on time, repaying a share of the balance, spending, drawing cash and applying for credit
    are acts of each month.  A full line and debt elsewhere result from earlier years.  For them the
    year begins at the reference's level, without a simulation of the payments that would have led
    there.  Short history and capacity have no effect.

Only towards the reference
    A behaviour is changed only if it is worse than the reference's.  No act belongs to two groups.

The whole year
    Spending, cash and applications are scaled to the reference's total of a year, each month by the
    same share.  Earlier versions limited each month to a mean month of the reference: an account
    with the reference's total in few months was changed too.  A payment is asked for in each month
    by itself, because what is owed is.

Money
    Payments and cash stay as they were.  If a payment becomes smaller, here or of an instalment
    elsewhere, the saved money first pays off the balance, then replaces cash, then repays what was
    borrowed elsewhere.  An additional payment, or cash that is not drawn, is borrowed elsewhere.
    So of all acts only lower spending reduces the total debt, apart from interest and fees.

The lender's books
    Differences between the statements and the terms (another minimum, another rate, a day of grace)
    are carried into the replayed year.  No replayed month is more days past due than the real one.
    So a year in which nothing is changed equals the real year, for the data of any lender.

:mod:`training.examine.reasons.counterfactual` replays the year.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from features.build import values_of
from features.catalogue import CATALOGUE
from features.types import Mask, Matrix
from features.window import Values, Window
from serving.decision.bundle import Bundle
from serving.decision.scoring.score import log_odds_of
from training.examine.reasons.counterfactual import replay_year
from training.examine.reasons.levels import Levels

Driven = Literal[
    "repayment",
    "high_utilization",
    "overspending",
    "cash_reliance",
    "credit_seeking",
    "external_debt",
]
DRIVEN: tuple[Driven, ...] = get_args(Driven)  # the reason groups that behaviour drives
ACCOUNTS_PER_BLOCK = 256  # their trajectories fit the processor's cache
_NAMES = tuple(feature.name for feature in CATALOGUE)


class _Source(NamedTuple):
    """Where a level comes from."""

    group: Driven  # whose behaviour it is
    feature: str  # whose median in the reference it is
    factor: float = 1.0  # by which the median is multiplied


_SOURCES: Mapping[str, _Source] = {
    "paid_share": _Source("repayment", "payment_to_balance_12"),
    "spend": _Source("overspending", "spend_to_income_12"),
    "debt": _Source("external_debt", "external_debt_to_income"),
    # The feature is a sum over six months.
    "cash": _Source("cash_reliance", "cash_to_limit_6", 1 / 6),
    "used": _Source("high_utilization", "utilization_mean_12"),
    "limit_requests": _Source("credit_seeking", "limit_requests_12"),
    "inquiries": _Source("credit_seeking", "credit_inquiries_12"),
}


def levels_of(medians: Mapping[str, Mapping[str, float]], products: Sequence[str]) -> Levels:
    """The levels of accounts of these products.

    ``medians`` of the reference population are by product, then by feature.
    """
    levels = {}
    for name, source in _SOURCES.items():
        by_product = [medians[product] for product in products]
        own = [median.get(source.feature, np.nan) for median in by_product]
        levels[name] = np.array(own) * source.factor
    return Levels(**levels)


def medians_of(bundle: Bundle) -> dict[str, Mapping[str, float]]:
    """The medians of the reference populations by product, then by feature."""
    return {product: comparison.medians for product, comparison in bundle.comparisons.items()}


def compute_effects(
    window: Window,
    products: Sequence[str],
    bundle: Bundle,
) -> Matrix:
    """The effects on a window's accounts, float64 (accounts, DRIVEN), in log-odds.

    Positive = the behaviour raised the log-odds.  NaN = unknown: a history of one statement, or an
    unknown level or amount.  An account's effects are the same to the last bit whichever other
    accounts share the window.
    """
    levels = levels_of(medians_of(bundle), products)
    blocks = [np.empty((0, len(DRIVEN)))]
    for start in range(0, len(products), ACCOUNTS_PER_BLOCK):
        end = min(start + ACCOUNTS_PER_BLOCK, len(products))
        accounts = np.arange(start, end)
        blocks.append(
            _compute_block(
                window.take(accounts),
                levels.take(accounts),
                bundle,
            )
        )
    return np.concatenate(blocks)


def _compute_block(
    window: Window,
    levels: Levels,
    bundle: Bundle,
) -> Matrix:
    accounts = len(window.months_observed)
    variants = 1 + len(DRIVEN)  # the year as it was, then with one behaviour changed each
    account = np.repeat(np.arange(accounts), variants)
    changed = np.tile(np.array(["", *DRIVEN]), accounts)
    trajectories = window.take(account)
    columns = replay_year(
        trajectories,
        levels=_only_changed(levels.take(account), changed),
        on_time=changed == "repayment",
        terms=bundle.policy.terms,
        instalment_share=bundle.advice.search.instalment_share,
    )
    observed = trajectories.months_observed.astype(np.int64)
    replayed = Window(columns, observed, trajectories.products)
    places = [_NAMES.index(name) for name in bundle.features]
    matrix = np.ascontiguousarray(values_of(replayed)[:, places])
    log_odds = log_odds_of(matrix, bundle.scorer, threads=1).reshape(-1, variants)
    as_it_was, changed_one = log_odds[:, :1], log_odds[:, 1:]
    # Adding 0 turns -0.0 into 0.0.
    effects = as_it_was - changed_one + 0.0
    return np.where(_is_known(window, levels), effects, np.nan)


def _only_changed(levels: Levels, changed: NDArray[np.str_]) -> Levels:
    """The levels of the group that each trajectory changes, NaN elsewhere."""

    def only(name: str, level: Values) -> Values:
        return np.where(
            changed == _SOURCES[name].group,
            level,
            np.nan,
        )

    return Levels(
        paid_share=only("paid_share", levels.paid_share),
        spend=only("spend", levels.spend),
        debt=only("debt", levels.debt),
        cash=only("cash", levels.cash),
        used=only("used", levels.used),
        limit_requests=only("limit_requests", levels.limit_requests),
        inquiries=only("inquiries", levels.inquiries),
    )


def _is_known(window: Window, levels: Levels) -> Mask:
    """Whether each effect is known, (accounts, DRIVEN)."""

    def ever(column: str) -> Mask:
        known: Mask = np.any(~np.isnan(window[column]), axis=0)
        return known

    income = ~np.isnan(window.last_known("income"))
    requests = ~np.isnan(levels.limit_requests) & ever("limit_requests")
    inquiries = ~np.isnan(levels.inquiries) & ever("credit_inquiries")
    known: dict[Driven, Mask] = {
        "repayment": ~np.isnan(levels.paid_share),
        "high_utilization": ~np.isnan(levels.used),
        "overspending": ~np.isnan(levels.spend) & income & ever("spend"),
        "cash_reliance": ~np.isnan(levels.cash) & ever("cash_advance"),
        "credit_seeking": requests | inquiries,
        "external_debt": ~np.isnan(levels.debt) & income & ever("external_debt"),
    }
    has_a_year = window.months_observed > 1
    by_group = np.column_stack([known[group] for group in DRIVEN])
    return by_group & has_a_year[:, None]
