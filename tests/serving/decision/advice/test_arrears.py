from __future__ import annotations

import datetime
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.ledger import Behaviour, Standing, Terms, minimum_due_of, next_standing
from features.schema import check
from features.window import lay_out
from serving.decision.advice.arrears import ways_out_of_arrears
from serving.decision.advice.result import ArrearsStep
from serving.decision.bundle import Bundle
from serving.decision.config.advice import ARREARS, ArrearsRules
from serving.decision.config.reasons import Text
from serving.decision.pipeline import advise_many, stages
from serving.decision.result import Advised
from tests.support.each import each
from training.data.dataset import Source
from training.data.labels import select_windows

TERMS = Terms()
TEXTS = ArrearsRules(
    {name: Text("{amount} {month} {due}", "{amount}{month}{due}") for name in ARREARS}
)
NOTHING = np.zeros(1)


@pytest.fixture(scope="module")
def past_due(
    source: Source, bundle: Bundle, when: datetime.datetime
) -> tuple[dict[str, pl.DataFrame], list[Advised]]:
    """The accounts that the rule on past-due accounts suspends: their windows and their advice."""
    statements = check(select_windows(source.statements, when.date().replace(day=1)))
    made = stages(statements, bundle, when)
    suspended = [
        decision.account_id
        for decision, outcome in zip(made.decisions, made.outcomes, strict=True)
        if decision.action == "suspend" and outcome.hits
    ]
    theirs = statements.filter(pl.col("account_id").is_in(suspended))
    windows = {
        str(table["account_id"][0]): table
        for table in theirs.partition_by("account_id", maintain_order=True)
    }
    return windows, advise_many(theirs, bundle, when)


def steps_of(standing: Standing) -> dict[int, ArrearsStep]:
    """The steps for an account with that last statement, by the days under which they bring it."""
    row = pl.DataFrame(
        {
            "account_id": "a",
            "product": "pay_later",
            "month": [datetime.date(2026, 9, 1)],
            "credit_limit": 1e6,
            "balance": standing.balance,
            "spend": 0.0,
            "cash_advance": 0.0,
            "payment": 0.0,
            "minimum_due": standing.minimum_due,
            "days_past_due": standing.days_past_due,
            "limit_requests": 0,
            "credit_inquiries": 0,
            "external_debt": 0.0,
            "income": 8000.0,
        }
    )
    window = lay_out(check(row))
    [found] = ways_out_of_arrears(window, [datetime.date(2026, 9, 1)], TERMS, TEXTS)
    return {step.under: step for step in found}


def days_after(standing: Standing, payment: float) -> int:
    """The days past due that the ledger gives after this payment alone."""
    acts = Behaviour(NOTHING, NOTHING, np.array([payment]), NOTHING.astype(np.int32))
    return int(next_standing(standing, acts, TERMS).days_past_due[0])


@given(st.floats(50.0, 300_000.0), st.integers(0, 200))
def test_the_amount_is_the_least_that_the_ledger_accepts(balance: float, days: int) -> None:
    """In whole yuan; one yuan less is not enough: the control."""
    owed, late = np.array([round(balance, 2)]), np.array([days], dtype=np.int32)
    standing = Standing(owed, minimum_due_of(owed, late // 30, TERMS), late)
    steps = steps_of(standing)
    assert list(steps) == [under for under in (60, 30) if days >= under]
    for under, step in steps.items():
        assert step.amount == round(step.amount)
        assert days_after(standing, step.amount) == step.days_past_due < under
        if standing.minimum_due[0] > 100.0:
            assert days_after(standing, step.amount - 1.0) >= under
        assert step.month == datetime.date(2026, 10, 1)


def test_accounts_that_a_rule_suspends_are_told_the_way_out(
    past_due: tuple[dict[str, pl.DataFrame], list[Advised]], bundle: Bundle
) -> None:
    """Both amounts, whose payment ends the rule's suspension with the next statement."""
    windows, told = past_due
    assert len(told) > 50
    promised = 0
    for found in each(told):
        statements, advice = windows[found.decision.account_id], found.advice
        assert advice is not None
        assert [step.under for step in advice.arrears] == [60, 30]
        for step in advice.arrears:
            made = stages(paid(statements, step), bundle, soon_after(step.month))
            assert made.evidence[0].values["days_past_due_now"] == step.days_past_due < step.under
            assert "account_past_due" not in [hit.rule.code for hit in made.outcomes[0].hits]
            assert f"{step.amount:,.0f}" in step.text.en
            assert f"{step.amount:,.0f}元" in step.text.zh
            assert not re.search(r"\d{4}-\d{2}|\{", step.text.en + step.text.zh)
        promised += advice.plan.restored is not None
    # A promise has to clear the last step by `search.margin`; soon after a delinquency many cannot.
    assert promised > len(told) / 3


def paid(statements: pl.DataFrame, step: ArrearsStep) -> pl.DataFrame:
    """The statements with the next one, on which that step is paid and nothing is bought."""
    last = statements[-1:]
    standing = Standing(
        *(last[name].to_numpy() for name in ("balance", "minimum_due", "days_past_due"))
    )
    acts = Behaviour(NOTHING, NOTHING, np.array([step.amount]), NOTHING.astype(np.int32))
    after = next_standing(standing, acts, TERMS)
    coming = last.with_columns(
        month=pl.lit(step.month),
        balance=pl.Series(after.balance),
        minimum_due=pl.Series(after.minimum_due),
        days_past_due=pl.Series(after.days_past_due).cast(last["days_past_due"].dtype),
        payment=pl.lit(step.amount),
        spend=pl.lit(0.0),
        cash_advance=pl.lit(0.0),
    )
    assert after.minimum_due[0] == step.minimum_due
    return check(pl.concat([statements, coming])[-24:])


def soon_after(month: datetime.date) -> datetime.datetime:
    return datetime.datetime(month.year, month.month, 28, 12, tzinfo=datetime.UTC)


def test_a_plan_that_asks_for_much_of_the_income_names_who_helps(
    past_due: tuple[dict[str, pl.DataFrame], list[Advised]], bundle: Bundle
) -> None:
    """And no other: the share is that of advice.toml, of the income last known."""
    windows, told = past_due
    rules, seen = bundle.advice.hardship, set()
    for found in each(told):
        advice = found.advice
        assert advice is not None
        known = windows[found.decision.account_id]["income"].drop_nulls()
        repaid = sum(s.amount or 0.0 for s in advice.plan.steps if s.lever == "repay_elsewhere")
        most = max(month.payment for month in advice.plan.path) + repaid
        burdens = len(known) > 0 and bool(advice.plan.steps) and most > rules.share * known[-1]
        assert (advice.hardship is not None) == burdens
        seen.add(burdens)
        if advice.hardship is not None:
            assert advice.hardship.share == pytest.approx(advice.hardship.amount / known[-1])
            assert advice.hardship.share > rules.share
            assert advice.hardship.contact == rules.contact
            assert advice.hardship.debt_advice == rules.debt_advice
            assert f"{advice.hardship.amount:,.0f}" in advice.hardship.text.en
    assert seen == {True, False}
