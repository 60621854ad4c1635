from __future__ import annotations

import dataclasses
import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.build import build, values_of
from features.catalogue import CATALOGUE
from features.ledger import DAYS_A_MONTH, Behaviour, Standing, Terms, next_standing
from features.program.evaluate import evaluate_ahead
from features.schema import check
from features.window import HALF_CENT, STORED_COLUMNS, lay_out
from serving.decision.advice.ahead import roll
from serving.decision.advice.ahead.habits import HABIT_MONTHS, least_paid_share
from serving.decision.advice.plans import finances_of
from serving.decision.advice.rollout import Plans, Variation, concatenate_plans, roll_forward
from serving.decision.config.advice import LEVERS
from tests.support.accounts import window
from tests.support.each import each
from tests.support.plans import MONTHS, TERMS, as_statements, plans, roll_statements
from tests.support.rollout_oracle import roll_forward as roll_forward_in_numpy
from tests.support.rollout_oracle import windows_ahead
from training.data.dataset import Source


def account(
    payments: list[float],
    spend: list[float],
    limit_requests: list[int] | None = None,
) -> pl.DataFrame:
    """An account with these payments and purchases from January 2026 on, all else the same."""
    months = len(payments)
    rows = pl.DataFrame(
        {
            "account_id": "a",
            "product": "pay_later",
            "month": [datetime.date(2026, month, 1) for month in range(1, months + 1)],
            "credit_limit": 10_000.0,
            "balance": 1000.0,
            "spend": spend,
            "cash_advance": 0.0,
            "payment": payments,
            "minimum_due": 100.0,
            "days_past_due": 0,
            "limit_requests": limit_requests or [0] * months,
            "credit_inquiries": 0,
            "external_debt": 5000.0,
            "income": 8000.0,
        }
    )
    return check(rows)


def current_limit(statements: pl.DataFrame) -> float:
    return float(statements["credit_limit"][-1])


def test_the_ledger_gives_the_simulators_next_statement_to_the_cent(source: Source) -> None:
    """10,000 pairs of months: one statement and the acts after it give the next statement."""
    table = source.statements.sort("account_id", "month")
    following = table.select(pl.all().shift(-1).over("account_id").name.prefix("next_"))
    both = pl.concat([table, following], how="horizontal")
    both = both.filter(pl.col("next_balance").is_not_null()).sample(10_000, seed=1)
    now = Standing(*(both[name].to_numpy() for name in ("balance", "minimum_due", "days_past_due")))
    days = both["next_days_past_due"].to_numpy()
    acts = Behaviour(
        spend=both["next_spend"].to_numpy(),
        cash_advance=both["next_cash_advance"].to_numpy(),
        payment=both["next_payment"].to_numpy(),
        days_late=np.where(days < 30, days, 0).astype(np.int32),
    )
    after = next_standing(now, acts, TERMS)
    assert np.array_equal(after.balance, both["next_balance"].to_numpy())
    assert np.array_equal(after.minimum_due, both["next_minimum_due"].to_numpy())
    assert np.array_equal(after.days_past_due, days)
    assert (days > 0).sum() > 100


CHANGES: list[dict[str, float]] = [
    {},
    {"on_time": 1.0},
    {"on_time": 1.0, "extra": 300.0, "no_cash": 1.0, "spending": 100.0},
]


@settings(max_examples=60)
@given(window(), st.sampled_from(CHANGES))
def test_months_to_come_are_statements_with_the_same_features(
    drawn: pl.DataFrame, changes: dict[str, float]
) -> None:
    """They keep the schema, and the ordinary flow gives the features of the trajectory."""
    statements = check(drawn)
    columns = roll_statements(
        statements,
        plans(2, **changes),
        current_limit(statements),
    )
    table = as_statements(statements, columns, 1)
    ahead = windows_ahead(
        columns,
        lay_out(statements).take(np.zeros(2, dtype=np.int64)),
        MONTHS,
    )
    features = values_of(ahead).reshape(MONTHS, 2, -1)
    for month in (1, 5, MONTHS):
        visible = table[: statements.height + month][-24:]
        expected = build(check(visible)).values[0]
        assert np.array_equal(features[month - 1, 1], expected, equal_nan=True)


@settings(max_examples=60)
@given(window())
def test_paying_on_time_is_never_late_again(drawn: pl.DataFrame) -> None:
    statements = check(drawn)
    columns = roll_statements(statements, plans(on_time=1.0), current_limit(statements))
    coming = {name: column[:MONTHS, 0] for name, column in columns.items()}
    assert (coming["days_past_due"] == 0).all()
    assert (coming["spend"] >= 0).all()
    assert (coming["payment"] >= 0).all()


@settings(max_examples=60)
@given(window(months=12))
def test_a_plan_changes_the_acts_that_it_names(drawn: pl.DataFrame) -> None:
    statements = check(drawn)
    plan = plans(
        on_time=1.0,
        extra=250.0,
        spending=90.0,
        no_cash=1.0,
        no_new_credit=1.0,
        repay_elsewhere=100.0,
    )
    columns = roll_statements(statements, plan, current_limit(statements))
    balance, due = columns["balance"][: MONTHS + 1, 0], columns["minimum_due"][: MONTHS + 1, 0]
    debt = columns["external_debt"][:, 0]
    for month in range(MONTHS):  # newest first
        owed = max(balance[month + 1], 0.0)
        if not np.isnan(due[month + 1]):
            assert columns["payment"][month, 0] >= min(due[month + 1] + 250.0, owed) - 0.01
        assert columns["spend"][month, 0] <= 90.0
        for name in ("cash_advance", "limit_requests", "credit_inquiries"):
            assert not columns[name][month, 0] > 0
        if debt[month + 1] > 100.0:
            assert debt[month] <= debt[month + 1] - 100.0 + 1e-9


def test_carrying_on_repeats_the_last_months() -> None:
    statements = account(
        payments=[500.0] * 8,
        spend=[100.0 * month for month in range(1, 9)],
        limit_requests=[month % 2 for month in range(1, 9)],
    )
    columns = roll_statements(statements, plans(), 10_000.0)
    repeated = [100.0 * month for month in (3, 4, 5, 6, 7, 8)]
    assert columns["spend"][:MONTHS, 0][::-1].tolist() == repeated * 2
    assert columns["limit_requests"][:MONTHS, 0][::-1].tolist() == [1, 0] * 6
    assert len(repeated) == HABIT_MONTHS
    # Half of each balance was paid, and is again.
    balance, payment = columns["balance"][: MONTHS + 1, 0], columns["payment"][:MONTHS, 0]
    assert payment == pytest.approx(np.round(balance[1:] * 0.5, 2))


def test_a_suspended_account_draws_nothing(source: Source) -> None:
    spending = source.statements.filter(pl.col("spend") > 0)["account_id"][0]
    statements = check(source.statements.filter(pl.col("account_id") == spending)[-24:])
    columns = roll_statements(statements, plans(), current_limit(statements), suspended=True)
    assert (columns["spend"][:MONTHS] == 0).all()
    assert (columns["cash_advance"][:MONTHS] == 0).all()


def test_a_plan_relies_on_the_least_share_that_was_paid() -> None:
    """A share that was paid every month is relied on, and no single month's larger payment."""
    shares = [1.0, 0.6, 0.4, 1.0, 0.5, 0.7, 0.9]
    statements = account([1000.0 * share for share in shares], [100.0] * len(shares))
    least = float(least_paid_share(lay_out(statements))[0])
    assert least == 0.4
    for extra, share in ((0.0, least), (2000.0, 1.0)):
        plan = plans(on_time=1.0, extra=extra, paid_share=least)
        columns = roll_statements(statements, plan, 10_000.0)
        balance, payment = columns["balance"][: MONTHS + 1, 0], columns["payment"][:MONTHS, 0]
        assert payment == pytest.approx(np.round(balance[1:] * share, 2), abs=0.011)


def test_plans_are_taken_and_concatenated_row_by_row() -> None:
    both = concatenate_plans([plans(2, extra=1.0), plans(1, extra=2.0, no_cash=1.0)])
    assert len(both) == 3
    taken = both.take([2, 0])
    assert taken.extra.tolist() == [2.0, 1.0]
    assert taken.no_cash.tolist() == [1.0, 0.0]
    assert taken.spending.tolist() == [np.inf, np.inf]
    assert len(both.take(slice(1, None))) == 2


amounts = st.floats(0.0, 20_000.0).map(lambda amount: round(amount, 2))


@st.composite
def varied_plans(draw: st.DrawFn, count: int = 3) -> Plans:
    """Plans with any of the levers."""

    def column(values: st.SearchStrategy[float]) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=count, max_size=count)))

    flag = st.sampled_from([0.0, 1.0])
    return Plans(
        on_time=column(flag),
        extra=column(amounts),
        spending=column(st.one_of(amounts, st.just(np.inf))),
        no_cash=column(flag),
        no_new_credit=column(flag),
        repay_elsewhere=column(st.one_of(st.just(0.0), amounts)),
        paid_share=column(st.sampled_from([0.0, 0.13, 0.5, 1.0])),
        paid_now=column(st.one_of(st.just(0.0), amounts)),
    )


@settings(max_examples=200)
@given(window(), varied_plans(), st.integers(0, 2**32 - 1))
def test_months_to_come_have_the_bits_of_numpy(
    drawn: pl.DataFrame, tried: Plans, seed: int
) -> None:
    """Statements and features, for limits that differ month by month."""
    draw = np.random.default_rng(seed)
    account = lay_out(check(drawn)).take(np.zeros(len(tried), dtype=np.int64))
    shape = (MONTHS, len(tried))
    limits = np.round(draw.uniform(0.0, 30_000.0, shape), -2)
    suspended = draw.random(shape) < 0.2
    rotation = draw.integers(0, HABIT_MONTHS, len(tried))
    variation = Variation(rotation, np.where(draw.random(len(tried)) < 0.3, 7_000.0, 0.0))
    inputs = (account, tried, limits, suspended, TERMS, variation)
    compiled, expected = roll_forward(*inputs), roll_forward_in_numpy(*inputs)
    assert compiled.keys() == expected.keys()
    for name, column in each(expected.items()):
        np.testing.assert_array_equal(compiled[name], column, err_msg=name)
    features = evaluate_ahead(
        np.stack(list(compiled.values())),
        account.months_observed,
        account.products,
        MONTHS,
        CATALOGUE,
    )
    by_window = values_of(windows_ahead(expected, account, MONTHS))
    np.testing.assert_array_equal(features, by_window.reshape(features.shape))


def test_the_columns_of_the_compiled_loops_are_those_of_a_statement() -> None:
    names = {"DUE": "minimum_due", "DAYS": "days_past_due", "CASH": "cash_advance"}
    names |= {"LIMIT": "credit_limit", "REQUESTS": "limit_requests", "DEBT": "external_debt"}
    names |= {"INQUIRIES": "credit_inquiries"}
    for name in each(["LIMIT", "BALANCE", "SPEND", "CASH", "PAYMENT", "DUE", "DAYS"]):
        assert STORED_COLUMNS[getattr(roll, name)] == names.get(name, name.lower())
    for name in each(["REQUESTS", "INQUIRIES", "DEBT", "INCOME"]):
        assert STORED_COLUMNS[getattr(roll, name)] == names.get(name, name.lower())
    assert (roll.HALF_CENT, roll.DAYS_A_MONTH) == (HALF_CENT, DAYS_A_MONTH)
    assert roll.HABIT_MONTHS == HABIT_MONTHS
    plan_columns = [field.name for field in dataclasses.fields(Plans)]
    assert plan_columns[roll.SHARE] == "paid_share"
    assert plan_columns[roll.PAID_NOW] == "paid_now"
    assert plan_columns[: roll.SHARE] == list(LEVERS)
    terms = [field.name for field in dataclasses.fields(Terms)]
    assert terms[roll.RATE] == "monthly_rate"
    assert terms[roll.CASH_FEE : roll.LEAST_SHARE] == ["cash_fee", "late_fee"]
    assert terms[roll.LEAST_SHARE :] == ["minimum_share", "minimum_amount"]


@settings(max_examples=100)
@given(window())
def test_finances_are_those_of_the_window(drawn: pl.DataFrame) -> None:
    own = lay_out(check(drawn))
    (found,) = finances_of(own)
    expected = (
        np.maximum(own.now("balance"), 0.0),
        own.last_known("external_debt"),
        own.last_known("income"),
        own.mean("spend", HABIT_MONTHS),
        own.mean("payment", HABIT_MONTHS),
        least_paid_share(own),
    )
    numbers = (found.balance, found.debt, found.income, found.spent, found.paid, found.least_share)
    np.testing.assert_array_equal(np.array(numbers), np.concatenate(expected))
