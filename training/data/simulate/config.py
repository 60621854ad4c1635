"""Size, calendar and policy of a simulated lender."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

from features.limits import FIRST_MONTH, LAST_MONTH
from features.months import add_months, month_index, months_between
from training.tracking.config import check_ranges

MOST_ACCOUNTS = 9_999_999  # account ids have seven digits, so that they sort as numbers do
MOST_MONTHS = 600
_SEEDS = 2**63


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """Size, calendar and policy of a simulated lender.  ValueError for a field out of its range.

    >>> SimulationConfig(accounts=0)
    Traceback (most recent call last):
    ...
    ValueError: SimulationConfig.accounts: expected 1 to 9999999, got 0
    """

    accounts: int = 20_000  # drawn; those that open after the last month are in no table
    months: int = 36  # months of statements; a shorter run is the beginning of a longer one
    seed: int = 1  # another seed is another population
    first_month: datetime.date = datetime.date(2023, 10, 1)  # month of the first statements
    # accounts in a block and in a file; about 10 kB of memory each at 36 months
    partition_accounts: int = 50_000
    # months simulated before the first statements, so that debts and habits are under way
    warm_up_months: int = 24
    cash_loan_share: float = 0.35  # of the accounts; the others are pay_later
    opened_before: float = 0.75  # share of the accounts that exist in the first month
    openings_over: int = 30  # months from the first over which the others open, evenly
    median_income: float = 8_000.0  # CNY a month, of the population's reference group
    shock_rate: float = 1.0  # scales the chance of income losses and illnesses; 1 = as calibrated
    # share of the accounts that the incumbent's score picks in a month; few have much to cut
    incumbent_cut_rate: float = 0.02
    # noise in the incumbent's score, in standard deviations of its signal; 0 = none
    incumbent_noise: float = 1.0
    limit_increase_rate: float = 0.03  # monthly chance of an account in good standing
    # first month in which the regulator caps cash loan lines
    cap_from: datetime.date = datetime.date(2025, 10, 1)
    cap_multiple: float = 6.0  # the cap, in monthly incomes as the lender knows them
    cap_phase_in_months: int = 12  # months over which the accounts come under the cap
    income_unknown: float = 0.12  # share of the accounts whose income the lender never learns
    debt_unknown: float = 0.10  # share of the accounts whose debt elsewhere is never known
    month_unknown: float = 0.04  # chance that a known income, or debt, is missing in one month

    def __post_init__(self) -> None:
        check_ranges(
            self,
            accounts=(1, MOST_ACCOUNTS),
            months=(1, MOST_MONTHS),
            seed=(0, _SEEDS - 1),
            partition_accounts=(1, MOST_ACCOUNTS),
            warm_up_months=(0, MOST_MONTHS),
            cash_loan_share=(0.0, 1.0),
            opened_before=(0.0, 1.0),
            openings_over=(1, MOST_MONTHS),
            median_income=(100.0, 1e6),
            shock_rate=(0.0, 10.0),
            incumbent_cut_rate=(0.0, 0.5),
            incumbent_noise=(0.0, 100.0),
            limit_increase_rate=(0.0, 1.0),
            cap_multiple=(0.1, 1e6),
            cap_phase_in_months=(1, MOST_MONTHS),
            income_unknown=(0.0, 1.0),
            debt_unknown=(0.0, 1.0),
            month_unknown=(0.0, 1.0),
        )
        for name in ("first_month", "cap_from"):
            day = getattr(self, name)
            if day.day != 1:
                raise ValueError(
                    f"SimulationConfig.{name}: expected the first day of a month, got {day}"
                )
        last_index = month_index(self.first_month) + self.months - 1
        if self.first_month < FIRST_MONTH or last_index > month_index(LAST_MONTH):
            raise ValueError(
                f"SimulationConfig.first_month: expected {self.months} months from "
                f"{FIRST_MONTH:%Y-%m} to {LAST_MONTH:%Y-%m}, got {self.first_month} for the first"
            )


def end_before(today: datetime.date, config: SimulationConfig) -> SimulationConfig:
    """Return the config with the months moved so that the last one is the month before today's.

    A decision on older statements is a person's, so data for a service end with this month.

    >>> moved = end_before(datetime.date(2026, 11, 27), SimulationConfig(months=12))
    >>> moved.first_month, calendar_month(moved.months - 1, moved)
    (datetime.date(2025, 11, 1), datetime.date(2026, 10, 1))
    """
    this_month = today.replace(day=1)
    return replace(config, first_month=add_months(this_month, -config.months))


def calendar_month(month_number: int, config: SimulationConfig) -> datetime.date:
    """Return the calendar month of a month number.

    0 is ``config.first_month``; warm-up months are negative.

    >>> calendar_month(3, SimulationConfig())
    datetime.date(2024, 1, 1)
    """
    return add_months(config.first_month, month_number)


def month_number_of(month: datetime.date, config: SimulationConfig) -> int:
    """Return the number of a calendar month: the inverse of :func:`calendar_month`."""
    return months_between(config.first_month, month)
