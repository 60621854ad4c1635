"""A policy, a prior and days as arrays, for the compiled policy."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.catalogue import CATALOGUE
from features.months import month_index
from features.program.symbols import bits_of
from features.schema import PRODUCTS
from features.types import Matrix, Rows, Vector
from serving.decision.config.economics import EconomicsError
from serving.decision.config.policy import COMPARISONS, Policy, Rule
from serving.decision.policy.compiled import memory, rules
from serving.decision.policy.limit import USUAL_SPEND
from serving.decision.policy.prior import Prior
from serving.decision.scoring.score import logit

_NAMES = tuple(feature.name for feature in CATALOGUE)
_USED = (
    "limit_now",
    "balance_now",
    USUAL_SPEND,
    "months_observed",
    "days_past_due_now",
    "income",
)


@dataclass(frozen=True, slots=True)
class PolicyNumbers:
    """A policy as the compiled loops read it; read-only.

    Attributes:
        settings: float64 (23,), see :mod:`serving.decision.policy.compiled.limits`.
        products: float64 (products, 7), likewise; NaN where the economics are not known.
        steps: float64 (steps, 2): margin and share of each step of the staircase.
        rules: float64 (rules, 8), see :mod:`serving.decision.policy.compiled.rules`.
        conditions: float64 (conditions, 4), likewise.
        places: int64 (6,): the features that the policy reads, in the catalogue.
    """

    settings: Vector
    products: Matrix
    steps: Matrix
    rules: Matrix
    conditions: Matrix
    places: Rows

    @property
    def arrays(self) -> tuple[Vector | Matrix | Rows, ...]:
        """All of them, in the order of the attributes."""
        return (
            self.settings,
            self.products,
            self.steps,
            self.rules,
            self.conditions,
            self.places,
        )


# By the identity of a policy, which is kept with its arrays: to hash its settings takes longer than
# a decision.
_MOST_POLICIES = 8  # a process decides by a few
_MADE: dict[int, tuple[Policy, PolicyNumbers]] = {}


def numbers_of(policy: Policy) -> PolicyNumbers:
    """The arrays of a policy, made once."""
    made = _MADE.get(id(policy))
    if made is None:
        if len(_MADE) >= _MOST_POLICIES:
            _MADE.clear()
        made = _MADE[id(policy)] = policy, _make(policy)
    return made[1]


def day_number(day: datetime.date | None) -> float:
    """A day as :mod:`serving.decision.policy.compiled.days` has it; NaN for None."""
    return math.nan if day is None else month_index(day) * 32.0 + day.day


def day_of(number: float) -> datetime.date | None:
    """The day of a number, the inverse of :func:`day_number`."""
    if math.isnan(number):
        return None
    year, month = divmod(int(number) // 32, 12)
    return datetime.date(year, month + 1, int(number) % 32)


def write_prior(prior: Prior | None, row: Vector) -> None:
    """Write a prior into float64 (12,), see :mod:`serving.decision.policy.compiled.memory`."""
    row[:] = np.nan
    row[memory.HAS] = 0.0
    row[memory.STOPPED] = 0.0
    if prior is None:
        return
    row[memory.HAS] = 1.0
    row[memory.BEFORE] = prior.limit_before
    row[memory.BALANCE_BEFORE] = prior.balance_before
    row[memory.FIRST_CUT] = day_number(prior.first_cut_on)
    row[memory.LAST_CUT] = day_number(prior.last_cut_on)
    row[memory.LOG_ODDS] = math.nan if prior.log_odds is None else prior.log_odds
    row[memory.AFTER] = prior.limit_after
    row[memory.IN_FORCE] = prior.limit_in_force
    row[memory.FROM] = day_number(prior.in_force_from)
    row[memory.STOPPED] = float(prior.suspended)
    row[memory.REFERRED] = day_number(prior.referred_on)
    row[memory.LOOK] = day_number(prior.review_on)


def _make(policy: Policy) -> PolicyNumbers:
    return PolicyNumbers(
        settings=np.array(_settings(policy), dtype=np.float64),
        products=np.array([_product(name, policy) for name in PRODUCTS]),
        steps=np.array([(step.margin, step.share) for step in policy.restore.steps]),
        rules=np.array([_rule(rule) for rule in policy.rules]).reshape(-1, rules.WIDTH),
        conditions=np.array(_conditions(policy.rules)).reshape(-1, 4),
        places=np.array([_NAMES.index(name) for name in _USED], dtype=np.int64),
    )


def _settings(policy: Policy) -> list[float]:
    """In the order of the places in :mod:`serving.decision.policy.compiled.limits`."""
    cut, review = policy.cut, policy.review
    return [
        cut.depth,
        cut.headroom,
        cut.largest_step,
        cut.floor,
        cut.rounding,
        cut.minimum_cut_share,
        cut.minimum_cut_amount,
        cut.minimum_expected_loss,
        cut.again_after_months,
        cut.again_if_worse,
        policy.suspend.probability,
        policy.restore.after_months,
        review.band,
        review.high_impact_amount,
        review.high_impact_share,
        review.high_impact_incomes,
        review.minimum_months,
        review.stale_months,
        int(policy.dates.effective_after_days),
        int(policy.dates.review_after_months),
        int(policy.dates.decide_within_days),
        policy.economics.loss_given_default,
        policy.terms.monthly_rate,
    ]


def _product(name: str, policy: Policy) -> list[float]:
    try:
        cut_off = policy.cut_off(name)
    except EconomicsError:  # no account of this product can be decided on
        return [math.nan] * 7
    return [cut_off, logit(cut_off), *policy.economics.of(name).conversions]


def _rule(rule: Rule) -> list[float]:
    """In the order of the places in :mod:`serving.decision.policy.compiled.rules`."""
    first = -math.inf if rule.first_month is None else month_index(rule.first_month)
    return [
        bits_of(PRODUCTS if rule.products is None else rule.products),
        first,
        math.nan if rule.cap is None else rule.cap,
        math.nan if rule.cap_of is None else _NAMES.index(rule.cap_of),
        rule.times,
        rule.cause == "regulation",
        rule.suspend,
        rule.review,
    ]


def _conditions(all_rules: Sequence[Rule]) -> list[list[float]]:
    return [
        [
            place,
            _NAMES.index(condition.feature),
            COMPARISONS.index(condition.comparison),
            condition.number,
        ]
        for place, rule in enumerate(all_rules)
        for condition in rule.when
    ]
