"""The accounts of a simulation: their traits, and the state in which it starts.

Age, gender and region shift traits (income, impulsiveness, access to credit) a little, as in any
population.  Behaviour depends on traits and never on these three, which serve to measure fairness.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from features.ledger import Behaviour, Standing, Terms, next_standing
from features.types import Mask, Vector
from training.data.simulate.config import SimulationConfig
from training.data.simulate.draws import Draws, Event
from training.data.simulate.state import State, Traits, Whole, round_to_cents

TRAITS_MONTH = -(2**15)  # month number of the draws that are made once: before any warm-up
LIMIT_STEP = 500.0  # CNY; granted limits are multiples of it
AFFORDABLE = (0.78, 0.68)  # pay_later, cash_loan: maximum of living and ordinary use to income
LEAST_LIMIT = 1_000.0
MOST_LIMIT = 200_000.0
_LONGEST_TENURE = 96  # months
_MEAN_TENURE = 30.0  # months, before it is cut off
_NEVER_CUT = 1200  # months


class _Group(NamedTuple):
    """An age band, a gender or a region: how common it is, and how it shifts traits."""

    name: str
    share: float  # of the population
    log_income: float  # logarithm of income relative to the reference group
    impulsiveness: float = 0.0  # in standard deviations


_AGES = (
    _Group("18-24", 0.16, -0.40, 0.35),
    _Group("25-34", 0.38, 0.0, 0.10),
    _Group("35-44", 0.25, 0.15, -0.10),
    _Group("45-54", 0.14, 0.10, -0.20),
    _Group("55+", 0.07, -0.10, -0.30),
)
_GENDERS = (
    _Group("female", 0.47, -0.05),
    _Group("male", 0.53, 0.05),
)
_REGIONS = (
    _Group("tier_1", 0.20, 0.30),
    _Group("tier_2", 0.32, 0.08),
    _Group("tier_3", 0.30, -0.08),
    _Group("county", 0.18, -0.25),
)
AGE_BANDS = tuple(group.name for group in _AGES)
GENDERS = tuple(group.name for group in _GENDERS)
REGIONS = tuple(group.name for group in _REGIONS)


def draw_traits(
    first_account: int,
    count: int,
    config: SimulationConfig,
) -> Traits:
    """Draw the traits of ``count`` accounts, ``first_account`` the first."""
    accounts = np.arange(first_account, first_account + count)
    draws = Draws(config.seed, TRAITS_MONTH, 0, accounts)
    age = _pick(draws.uniform(Event.AGE), _AGES)
    gender = _pick(draws.uniform(Event.GENDER), _GENDERS)
    region = _pick(draws.uniform(Event.REGION), _REGIONS)
    log_income = _log_relative_income(age, gender, region, draws)
    income = config.median_income * np.exp(log_income)
    by_age = np.array([group.impulsiveness for group in _AGES])
    impulsiveness = by_age[age] + draws.normal(Event.IMPULSIVENESS)
    cash_loan = draws.happens(Event.PRODUCT, config.cash_loan_share)
    spend_share, living = _draw_shares(log_income, cash_loan, draws)
    return Traits(
        cash_loan=cash_loan,
        opened_month=_draw_opened_month(draws, config),
        opened_day=_draw_opened_day(draws),
        age_band=age,
        gender=gender,
        region=region,
        income_level=income,
        volatility=0.05 + 0.20 * draws.uniform(Event.VOLATILITY) ** 2,
        discipline=draws.normal(Event.DISCIPLINE) - 0.30 * impulsiveness,
        impulsiveness=impulsiveness,
        access=0.5 * log_income + draws.normal(Event.ACCESS),
        cash_habit=0.3 * impulsiveness + draws.normal(Event.CASH_HABIT),
        living=living,
        spend_share=spend_share,
        income_known=~draws.happens(Event.INCOME_KNOWN, config.income_unknown),
        debt_known=~draws.happens(Event.DEBT_KNOWN, config.debt_unknown),
        secured_debt=_draw_secured_debt(income, draws),
        coverage=0.4 + 0.6 * draws.uniform(Event.COVERAGE),
        cap_turn=draws.uniform(Event.CAP_TURN),
    )


def _log_relative_income(
    age: Whole,
    gender: Whole,
    region: Whole,
    draws: Draws,
) -> Vector:
    """Return the logarithm of incomes relative to ``SimulationConfig.median_income``."""
    of_age = _log_income(_AGES)[age]
    of_gender = _log_income(_GENDERS)[gender]
    of_region = _log_income(_REGIONS)[region]
    own = 0.42 * draws.normal(Event.INCOME_LEVEL)
    log_income: Vector = of_age + of_gender + of_region + own
    return log_income


def _log_income(groups: tuple[_Group, ...]) -> Vector:
    return np.array([group.log_income for group in groups])


def _draw_shares(
    log_income: Vector,
    cash_loan: Mask,
    draws: Draws,
) -> tuple[Vector, Vector]:
    """Return (ordinary use of the account, other living), as shares of income."""
    log_noise = 0.55 * draws.normal(Event.SPEND_SHARE)
    spend_share = np.clip(0.20 * np.exp(log_noise), 0.03, 0.40)
    # Customers with low incomes need a larger share of them for living.
    needed = 0.50 - 0.08 * log_income
    noise = 0.08 * draws.normal(Event.LIVING)
    living = np.clip(needed + noise, 0.25, 0.80)
    # No lender grants a line to customers who cannot live within their income from the start.
    of_pay_later, of_cash_loan = AFFORDABLE
    affordable = np.where(cash_loan, of_cash_loan, of_pay_later)
    return spend_share, np.minimum(living, affordable - spend_share)


def _draw_secured_debt(income: Vector, draws: Draws) -> Vector:
    log_incomes = 0.3 + 0.8 * draws.normal(Event.SECURED_AMOUNT)
    debt = income * np.exp(log_incomes)
    has_debt = draws.happens(Event.SECURED, 0.4)
    return np.where(has_debt, debt, 0.0)


def _draw_opened_day(draws: Draws) -> Whole:
    days_before = np.floor(28 * draws.uniform(Event.OPENED_DAY))
    day: Vector = 1 + days_before  # every month has a 28th
    return day.astype(np.int32)


def first_state(
    traits: Traits,
    first_account: int,
    config: SimulationConfig,
) -> State:
    """Return the state at the start of the warm-up, or at opening for accounts that open later."""
    count = len(traits.income_level)
    accounts = np.arange(first_account, first_account + count)
    draws = Draws(config.seed, TRAITS_MONTH, 0, accounts)
    income = traits.income_level
    reporting_error = np.exp(0.12 * draws.normal(Event.REPORTING_ERROR))
    reported_income = state_income(income * reporting_error)
    limit = _granted_limit(traits, reported_income, draws.normal(Event.LIMIT))
    standing = _first_standing(traits, limit, draws, config)
    savings_noise = 0.9 * draws.normal(Event.SAVINGS)
    log_savings = 0.2 * traits.discipline + savings_noise
    # Customers with more access to credit owe more already.
    usual_debt = expit(traits.access) * 2.0
    debt_noise = 0.9 * draws.normal(Event.DEBT)
    debt_in_incomes = usual_debt * np.exp(debt_noise)
    none = np.zeros(count, dtype=np.int32)
    return State(
        seed=config.seed,
        months_done=-config.warm_up_months,
        accounts=accounts,
        traits=traits,
        shock=none,
        severity=np.zeros(count),
        appetite=0.3 * traits.impulsiveness,
        strain=np.zeros(count),
        savings=income * np.exp(log_savings),
        external_debt=income * debt_in_incomes,
        reported_income=reported_income,
        credit_limit=limit,
        balance=standing.balance,
        minimum_due=standing.minimum_due,
        days_past_due=standing.days_past_due,
        good_months=none,
        months_since_cut=np.full(count, _NEVER_CUT, dtype=np.int32),
        limit_requests=none,
        ended=np.zeros(count, dtype=np.bool_),
    )


def _first_standing(
    traits: Traits,
    limit: Vector,
    draws: Draws,
    config: SimulationConfig,
) -> Standing:
    """Return the first statement: accounts that exist already owe something, new ones do not."""
    count = len(limit)
    exists = traits.opened_month <= -config.warm_up_months
    # Squared: most accounts owe a small part of the most that the product owes.
    largest_share = traits.by_product(
        pay_later=0.5,
        cash_loan=0.7,
    )
    part = draws.uniform(Event.FIRST_BALANCE) ** 2
    owed = largest_share * limit * part
    spend = round_to_cents(np.where(exists, owed, 0.0))
    zeros = np.zeros(count)
    none = np.zeros(count, dtype=np.int32)
    # Posted as purchases, so that the ledger gives the minimum due of this balance too.
    return next_standing(
        Standing(zeros, zeros, none),
        Behaviour(spend, zeros, zeros, none),
        Terms(),
    )


def _granted_limit(
    traits: Traits,
    reported_income: Vector,
    z: Vector,
) -> Vector:
    """Return the limit at opening: a multiple of income by product and an earlier, worse score."""
    spread = traits.by_product(
        pay_later=0.55,
        cash_loan=0.65,
    )
    log_score = 0.15 * traits.discipline + spread * z
    base = traits.by_product(
        pay_later=1.4,
        cash_loan=2.2,
    )
    multiple = base * np.exp(log_score)
    steps = np.round(reported_income * multiple / LIMIT_STEP)
    limit: Vector = np.clip(steps * LIMIT_STEP, LEAST_LIMIT, MOST_LIMIT)
    return limit


def _draw_opened_month(draws: Draws, config: SimulationConfig) -> Whole:
    """Draw opening months.

    Existing accounts opened a geometric number of months ago; the others open evenly over
    ``openings_over`` months.
    """
    u = draws.uniform(Event.OPENED)
    existing = config.opened_before
    # One uniform gives both the group and the month within it.  A share of 0 or 1 leaves one group
    # empty, and its division by zero out.
    share_of_past = np.zeros_like(u)
    months_ahead = np.zeros_like(u)
    if existing > 0:
        share_of_past = np.clip(u / existing, 0.0, 1.0)
    if existing < 1:
        share_ahead = (u - existing) / (1 - existing)
        months_ahead = np.floor(share_ahead * config.openings_over)
    # Below 1, where the logarithm is infinite.
    log_rest = np.log1p(-np.minimum(share_of_past, 0.999999))
    tenure = 1 + np.floor(-_MEAN_TENURE * log_rest)
    before = -np.minimum(tenure, _LONGEST_TENURE)
    after = np.minimum(months_ahead, config.openings_over - 1)
    opened_month = np.where(
        u < existing,
        before,
        after,
    )
    return opened_month.astype(np.int32)


def _pick(u: Vector, groups: tuple[_Group, ...]) -> Whole:
    """Return the number of the group that each uniform falls into."""
    shares = [group.share for group in groups]
    # Without the last bound: a sum that rounds to less than 1 would leave some uniforms no group.
    bounds = np.cumsum(shares[:-1])
    places: NDArray[np.int64] = np.searchsorted(bounds, u, side="right")
    return places.astype(np.int32)


def state_income(income: Vector) -> Vector:
    """Round to hundreds, as people state their income; at least 100."""
    stated: Vector = np.maximum(np.round(income, -2), 100.0)
    return stated
