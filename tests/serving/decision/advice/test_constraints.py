from __future__ import annotations

import datetime
import math
from dataclasses import fields

import numpy as np
import polars as pl
import pytest

from features.limits import LARGEST_AMOUNT
from features.schema import check
from features.window import lay_out
from serving.decision.advice.constraints import (
    UNCONSTRAINED,
    ConstraintError,
    Constraints,
    check_constraints,
)
from serving.decision.advice.result import PlanPath
from serving.decision.bundle import Bundle
from serving.decision.pipeline import advise, advise_many, decide_many, stages
from serving.decision.result import AdviceOptions, Advised
from serving.schemas import examples
from serving.schemas.decision import Request, statements_table
from tests.support.each import each
from tests.support.plans import cut_by_model, plan_from_steps, restoring_month

ROUNDING = 50.0
LEVERS = ("extra", "spending", "repay_elsewhere")  # that a customer can fix


@pytest.fixture(scope="module")
def cut(
    windows: pl.DataFrame,
    bundle: Bundle,
    when: datetime.datetime,
) -> list[pl.DataFrame]:
    """The windows of the accounts whose limit the model cuts."""
    made = stages(windows, bundle, when)
    is_cut = pl.col("account_id").is_in(cut_by_model(made))
    return made.statements.filter(is_cut).partition_by("account_id", maintain_order=True)


@pytest.fixture(scope="module")
def advised(
    cut: list[pl.DataFrame],
    bundle: Bundle,
    when: datetime.datetime,
) -> list[Advised]:
    return [advise(window, bundle, when) for window in cut]


def largest(window: pl.DataFrame) -> dict[str, float]:
    """The largest amount of each lever that is accepted."""
    debt = window["external_debt"].drop_nulls()
    return {
        "extra": max(window["balance"][-1], 0.0),
        "spending": window["credit_limit"][-1],
        "repay_elsewhere": debt[-1] if len(debt) else 0.0,
    }


def stated_amounts(path: PlanPath) -> dict[str, float]:
    """The amounts that the steps state; without a step nothing is paid, and spending goes on."""
    stated: dict[str, float] = {
        step.lever: step.amount for step in path.steps if step.amount is not None
    }
    amounts = {"extra": 0.0, "repay_elsewhere": 0.0} | stated
    return {name: amounts[name] for name in LEVERS if name in amounts}


def plan(found: Advised) -> PlanPath:
    assert found.advice is not None
    return found.advice.plan


def test_fixed_amounts_are_in_the_plan_of_every_cut_account(
    cut: list[pl.DataFrame],
    bundle: Bundle,
    when: datetime.datetime,
) -> None:
    random = np.random.default_rng(3)
    seen: set[tuple[str, bool]] = set()
    harmful = 0
    for number, window in enumerate(cut):
        named = [name for bit, name in enumerate(LEVERS) if (number % 7 + 1) >> bit & 1]
        shares = random.choice([0.0, 0.013, 0.2, 1.0], len(named))
        amounts = {
            name: round(share * largest(window)[name], 2)
            for name, share in zip(named, shares, strict=True)
        }
        found = advise(window, bundle, when, Constraints(**amounts))
        if not plan(found).steps:  # with these amounts, every plan breaks a rule
            harmful += 1
            continue
        assert stated_amounts(plan(found)).items() >= amounts.items()
        seen.update((name, amount > 0) for name, amount in amounts.items())
    assert len(cut) > 40
    assert harmful < len(cut) / 4
    assert len(seen) == 6  # each of nothing and of something


def test_the_amounts_of_a_plan_can_be_fixed_and_give_the_same_plan(
    cut: list[pl.DataFrame],
    advised: list[Advised],
    bundle: Bundle,
    when: datetime.datetime,
) -> None:
    for window, found in each(zip(cut, advised, strict=True)):
        constraints = Constraints(**stated_amounts(plan(found)))
        assert plan(advise(window, bundle, when, constraints)) == plan(found)


def test_fixing_one_amount_of_a_plan_loses_nothing(
    cut: list[pl.DataFrame],
    advised: list[Advised],
    bundle: Bundle,
    when: datetime.datetime,
) -> None:
    restored = 0
    for number, (window, found) in enumerate(zip(cut, advised, strict=True)):
        name = LEVERS[number % len(LEVERS)]
        amounts = stated_amounts(plan(found))
        if plan(found).restored is None or name not in amounts:
            continue
        again = plan(advise(window, bundle, when, Constraints(**{name: amounts[name]})))
        assert again.restored is not None
        assert again.effort <= plan(found).effort
        restored += 1
    assert restored > 10


def test_a_promise_with_fixed_amounts_is_what_the_ordinary_flow_decides(
    cut: list[pl.DataFrame],
    bundle: Bundle,
    when: datetime.datetime,
) -> None:
    kept = 0
    for window in cut[:12]:
        extra = round(0.31 * largest(window)["extra"], 2)
        found = advise(
            window,
            bundle,
            when,
            Constraints(extra=extra, spending=123.45),
        )
        month = restoring_month(
            window,
            plan_from_steps(plan(found)),
            found,
            bundle,
        )
        promised = [one.month == plan(found).restored for one in plan(found).path]
        assert month == (promised.index(True) if any(promised) else None)
        kept += any(promised)
    assert kept > 3


def test_fixed_amounts_are_feasible_whatever_can_be_paid(
    cut: list[pl.DataFrame],
    bundle: Bundle,
    when: datetime.datetime,
) -> None:
    """If all payments are fixed, the most that can be paid changes nothing."""
    for window in each(cut[:30]):
        amounts = {
            name: round(0.4 * largest(window)[name], 2) for name in ("extra", "repay_elsewhere")
        }
        due = float(window["minimum_due"][-1]) if amounts["extra"] else 0.0
        paid_now = float(window["payment"][-6:].to_numpy().mean())
        able = max(max(due, paid_now) + sum(amounts.values()), 0.01)
        plans = [
            plan(advise(window, bundle, when, Constraints(most_paid, **amounts)))
            for most_paid in (None, able, LARGEST_AMOUNT)
        ]
        assert plans[0] == plans[1] == plans[2]


def test_each_account_is_checked_against_its_own_choices(
    cut: list[pl.DataFrame],
    bundle: Bundle,
    when: datetime.datetime,
) -> None:
    beyond = Constraints(extra=largest(cut[1])["extra"] + ROUNDING)
    for choices in ([Constraints(extra=LARGEST_AMOUNT), UNCONSTRAINED], [UNCONSTRAINED, beyond]):
        with pytest.raises(ConstraintError):
            advise_many(
                pl.concat(cut[:2]),
                bundle,
                when,
                AdviceOptions(choices),
            )


def test_constraints_of_an_account_that_is_not_cut_are_checked_too(
    windows: pl.DataFrame,
    bundle: Bundle,
    when: datetime.datetime,
) -> None:
    kept = next(d.account_id for d in decide_many(windows, bundle, when) if d.action == "keep")
    window = windows.filter(pl.col("account_id") == kept)
    assert advise(window, bundle, when, Constraints(extra=0.0)).advice is None
    with pytest.raises(ConstraintError) as caught:
        advise(window, bundle, when, Constraints(extra=LARGEST_AMOUNT))
    assert caught.value.field == "extra"


def refused_field(choices: Constraints, **last: float | None) -> str | None:
    """The field that is refused, or None, for the example with another last statement."""
    table = check(statements_table([Request.model_validate(examples.REQUEST)]))
    newest = pl.col("month") == table["month"].max()
    table = table.with_columns(
        pl.when(newest).then(value).otherwise(pl.col(name)).alias(name)
        for name, value in last.items()
    )
    try:
        check_constraints(choices, lay_out(table), ROUNDING)
    except ConstraintError as error:
        return error.field
    return None


def test_each_amount_is_accepted_up_to_what_the_account_has() -> None:
    newest = examples.REQUEST["statements"][-1]
    for name, column in (
        ("extra", "balance"),
        ("repay_elsewhere", "external_debt"),
        ("spending", "credit_limit"),
    ):
        assert newest[column] % ROUNDING == 0
        assert refused_field(Constraints(**{name: newest[column]})) is None
        assert refused_field(Constraints(**{name: newest[column] + 0.01})) == name


def test_an_amount_that_a_plan_rounds_up_is_accepted() -> None:
    for name, column in (("extra", "balance"), ("repay_elsewhere", "external_debt")):
        assert refused_field(Constraints(**{name: 1050.0}), **{column: 1000.01}) is None
        assert refused_field(Constraints(**{name: 1050.01}), **{column: 1000.01}) == name


def test_spending_above_the_limit_is_accepted_up_to_the_present_spending() -> None:
    mean = sum(statement["spend"] for statement in examples.REQUEST["statements"]) / 6
    assert refused_field(Constraints(spending=math.floor(mean)), credit_limit=1000.0) is None
    assert refused_field(Constraints(spending=math.ceil(mean)), credit_limit=1000.0) == "spending"


def test_no_payment_is_accepted_where_nothing_is_owed() -> None:
    assert refused_field(Constraints(extra=0.0), balance=-700.0) is None
    assert refused_field(Constraints(extra=0.01), balance=-700.0) == "extra"
    table = check(statements_table([Request.model_validate(examples.REQUEST)])).with_columns(
        external_debt=pl.lit(None, pl.Float64)
    )
    check_constraints(Constraints(repay_elsewhere=0.0), lay_out(table), ROUNDING)
    with pytest.raises(ConstraintError, match=r"choices\.repay_elsewhere"):
        check_constraints(Constraints(repay_elsewhere=0.01), lay_out(table), ROUNDING)


def test_debt_elsewhere_is_the_last_known() -> None:
    assert refused_field(Constraints(repay_elsewhere=47500.0), external_debt=None) is None
    assert (
        refused_field(Constraints(repay_elsewhere=47550.0), external_debt=None) == "repay_elsewhere"
    )


def test_fixed_payments_above_the_monthly_payment_are_refused_field() -> None:
    assert (
        refused_field(Constraints(500.0, extra=300.0, repay_elsewhere=200.0), minimum_due=0.0)
        is None
    )
    assert (
        refused_field(Constraints(0.3, extra=0.1, repay_elsewhere=0.2), minimum_due=0.0) is None
    )  # whose sum in binary is above 0.3
    assert (
        refused_field(Constraints(500.0, extra=300.0, repay_elsewhere=200.01), minimum_due=0.0)
        == "monthly_payment"
    )
    assert refused_field(Constraints(500.0, extra=500.01), minimum_due=0.0) == "monthly_payment"
    assert refused_field(Constraints(500.0, spending=20000.0)) is None
    # What is paid above the minimum is paid on top of it.
    assert refused_field(Constraints(500.0, extra=300.0), minimum_due=200.0) is None
    assert refused_field(Constraints(500.0, extra=300.0), minimum_due=200.01) == "monthly_payment"
    assert refused_field(Constraints(500.0, repay_elsewhere=300.0), minimum_due=900.0) is None


@pytest.mark.parametrize("name", [field.name for field in fields(Constraints)])
def test_an_amount_out_of_range_is_refused_field(name: str) -> None:
    account: dict[str, float | None] = {
        "balance": 1e12,
        "credit_limit": 1e12,
        "external_debt": 1e12,
    }
    for amount in (-0.01, math.nan, math.inf, -math.inf, LARGEST_AMOUNT + 1):
        assert refused_field(Constraints(**{name: amount}), **account) == name
    assert refused_field(Constraints(**{name: LARGEST_AMOUNT}), **account) is None
    assert refused_field(Constraints(**{name: 0.0})) == (
        "monthly_payment" if name == "monthly_payment" else None
    )
    assert refused_field(UNCONSTRAINED) is None


def test_an_error_contains_no_amount() -> None:
    table = lay_out(check(statements_table([Request.model_validate(examples.REQUEST)])))
    for choices in (
        Constraints(extra=54321.75),
        Constraints(5.25, extra=54.75),
        Constraints(spending=-54321.75),
    ):
        with pytest.raises(ConstraintError) as caught:
            check_constraints(choices, table, ROUNDING)
        assert not any(amount in str(caught.value) for amount in ("54", "5.25", "18600", "30000"))


def test_minus_zero_is_stated_as_zero(
    cut: list[pl.DataFrame],
    bundle: Bundle,
    when: datetime.datetime,
) -> None:
    found = plan(advise(cut[0], bundle, when, Constraints(spending=-0.0)))
    assert [repr(step.amount) for step in found.steps if step.lever == "spending"] == ["0.0"]
