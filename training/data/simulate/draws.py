"""Random numbers that belong to an account, a month and an event, whoever asks for them and in
whatever order.

Philox is a function of (key, counter).  The key holds seed, future, month and event, the counter
the account: so account k gets the k-th number of its stream in any partition, and an event drawn or
left out moves no other event's numbers.  Exactly one uniform an event: a method that rejects and
redraws would tie the accounts of a block together.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from features.types import Vector

Numbers = NDArray[np.int64]
_WORDS_A_STEP = 4  # 64-bit words that Philox gives for one step of its counter
_MONTH_ZERO = 2**15  # warm-up months are negative
_LEAST = 2.0**-54  # keeps the normal of a uniform 0 finite


@unique
class Event(IntEnum):
    """What a number is drawn for.

    The values are part of every simulated history: add new ones, never renumber.
    """

    # Once an account
    OPENED = 1
    PRODUCT = 2
    AGE = 3
    GENDER = 4
    REGION = 5
    INCOME_LEVEL = 6
    VOLATILITY = 7
    DISCIPLINE = 8
    IMPULSIVENESS = 9
    ACCESS = 10
    CASH_HABIT = 11
    LIVING = 12
    SPEND_SHARE = 13
    SAVINGS = 14
    DEBT = 15
    LIMIT = 16
    INCOME_KNOWN = 17
    DEBT_KNOWN = 18
    COVERAGE = 19
    REPORTING_ERROR = 20
    OPENED_DAY = 21
    FIRST_BALANCE = 22
    CAP_TURN = 23
    SECURED = 24
    SECURED_AMOUNT = 25
    # Every month
    SHOCK = 40
    SEVERITY = 41
    INCOME = 42
    APPETITE = 43
    SPEND = 44
    SPEND_AT_ALL = 45
    FULL = 46
    PART = 47
    STRAINED = 48
    FORGOTTEN = 49
    LATE = 50
    DAYS_LATE = 51
    CASH = 52
    CASH_AMOUNT = 53
    SEEK = 54
    GRANTED = 55
    BORROWED = 56
    INQUIRIES = 57
    REQUEST = 58
    INCUMBENT = 59
    CUT_DEPTH = 60
    INCREASE = 61
    CLOSE = 62
    INCOME_UPDATE = 63
    INCOME_MISSING = 64
    DEBT_MISSING = 65
    ROUNDED_UP = 66


@dataclass(frozen=True, slots=True)
class Draws:
    """The numbers of some accounts in one month.  Every method gives float64 (accounts,).

    ``accounts`` are numbers of accounts from 0, int64, in any order and as often as wanted.
    ``future`` tells futures of the same account and month apart, one for all or one an account; 0
    is the history itself.

    >>> whole, part = Draws(1, 5, 0, np.arange(10)), Draws(1, 5, 0, np.array([7, 2]))
    >>> bool((whole.uniform(Event.SPEND)[[7, 2]] == part.uniform(Event.SPEND)).all())
    True
    """

    seed: int
    month_number: int
    future: int | Numbers
    accounts: Numbers

    @property
    def count(self) -> int:
        """How many numbers an event has."""
        return len(self.accounts)

    def uniform(self, event: Event) -> Vector:
        """Uniform on [0, 1)."""
        if isinstance(self.future, int):
            return self._of_future(self.future, self.accounts, event)
        ends = [*(np.flatnonzero(np.diff(self.future)) + 1).tolist(), self.count]
        starts = [0, *ends[:-1]]
        return np.concatenate(
            [
                self._of_future(int(self.future[start]), self.accounts[start:end], event)
                for start, end in zip(starts, ends, strict=True)
            ]
        )

    def _of_future(self, future: int, accounts: Numbers, event: Event) -> Vector:
        """The stream from the lowest of the accounts to the highest, of which the accounts take
        theirs.
        """
        word = (future << 32) | ((self.month_number + _MONTH_ZERO) << 8) | event
        key = np.array([self.seed, word], dtype=np.uint64)
        lowest, highest = int(accounts.min()), int(accounts.max())
        step = lowest // _WORDS_A_STEP
        stream = np.random.Generator(np.random.Philox(key=key, counter=[step, 0, 0, 0]))
        first = step * _WORDS_A_STEP
        drawn: Vector = stream.random(highest - first + 1)
        return drawn[accounts - first]

    def normal(self, event: Event) -> Vector:
        """Standard normal, by inversion."""
        normal: Vector = ndtri(np.maximum(self.uniform(event), _LEAST))
        return normal

    def happens(self, event: Event, chance: Vector | float) -> NDArray[np.bool_]:
        """True with the given chance."""
        return self.uniform(event) < chance

    def poisson(self, event: Event, mean: Vector, most: int = 12) -> NDArray[np.int32]:
        """Poisson counts by inversion, int32, cut off at ``most``."""
        u = self.uniform(event)
        term = np.exp(-mean)
        below = term
        counts = np.zeros(self.count, dtype=np.int32)
        for k in range(1, most + 1):
            above = u >= below
            if not above.any():
                break
            counts += above
            term = term * mean / k
            below = below + term
        return counts
