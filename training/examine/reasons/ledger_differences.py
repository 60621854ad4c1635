"""Where a lender's statements differ from the ledger, and how the lender would have booked a month.

A replayed year keeps these differences, so that a year in which nothing is changed comes out as it
was.  Arrays are float64 (months, trajectories), or (trajectories,) for one month; amounts in CNY.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from features.ledger import (
    DAYS_A_MONTH,
    Behaviour,
    Standing,
    Terms,
    minimum_due_of,
    next_standing,
    round_to_cents,
)
from features.types import Mask
from features.window import Values, Window


@dataclass(frozen=True, slots=True)
class LedgerDifferences:
    """Where the lender's statements differ from the ledger, in each month or in one of them."""

    balance: Values  # owed in addition to what the ledger says
    due_ratio: Values  # minimum due / the ledger's; NaN = the source does not state it
    extra_due: Values  # minimum due where the ledger asks for nothing
    due_before: Values  # minimum due that was to be paid in the month
    more_days: Values  # past due than the ledger counts

    def month(self, row: int) -> LedgerDifferences:
        """The differences in one month."""
        return LedgerDifferences(
            balance=self.balance[row],
            due_ratio=self.due_ratio[row],
            extra_due=self.extra_due[row],
            due_before=self.due_before[row],
            more_days=self.more_days[row],
        )

    def book(
        self,
        before: Standing,
        by_ledger: Standing,
        actual: Mapping[str, Values],
        on_time: Mask,
        terms: Terms,
    ) -> Standing:
        """The standing as this lender would have booked it.

        It has at most as many days past due as the account had.
        """
        owed_then = actual["owed_before"]
        owed = np.maximum(before.balance, 0.0)
        share = np.divide(
            owed,
            owed_then,
            out=np.ones_like(owed_then),
            where=owed_then > 0,
        )
        # A smaller debt is charged less below the terms, in proportion.
        undercharged = np.minimum(self.balance, 0.0) * np.minimum(share, 1.0)
        overcharged = np.maximum(self.balance, 0.0)
        balance = round_to_cents(by_ledger.balance + overcharged + undercharged)

        nothing_due = (before.minimum_due <= 0) & (self.due_before > 0)
        more_days = np.where(
            on_time | nothing_due,
            0.0,
            self.more_days,
        )
        days = np.minimum(by_ledger.days_past_due + more_days, actual["days_past_due"])
        days = days.astype(np.int32)

        due = round_to_cents(by_ledger.minimum_due * self.due_ratio + self.extra_due)
        by_terms = minimum_due_of(balance, days // DAYS_A_MONTH, terms)
        return Standing(balance, known_or(due, by_terms), days)


def compare_with_ledger(
    window: Window,
    months: int,
    terms: Terms,
) -> LedgerDifferences:
    """The differences between each statement and the ledger, (months, trajectories)."""
    this = slice(0, months)
    before = slice(1, months + 1)
    balance_before = np.nan_to_num(window["balance"][before])
    days_before = np.nan_to_num(window["days_past_due"][before]).astype(np.int32)
    due_before = window["minimum_due"][before]
    by_terms = minimum_due_of(balance_before, days_before // DAYS_A_MONTH, terms)
    due_before = known_or(due_before, by_terms)

    days = np.nan_to_num(window["days_past_due"][this])
    behaviour = Behaviour(
        spend=np.nan_to_num(window["spend"][this]),
        cash_advance=np.nan_to_num(window["cash_advance"][this]),
        payment=np.nan_to_num(window["payment"][this]),
        days_late=np.where(days < DAYS_A_MONTH, days, 0.0).astype(np.int32),
    )
    ledger = next_standing(
        Standing(balance_before, due_before, days_before),
        behaviour,
        terms,
    )
    due = window["minimum_due"][this]
    asks = ledger.minimum_due > 0
    # NaN where the source does not state the minimum due, whether the ledger asks for it or not.
    unknown_or_zero = np.where(asks, np.nan, due * 0.0)
    return LedgerDifferences(
        balance=np.nan_to_num(round_to_cents(window["balance"][this] - ledger.balance)),
        due_ratio=np.divide(
            due,
            ledger.minimum_due,
            out=unknown_or_zero,
            where=asks,
        ),
        extra_due=np.where(asks, 0.0, due),
        due_before=np.nan_to_num(due_before),
        more_days=np.maximum(days - ledger.days_past_due, 0.0),
    )


def known_or(values: Values, otherwise: Values) -> Values:
    """The values, and ``otherwise`` where they are unknown."""
    return np.where(np.isnan(values), otherwise, values)
