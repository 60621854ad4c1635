"""What an account is and how it stands: all that the next month needs, and its file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.types import Mask, Vector

Whole = NDArray[np.int32]
Numbers = NDArray[np.int64]
_SCALARS = ("seed", "months_done")


@dataclass(frozen=True, slots=True)
class Traits:
    """What does not change: one entry an account in every array.

    Amounts in CNY a month; z = standard normal.
    """

    cash_loan: Mask  # product: True = cash_loan, False = pay_later
    opened_month: Whole  # month number; negative = before the first statements
    opened_day: Whole  # day of that month, from 1
    age_band: Whole  # index into people.AGE_BANDS
    gender: Whole  # index into people.GENDERS
    region: Whole  # index into people.REGIONS
    income_level: Vector  # income in an ordinary month
    volatility: Vector  # standard deviation of the logarithm of a month's income
    discipline: Vector  # z: pays in full, on time
    impulsiveness: Vector  # z: spends by mood and festival, borrows for it
    access: Vector  # z: how much other lenders will lend
    cash_habit: Vector  # z: takes cash from the line without need
    living: Vector  # cost of living that the account does not carry, as a share of income_level
    spend_share: Vector  # ordinary use of the account, as a share of income_level
    income_known: Mask  # the lender has an income on file
    debt_known: Mask  # the lender can see debt elsewhere
    secured_debt: Vector  # CNY, elsewhere and harmless: its instalments are part of living
    coverage: Vector  # share of the debt elsewhere that the lender sees
    cap_turn: Vector  # 0 to 1: when in the phase-in the regulator's cap reaches the account


@dataclass(frozen=True, slots=True)
class State:
    """Some accounts after ``months_done`` months: traits, standing and everything carried into the
    next month.

    All arrays have one entry an account; the same account may stand in it several times, with a
    future for each.  A step makes a new state.
    """

    seed: int  # of the simulation: a state is rolled forward with the numbers that it was made with
    months_done: int  # the next step is for this month number
    accounts: Numbers  # their numbers in the simulation, from 0
    traits: Traits
    shock: Whole  # index into shocks.SHOCKS
    severity: Vector  # 0 to 1: share of income that the present shock takes
    appetite: Vector  # logarithm of spending wishes against their ordinary level
    strain: Vector  # the pressure of the last months, smoothed; 0 to 2
    savings: Vector  # CNY >= 0
    external_debt: Vector  # CNY >= 0, all of it
    reported_income: Vector  # CNY: income as the lender knows it
    credit_limit: Vector  # CNY
    balance: Vector  # of the last statement
    minimum_due: Vector  # of the last statement
    days_past_due: Whole  # of the last statement
    good_months: Whole  # months in a row without a late payment
    months_since_cut: Whole  # by the incumbent; large = never
    limit_requests: Whole  # of the last month: the lender answers them in the next
    ended: Mask  # charged off or closed: no more statements

    @property
    def count(self) -> int:
        """How many accounts."""
        return len(self.balance)

    def take(self, places: Numbers) -> State:
        """The accounts at these places, in their order, as often as they are named."""
        traits = Traits(*(getattr(self.traits, field.name)[places] for field in fields(Traits)))
        own = {
            f.name: getattr(self, f.name)[places]
            for f in fields(State)
            if f.name not in (*_SCALARS, "traits")
        }
        return replace(self, traits=traits, **own)

    def save(self, file: Path) -> None:
        """Write the state into one ``.npz`` file (plain arrays, no pickle)."""
        arrays = {
            f"traits.{field.name}": getattr(self.traits, field.name) for field in fields(Traits)
        }
        arrays |= {
            field.name: np.asarray(getattr(self, field.name))
            for field in fields(State)
            if field.name != "traits"
        }
        with file.open("wb") as stream:  # a path would get another suffix
            np.savez(stream, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, file: Path) -> State:
        """The state that :meth:`save` wrote.

        ValueError, naming the file, where it holds anything else.
        """
        try:
            with np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{file}: expected a saved simulation state: {error}") from error
        expected = {f"traits.{field.name}" for field in fields(Traits)}
        expected |= {field.name for field in fields(State) if field.name != "traits"}
        if set(arrays) != expected:
            raise ValueError(
                f"{file}: expected the arrays of a saved simulation state, differs in {sorted(expected ^ set(arrays))}"
            )
        traits = Traits(**{field.name: arrays[f"traits.{field.name}"] for field in fields(Traits)})
        return cls(traits=traits, **_unpacked(arrays))


def round_to_cents(amount: Vector) -> Vector:
    """Amounts in whole cents, as statements show them."""
    return np.round(amount, 2)


def _unpacked(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: array for name, array in arrays.items() if not name.startswith("traits.")
    }
    return values | {name: int(arrays[name]) for name in _SCALARS}
