from __future__ import annotations

import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.build import build, values_of
from features.ledger import Behaviour, Standing, Terms, next_standing
from features.schema import check
from features.window import lay_out
from serving.decision.advice.rollout import (
    HABITS,
    Plans,
    least_share_of,
    roll_forward,
    windows_ahead,
)
from tests.support.accounts import window
from training.data.dataset import Source

TERMS = Terms()
MONTHS = 12


def plans(courses: int = 1, **changes: float) -> Plans:
    """Carrying on, but for the changes."""
    as_before = {
        "on_time": 0.0,
        "extra": 0.0,
        "spending": np.inf,
        "no_cash": 0.0,
        "no_new_credit": 0.0,
        "repay_elsewhere": 0.0,
        "paid_share": 0.0,
    }
    return Plans(**{name: np.full(courses, value) for name, value in (as_before | changes).items()})


def lived(
    statements: pl.DataFrame,
    plan: Plans,
    limit: float,
    suspended: bool = False,
    back: tuple[int, float] = (MONTHS, 0.0),
) -> dict[str, np.ndarray]:
    """``back``: after that month (0 = the next) this limit is in force, and nobody is suspended."""
    shape = (MONTHS, len(plan))
    many = lay_out(statements).take(np.zeros(len(plan), dtype=np.int64))
    reduced = np.arange(MONTHS)[:, None] <= back[0]
    return roll_forward(
        many,
        plan,
        np.where(reduced, np.full(shape, limit), back[1]),
        reduced & np.full(shape, suspended),
        TERMS,
    )


def as_table(statements: pl.DataFrame, columns: dict[str, np.ndarray], course: int) -> pl.DataFrame:
    """What was lived, as statements that a lender would send: the window's, then those of the
    months to come.
    """
    last = statements["month"][-1]
    numbers = {name: column[:MONTHS, course][::-1] for name, column in columns.items()}
    months = [
        datetime.date(
            (last.year * 12 + last.month + m) // 12, (last.year * 12 + last.month + m) % 12 + 1, 1
        )
        for m in range(MONTHS)
    ]
    coming = (
        pl.DataFrame(numbers)
        .fill_nan(None)
        .with_columns(
            pl.Series("month", months),
            account_id=pl.lit(statements["account_id"][0]),
            product=pl.lit(statements["product"][0]),
        )
    )
    coming = coming.select(pl.col(name).cast(dtype) for name, dtype in statements.schema.items())
    return pl.concat([statements, coming])


def test_the_ledger_gives_the_simulators_next_statement_to_the_cent(source: Source) -> None:
    """10,000 account-months: the standing of a statement and the next month's acts give the next
    statement's.
    """
    table = source.statements.sort("account_id", "month")
    names = ("balance", "minimum_due", "days_past_due")
    following = table.select(pl.all().shift(-1).over("account_id").name.prefix("next_"))
    both = (
        pl.concat([table, following], how="horizontal")
        .filter(pl.col("next_balance").is_not_null())
        .sample(10_000, seed=1)
    )
    now = Standing(*(both[name].to_numpy() for name in names))
    days = both["next_days_past_due"].to_numpy()
    spend, cash, payment = (
        both[f"next_{name}"].to_numpy() for name in ("spend", "cash_advance", "payment")
    )
    acts = Behaviour(spend, cash, payment, np.where(days < 30, days, 0).astype(np.int32))
    after = next_standing(now, acts, TERMS)
    assert np.array_equal(after.balance, both["next_balance"].to_numpy())
    assert np.array_equal(after.minimum_due, both["next_minimum_due"].to_numpy())
    assert np.array_equal(after.days_past_due, days)
    assert (days > 0).sum() > 100


@settings(max_examples=60)
@given(
    window(),
    st.sampled_from(
        [{}, {"on_time": 1.0}, {"on_time": 1.0, "extra": 300.0, "no_cash": 1.0, "spending": 100.0}]
    ),
)
def test_what_is_lived_are_statements_and_their_features_are_the_same(
    drawn: pl.DataFrame, changes: dict[str, float]
) -> None:
    """The months to come keep the schema, and the ordinary way from statements to features gives
    what the course gave.
    """
    statements = check(drawn)
    columns = lived(statements, plans(2, **changes), float(statements["credit_limit"][-1]))
    table = as_table(statements, columns, 1)
    found = values_of(windows_ahead(columns, np.full(2, statements.height), MONTHS)).reshape(
        MONTHS, 2, -1
    )
    for month in (1, 5, MONTHS):
        seen = table[: statements.height + month][-24:]
        expected = build(check(seen)).values[0]
        assert np.array_equal(found[month - 1, 1], expected, equal_nan=True)


@settings(max_examples=60)
@given(window())
def test_paying_on_time_is_never_late_again(drawn: pl.DataFrame) -> None:
    statements = check(drawn)
    columns = lived(statements, plans(on_time=1.0), float(statements["credit_limit"][-1]))
    coming = {name: column[:MONTHS, 0] for name, column in columns.items()}
    assert (coming["days_past_due"] == 0).all()
    assert (coming["spend"] >= 0).all()
    assert (coming["payment"] >= 0).all()


@settings(max_examples=60)
@given(window(months=12))
def test_a_plan_does_what_it_says(drawn: pl.DataFrame) -> None:
    statements = check(drawn)
    changes = {
        "on_time": 1.0,
        "extra": 250.0,
        "spending": 90.0,
        "no_cash": 1.0,
        "no_new_credit": 1.0,
        "repay_elsewhere": 100.0,
    }
    columns = lived(statements, plans(1, **changes), float(statements["credit_limit"][-1]))
    balance, due = columns["balance"][: MONTHS + 1, 0], columns["minimum_due"][: MONTHS + 1, 0]
    for month in range(MONTHS):  # newest first
        owed = max(balance[month + 1], 0.0)
        if not np.isnan(due[month + 1]):
            assert columns["payment"][month, 0] >= min(due[month + 1] + 250.0, owed) - 0.01
        assert columns["spend"][month, 0] <= 90.0
        for name in ("cash_advance", "limit_requests", "credit_inquiries"):
            assert not columns[name][month, 0] > 0
        debt = columns["external_debt"][:, 0]
        if debt[month + 1] > 100.0:
            assert debt[month] <= debt[month + 1] - 100.0 + 1e-9


def test_carrying_on_lives_the_last_months_again() -> None:
    rows = [
        {
            "account_id": "a", "product": "pay_later", "month": datetime.date(2026, month, 1), "credit_limit": 10_000.0,
            "balance": 1000.0, "spend": 100.0 * month, "cash_advance": 0.0, "payment": 500.0, "minimum_due": 100.0,
            "days_past_due": 0, "limit_requests": month % 2, "credit_inquiries": 0, "external_debt": 5000.0, "income": 8000.0,
        }
        for month in range(1, 9)
    ]  # fmt: skip
    statements = check(
        pl.DataFrame(rows).with_columns(pl.col("income", "external_debt").cast(pl.Float64))
    )
    columns = lived(statements, plans(), 10_000.0)
    again = [100.0 * month for month in (3, 4, 5, 6, 7, 8)]
    assert columns["spend"][:MONTHS, 0][::-1].tolist() == again * 2
    assert len(again) == HABITS
    # Half of each balance was paid, and is again.
    balance, payment = columns["balance"][: MONTHS + 1, 0], columns["payment"][:MONTHS, 0]
    assert payment == pytest.approx(np.round(balance[1:] * 0.5, 2))


def test_who_is_suspended_draws_nothing(source: Source) -> None:
    account = source.statements.filter(pl.col("spend") > 0)["account_id"][0]
    statements = check(source.statements.filter(pl.col("account_id") == account)[-24:])
    columns = lived(statements, plans(), float(statements["credit_limit"][-1]), suspended=True)
    assert (columns["spend"][:MONTHS] == 0).all()
    assert (columns["cash_advance"][:MONTHS] == 0).all()


def test_a_plan_relies_on_the_least_share_that_was_paid() -> None:
    """Months in which more was paid than a plan asks for promise nothing; a share that was always
    paid does.
    """
    shares = [1.0, 0.6, 0.4, 1.0, 0.5, 0.7, 0.9]
    rows = [
        {
            "account_id": "a", "product": "pay_later", "month": datetime.date(2026, month, 1), "credit_limit": 10_000.0,
            "balance": 1000.0, "spend": 100.0, "cash_advance": 0.0, "payment": 1000.0 * share, "minimum_due": 100.0,
            "days_past_due": 0, "limit_requests": 0, "credit_inquiries": 0, "external_debt": 5000.0, "income": 8000.0,
        }
        for month, share in enumerate(shares, start=1)
    ]  # fmt: skip
    statements = check(
        pl.DataFrame(rows).with_columns(pl.col("income", "external_debt").cast(pl.Float64))
    )
    found = float(least_share_of(lay_out(statements))[0])
    assert found == 0.4
    for changes, least in (({"on_time": 1.0}, found), ({"on_time": 1.0, "extra": 2000.0}, 1.0)):
        columns = lived(statements, plans(1, **changes, paid_share=found), 10_000.0)
        balance, payment = columns["balance"][: MONTHS + 1, 0], columns["payment"][:MONTHS, 0]
        assert payment == pytest.approx(np.round(balance[1:] * least, 2), abs=0.011)
