"""Accounts for tests: drawn windows with the irregularities of real ones, and a quiet account.

A drawn window keeps the schema and may have a thin history, an overpaid balance and unknown values.
"""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st

from features.schema import COLUMNS, PRODUCTS, table

_UNKNOWN_AS_A_WHOLE = [column.name for column in COLUMNS if column.null == "whole"]


@st.composite
def window(draw: st.DrawFn, account_id: str = "drawn", months: int | None = None) -> pl.DataFrame:
    """One account's window of 1 to 24 months.

    Hypothesis draws the length, the product, the unknown columns and a seed for the amounts.
    Drawing every amount by itself took half of the suite's time.
    """
    count = months or draw(st.integers(1, 24))
    unknown = draw(st.sets(st.sampled_from(_UNKNOWN_AS_A_WHOLE)))
    product = draw(st.sampled_from(PRODUCTS))
    first = 2024 * 12 + draw(st.integers(0, 8))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    limits = _limits(random, count)
    rows = [
        _row(random, index, limits[place])
        for place, index in enumerate(range(first, first + count))
    ]
    return table(
        row | dict.fromkeys(unknown) | {"account_id": account_id, "product": product}
        for row in rows
    )


def _limits(random: np.random.Generator, count: int) -> list[float]:
    """A limit that sometimes halves or doubles."""
    limit = float(random.choice([0.0, 500.0, 3_000.0, 12_000.0, 80_000.0]))
    steps = random.choice([0.5, 1.0, 2.0], size=count, p=[0.05, 0.9, 0.05])
    return [float(value) for value in limit * np.cumprod(steps)]


def _row(random: np.random.Generator, index: int, limit: float) -> dict[str, Any]:
    def amount(zero: float = 0.3) -> float:
        return 0.0 if random.random() < zero else round(float(random.lognormal(7.0, 1.5)), 2)

    def or_unknown(value: float) -> float | None:
        return None if random.random() < 0.2 else value

    return {
        "month": datetime.date(index // 12, index % 12 + 1, 1),
        "credit_limit": limit,
        "balance": -50.0 if random.random() < 0.1 else amount(),
        "spend": or_unknown(amount()),
        "cash_advance": amount(0.7),
        "payment": amount(),
        "minimum_due": amount(),
        "days_past_due": int(random.choice([0, 0, 0, 0, 3, 30, 60, 90])),
        "limit_requests": int(random.integers(0, 3)),
        "credit_inquiries": int(random.integers(0, 3)),
        "external_debt": or_unknown(amount()),
        "income": or_unknown(amount(0.0) + 1.0),
    }


def quiet_account(
    months: int = 3, account_id: str = "a", changes: dict[str, object] | None = None
) -> pl.DataFrame:
    """A quiet account; ``changes`` go into its last row."""
    rows: list[dict[str, object]] = [
        {
            "account_id": account_id,
            "month": datetime.date(2024 + m // 12, m % 12 + 1, 1),
            "product": "pay_later",
            "credit_limit": 1000.0,
            "balance": 100.0,
            "spend": 100.0,
            "cash_advance": 0.0,
            "payment": 100.0,
            "minimum_due": 10.0,
            "days_past_due": 0,
            "limit_requests": 0,
            "credit_inquiries": 0,
            "external_debt": None,
            "income": 5000.0,
        }
        for m in range(months)
    ]
    rows[-1] |= changes or {}
    return table(rows)
