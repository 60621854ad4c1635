"""Who the accounts belong to: traits, and how each stands on the day the simulation meets them.

Age, gender and region move traits (income, impulsiveness, access to credit) a little, as they do in
any population; behaviour reads the traits and never them.  They are kept for measuring fairness.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from features.ledger import Behaviour, Standing, Terms, next_standing
from features.types import Vector
from training.data.simulate.config import SimulationConfig
from training.data.simulate.draws import Draws, Event
from training.data.simulate.state import State, Traits, Whole, round_to_cents

AGE_BANDS = ("18-24", "25-34", "35-44", "45-54", "55+")
GENDERS = ("female", "male")
REGIONS = ("tier_1", "tier_2", "tier_3", "county")
# the month number in whose name once-for-all numbers are drawn: before any warm-up
TRAITS_MONTH = -(2**15)
LIMIT_STEP = 500.0  # CNY; granted limits are multiples of it
# pay_later, cash_loan: living and ordinary use of the account to income, at most
AFFORDABLE = (0.78, 0.68)
LEAST_LIMIT = 1_000.0
MOST_LIMIT = 200_000.0

_AGE_SHARES = (0.16, 0.38, 0.25, 0.14, 0.07)
_REGION_SHARES = (0.20, 0.32, 0.30, 0.18)
_LOG_INCOME_BY_AGE = np.array([-0.40, 0.0, 0.15, 0.10, -0.10])
_LOG_INCOME_BY_GENDER = np.array([-0.05, 0.05])
_LOG_INCOME_BY_REGION = np.array([0.30, 0.08, -0.08, -0.25])
_IMPULSIVENESS_BY_AGE = np.array([0.35, 0.10, -0.10, -0.20, -0.30])
_LONGEST_TENURE = 96  # months


def draw_traits(first_account: int, count: int, config: SimulationConfig) -> Traits:
    """The traits of accounts ``first_account`` onwards."""
    draws = Draws(config.seed, TRAITS_MONTH, 0, np.arange(first_account, first_account + count))
    age = _pick(draws.uniform(Event.AGE), _AGE_SHARES)
    gender = _pick(draws.uniform(Event.GENDER), (0.47, 0.53))
    region = _pick(draws.uniform(Event.REGION), _REGION_SHARES)
    log_income = (
        _LOG_INCOME_BY_AGE[age] + _LOG_INCOME_BY_GENDER[gender] + _LOG_INCOME_BY_REGION[region]
    )
    relative = log_income + 0.42 * draws.normal(Event.INCOME_LEVEL)
    impulsiveness = _IMPULSIVENESS_BY_AGE[age] + draws.normal(Event.IMPULSIVENESS)
    # The poor spend a larger share on living, whatever they are like.
    wished_living = np.clip(0.50 - 0.08 * relative + 0.08 * draws.normal(Event.LIVING), 0.25, 0.80)
    spend_share = np.clip(0.20 * np.exp(0.55 * draws.normal(Event.SPEND_SHARE)), 0.03, 0.40)
    income = config.median_income * np.exp(relative)
    secured = income * np.exp(0.3 + 0.8 * draws.normal(Event.SECURED_AMOUNT))
    cash_loan = draws.happens(Event.PRODUCT, config.cash_loan_share)
    return Traits(
        cash_loan=cash_loan,
        opened_month=_opened(draws.uniform(Event.OPENED), config),
        opened_day=(1 + np.floor(28 * draws.uniform(Event.OPENED_DAY))).astype(np.int32),
        age_band=age,
        gender=gender,
        region=region,
        income_level=income,
        volatility=0.05 + 0.20 * draws.uniform(Event.VOLATILITY) ** 2,
        discipline=draws.normal(Event.DISCIPLINE) - 0.30 * impulsiveness,
        impulsiveness=impulsiveness,
        access=0.5 * relative + draws.normal(Event.ACCESS),
        cash_habit=0.3 * impulsiveness + draws.normal(Event.CASH_HABIT),
        # No lender grants a line to who cannot live within the income to begin with.
        living=np.minimum(
            wished_living, np.where(cash_loan, AFFORDABLE[1], AFFORDABLE[0]) - spend_share
        ),
        spend_share=spend_share,
        income_known=~draws.happens(Event.INCOME_KNOWN, config.income_unknown),
        debt_known=~draws.happens(Event.DEBT_KNOWN, config.debt_unknown),
        secured_debt=np.where(draws.happens(Event.SECURED, 0.4), secured, 0.0),
        coverage=0.4 + 0.6 * draws.uniform(Event.COVERAGE),
        cap_turn=draws.uniform(Event.CAP_TURN),
    )


def first_state(traits: Traits, first_account: int, config: SimulationConfig) -> State:
    """The state in which the simulation meets the accounts: at the warm-up's start, or at their
    opening if that is later.
    """
    count = len(traits.income_level)
    accounts = np.arange(first_account, first_account + count)
    draws = Draws(config.seed, TRAITS_MONTH, 0, accounts)
    income = traits.income_level
    reported = _hundreds(income * np.exp(0.12 * draws.normal(Event.REPORTING_ERROR)))
    limit = _granted(traits, reported, draws.normal(Event.LIMIT))
    # Who was met in the middle of things owes something already; who opens during the warm-up or
    # later does not.
    under_way = traits.opened_month <= -config.warm_up_months
    owed = np.where(traits.cash_loan, 0.7, 0.5) * limit * draws.uniform(Event.FIRST_BALANCE) ** 2
    nothing = Standing(np.zeros(count), np.zeros(count), np.zeros(count, dtype=np.int32))
    owing = Behaviour(
        round_to_cents(np.where(under_way, owed, 0.0)),
        np.zeros(count),
        np.zeros(count),
        np.zeros(count, dtype=np.int32),
    )
    standing = next_standing(nothing, owing, Terms())
    return State(
        seed=config.seed,
        months_done=-config.warm_up_months,
        accounts=accounts,
        traits=traits,
        shock=np.zeros(count, dtype=np.int32),
        severity=np.zeros(count),
        appetite=0.3 * traits.impulsiveness,
        strain=np.zeros(count),
        savings=income * np.exp(0.2 * traits.discipline + 0.9 * draws.normal(Event.SAVINGS)),
        external_debt=income * expit(traits.access) * 2.0 * np.exp(0.9 * draws.normal(Event.DEBT)),
        reported_income=reported,
        credit_limit=limit,
        balance=standing.balance,
        minimum_due=standing.minimum_due,
        days_past_due=standing.days_past_due,
        good_months=np.zeros(count, dtype=np.int32),
        months_since_cut=np.full(count, 1200, dtype=np.int32),
        limit_requests=np.zeros(count, dtype=np.int32),
        ended=np.zeros(count, dtype=np.bool_),
    )


def _granted(traits: Traits, reported: Vector, z: Vector) -> Vector:
    """The limit granted at opening: a multiple of income by product, seen through the eyes of an
    earlier, worse score.
    """
    spread = np.where(traits.cash_loan, 0.65, 0.55)
    multiple = np.where(traits.cash_loan, 2.2, 1.4) * np.exp(0.15 * traits.discipline + spread * z)
    limit: Vector = np.clip(
        np.round(reported * multiple / LIMIT_STEP) * LIMIT_STEP, LEAST_LIMIT, MOST_LIMIT
    )
    return limit


def _opened(u: Vector, config: SimulationConfig) -> Whole:
    """Opening months: geometric into the past for the existing, even over ``openings_over`` months
    for the others.
    """
    old = config.opened_before
    share = np.clip(u / old, 0.0, 1.0) if old > 0 else np.zeros_like(u)
    before = -np.minimum(
        1 + np.floor(-30.0 * np.log1p(-np.minimum(share, 0.999999))), _LONGEST_TENURE
    )
    after = np.floor((u - old) / (1 - old) * config.openings_over) if old < 1 else np.zeros_like(u)
    return np.where(u < old, before, np.minimum(after, config.openings_over - 1)).astype(np.int32)


def _pick(u: Vector, shares: tuple[float, ...]) -> Whole:
    places: NDArray[np.int64] = np.searchsorted(np.cumsum(shares[:-1]), u, side="right")
    return places.astype(np.int32)


def _hundreds(amount: Vector) -> Vector:
    """Rounded as people state their income, at least 100."""
    rounded: Vector = np.maximum(np.round(amount, -2), 100.0)
    return rounded
