"""Random numbers by account, month and event, independent of the order in which they are drawn.

Philox is a function of (key, counter).  The key holds seed, future, month and event, the counter
the account: account k gets the k-th number of its stream in any partition, and an event that is
added or left out changes no number of another event.  Each event draws exactly one uniform: a
method that rejects and redraws would make an account's numbers depend on the others of its block.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique

import numpy as np
from scipy.special import ndtri

from features.types import Mask, Vector
from training.data.simulate.state import Numbers, Whole

_WORDS_A_STEP = 4  # 64-bit words that Philox gives for one step of its counter
_MONTH_ZERO = 2**15  # warm-up months are negative
_LEAST = 2.0**-54  # keeps the normal of a uniform 0 finite


@unique
class Event(IntEnum):
    """The events that numbers are drawn for.

    Every simulated history depends on the values: add new ones, never renumber.
    """

    # Once for each account
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
    # In every month
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
    """The numbers of some accounts in one month; every method returns one for each account.

    >>> whole, part = Draws(1, 5, 0, np.arange(10)), Draws(1, 5, 0, np.array([7, 2]))
    >>> bool((whole.uniform(Event.SPEND)[[7, 2]] == part.uniform(Event.SPEND)).all())
    True
    """

    seed: int
    month_number: int
    # Another number is another future of the same account and month, 0 the history itself; one for
    # all accounts, or one for each.
    future: int | Numbers
    accounts: Numbers  # from 0, in any order; repeats are allowed

    @property
    def count(self) -> int:
        """The number of accounts."""
        return len(self.accounts)

    def uniform(self, event: Event) -> Vector:
        """Draw uniform numbers on [0, 1)."""
        if isinstance(self.future, int):
            return self._draw(self.future, self.accounts, event)
        # One stream for each run of equal futures.
        changes = np.flatnonzero(np.diff(self.future)) + 1
        ends = [*changes.tolist(), self.count]
        starts = [0, *ends[:-1]]
        parts = []
        for start, end in zip(starts, ends, strict=True):
            future = int(self.future[start])
            parts.append(self._draw(future, self.accounts[start:end], event))
        return np.concatenate(parts)

    def _draw(
        self,
        future: int,
        accounts: Numbers,
        event: Event,
    ) -> Vector:
        """Draw the stream from the lowest account to the highest; return those of the accounts."""
        # Bits of the word: 32 of the future, 24 of the month, 8 of the event.
        month = self.month_number + _MONTH_ZERO
        word = (future << 32) | (month << 8) | event
        key = np.array([self.seed, word], dtype=np.uint64)
        lowest = int(accounts.min())
        highest = int(accounts.max())
        step = lowest // _WORDS_A_STEP
        philox = np.random.Philox(key=key, counter=[step, 0, 0, 0])
        # The counter moves in steps of four words, so the stream may begin below the lowest.
        first = step * _WORDS_A_STEP
        stream = np.random.Generator(philox)
        numbers: Vector = stream.random(highest - first + 1)
        return numbers[accounts - first]

    def normal(self, event: Event) -> Vector:
        """Draw standard normal numbers, by inversion."""
        normal: Vector = ndtri(np.maximum(self.uniform(event), _LEAST))
        return normal

    def happens(self, event: Event, chance: Vector | float) -> Mask:
        """Draw True with the given chance."""
        return self.uniform(event) < chance

    def poisson(
        self,
        event: Event,
        mean: Vector,
        most: int = 12,
    ) -> Whole:
        """Draw Poisson counts by inversion, at most ``most``."""
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
