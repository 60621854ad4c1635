from __future__ import annotations

import dataclasses
import datetime
import itertools
import math

import numpy as np
import polars as pl
import pytest

from features.schema import check
from serving.decision.advice.ahead.habits import HABIT_MONTHS
from serving.decision.advice.constraints import Constraints
from serving.decision.advice.result import Advice, PlanPath
from serving.decision.advice.rollout import Plans
from serving.decision.bundle import Bundle
from serving.decision.config.advice import LEVERS, LeverName
from serving.decision.notice import LANGUAGES
from serving.decision.pipeline import advise, advise_many, decide_many, stages
from serving.decision.reasons.wording import day, month_name
from serving.decision.result import AdviceOptions, Advised
from serving.decision.scoring.score import logit, probability_of
from tests.support.each import each
from tests.support.plans import (
    MONTHS,
    Verdict,
    ask_monthly,
    broken_rules,
    cut_by_model,
    decide_months,
    plan_from_steps,
    restoring_month,
    roll_statements,
)
from training.data.dataset import Source
from training.data.labels import select_windows


@pytest.fixture(scope="module")
def all_cut(
    source: Source,
    bundle: Bundle,
    when: datetime.datetime,
) -> list[pl.DataFrame]:
    """The windows of the accounts whose limit the model cuts."""
    statements = check(select_windows(source.statements, when.date().replace(day=1)))
    cut = pl.col("account_id").is_in(cut_by_model(stages(statements, bundle, when)))
    return statements.filter(cut).partition_by("account_id", maintain_order=True)


@pytest.fixture(scope="module")
def cut(all_cut: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Some forty of them."""
    return all_cut[:: max(len(all_cut) // 40, 1)]


@pytest.fixture(scope="module")
def told(
    all_cut: list[pl.DataFrame],
    bundle: Bundle,
    when: datetime.datetime,
) -> list[Advised]:
    """The advice to all of them."""
    return advise_many(pl.concat(all_cut), bundle, when)


@pytest.fixture(scope="module")
def advised(
    cut: list[pl.DataFrame],
    bundle: Bundle,
    when: datetime.datetime,
) -> list[Advised]:
    return [advise(statements, bundle, when) for statements in cut]


def advice_of(advised: Advised) -> Advice:
    assert advised.advice is not None
    return advised.advice


def test_most_limits_come_back_in_different_months(advised: list[Advised]) -> None:
    restored = [advice_of(found).plan.restored for found in advised]
    assert len(restored) > 30
    assert len(set(restored)) > 3
    assert sum(month is not None for month in restored) > 0.5 * len(restored)


def test_without_a_restoring_plan_the_plan_of_lowest_risk_is_shown(
    cut: list[pl.DataFrame],
    bundle: Bundle,
    when: datetime.datetime,
) -> None:
    """The margin is one that no behaviour reaches."""
    strict = with_margin(bundle, 9.0)
    for statements in each(cut[:10]):
        found = advise(statements, strict, when)
        advice = advice_of(found)
        assert advice.plan.steps
        assert advice.plan.restored is None
        lowest, on_time = advice.plan.path[-1], advice.on_time_only.path[-1]
        assert lowest.probability <= on_time.probability


def test_a_promise_is_not_called_too_narrow(advised: list[Advised], bundle: Bundle) -> None:
    narrow = bundle.advice.notes["too_narrow"].en[:20]
    promised = [advice_of(found) for found in advised]
    promised = [advice for advice in promised if advice.plan.restored is not None]
    for advice in each(promised):
        assert not any(note.en.startswith(narrow) for note in advice.notes)


def test_the_path_is_that_of_the_ordinary_flow(
    cut: list[pl.DataFrame],
    advised: list[Advised],
    bundle: Bundle,
) -> None:
    for statements, found in each(zip(cut[:10], advised[:10], strict=True)):
        path = advice_of(found).carry_on
        plan, orders = plan_from_steps(path), min(statements.height, HABIT_MONTHS)
        relived = [
            decide_months(statements, plan, found, bundle, rotation=rotation)
            for rotation in range(orders)
        ]
        log_odds = np.array([[month.log_odds for month in months] for months in relived])
        mean = probability_of(log_odds).mean(axis=0)
        before, after = np.append(mean[0], mean[:-1]), np.append(mean[1:], mean[-1])
        expected = before / 4 + mean / 2 + after / 4
        assert path.restored is None
        assert [month.probability for month in path.path] == pytest.approx(expected, abs=1e-9)
        for name in ("balance", "payment"):
            amounts = np.mean([[getattr(month, name) for month in one] for one in relived], axis=0)
            assert [getattr(month, name) for month in path.path] == pytest.approx(
                amounts, abs=0.0051
            )


def test_as_before_does_not_jump(all_cut: list[pl.DataFrame], told: list[Advised]) -> None:
    """Neighbouring months differ by less than 30 points, for every account that the model cuts."""
    assert len(told) == len(all_cut)
    for found in each(told):
        path = [month.probability for month in advice_of(found).carry_on.path]
        assert np.abs(np.diff(path)).max() < 0.3, found.decision.account_id


def test_no_plan_breaks_a_rule(
    all_cut: list[pl.DataFrame], told: list[Advised], bundle: Bundle
) -> None:
    """Plans of all accounts that the model cuts, and paying on time only where it is promised."""
    shown = 0
    for statements, found in each(zip(all_cut, told, strict=True)):
        advice = advice_of(found)
        for path in (advice.plan, advice.on_time_only):
            if path.steps and (path is advice.plan or path.restored is not None):
                months = months_of(statements, path, found)
                assert not broken_rules(statements, months, found), found.decision.account_id
                shown += 1
    assert shown > len(all_cut)


def test_a_broken_rule_is_found(
    all_cut: list[pl.DataFrame], told: list[Advised], bundle: Bundle
) -> None:
    """The control."""
    statements, found = all_cut[0], told[0]
    months = months_of(statements, advice_of(found).plan, found)
    assert broken_rules(statements, months, found) == []
    worst = [
        month._replace(balance=1e6, payment=0.0, log_odds=9.0 + place)
        for place, month in enumerate(months)
    ]
    assert broken_rules(statements, worst, found) == [
        "over the limit in force",
        "ends with more owed",
        "riskier than carrying on",
        "less than is paid now",
    ]


def months_of(statements: pl.DataFrame, path: PlanPath, found: Advised) -> list[Verdict]:
    """The months of a path as they are shown."""
    limit = limit_of_decision(found)
    months = []
    for month in path.path:
        months.append(
            Verdict(
                log_odds=logit(month.probability),
                free_with_margin=False,
                free=month.action == "keep",
                limit=month.limit,
                in_force=limit,
                balance=month.balance,
                payment=month.payment,
            )
        )
        limit = month.limit
    return months


def limit_of_decision(found: Advised) -> float:
    """The limit that the decision leaves, or proposes to leave."""
    decision = found.decision
    return decision.new_limit if decision.proposed_limit is None else decision.proposed_limit


def test_the_path_states_payments_and_balances(
    cut: list[pl.DataFrame], advised: list[Advised]
) -> None:
    paid = 0
    for statements, found in each(zip(cut, advised, strict=True)):
        suspended = found.decision.action == "suspend"
        for path in (advice_of(found).plan, advice_of(found).on_time_only):
            if not path.steps:  # carrying on, which is a mean
                continue
            plan = plan_from_steps(path)
            columns = roll_statements(statements, plan, found.decision.new_limit, suspended)
            # With the limit restored, other purchases are possible than under the reduced one.
            until = next((k + 1 for k, one in enumerate(path.path) if one.action != "keep"), MONTHS)
            payments = [month.payment for month in path.path]
            balances = [month.balance for month in path.path]
            for name, stated in (("payment", payments), ("balance", balances)):
                expected = columns[name][:MONTHS, 0][::-1].tolist()
                assert stated[:until] == pytest.approx(expected[:until], abs=1e-9)
            paid += sum(payment > 0 for payment in payments)
    assert paid > 100


def last_known(
    statements: pl.DataFrame,
    name: str,
    otherwise: float,
) -> float:
    known = statements[name].drop_nulls()
    return float(known[-1]) if len(known) else otherwise


@dataclasses.dataclass(frozen=True)
class Means:
    """What the oracle measures plans of an account by."""

    debt: float
    income: float
    spent: float
    payable: float
    share: float  # of the balance that a plan on time relies on
    paid_now: float  # a month, that a plan starts from


def means_of(statements: pl.DataFrame, bundle: Bundle) -> Means:
    search, recent = bundle.advice.search, statements[-6:]
    debt = last_known(statements, "external_debt", 0.0)
    income = last_known(statements, "income", math.nan)
    paid = float(recent["payment"].to_numpy().mean())
    payable = math.inf
    if not math.isnan(income):
        left = income * (1 - search.living_share) - search.instalment_share * debt
        payable = max(left, paid)
    least = least_share(statements)
    return Means(
        debt=debt,
        income=income,
        spent=float(np.nan_to_num(np.mean(recent["spend"].drop_nulls().to_numpy()))),
        payable=payable,
        share=least if least > bundle.policy.terms.minimum_share else 0.0,
        paid_now=math.floor(paid / 50 + 1e-9) * 50.0 if least < 1 else 0.0,
    )


def least_share(statements: pl.DataFrame) -> float:
    """The least share of a balance that was paid in the last six months, in whole hundredths."""
    months = min(6, statements.height)
    owed = [0.0, *statements["balance"][:-1].to_list()][-months:]
    paid = statements["payment"].to_list()[-months:]
    shares = [min(p / o, 1.0) for p, o in zip(paid, owed, strict=True) if o > 0]
    return math.floor(100 * min(shares, default=0.0) + 1e-9) / 100


def tried_amounts(
    statements: pl.DataFrame,
    means: Means,
    bundle: Bundle,
) -> dict[LeverName, list[float]]:
    rules = bundle.advice
    step, balance = rules.search.rounding, max(statements["balance"][-1], 0.0)

    def up(amount: float) -> float:
        return math.ceil(amount / step - 1e-9) * step

    def down(amount: float) -> float:
        return math.floor(amount / step + 1e-9) * step

    shares = rules.levers["spending"].grid if means.spent > 0 else (1.0,)
    return {
        "on_time": [1.0],
        "extra": sorted({up(share * balance) for share in rules.levers["extra"].grid}),
        "spending": [math.inf if share == 1 else down(share * means.spent) for share in shares],
        "no_cash": [1.0],
        "no_new_credit": [1.0],
        "repay_elsewhere": sorted(
            {up(share * means.debt) for share in rules.levers["repay_elsewhere"].grid}
        ),
    }


def effort_of(
    plan: dict[LeverName, float],
    means: Means,
    limit: float,
) -> float:
    unit = limit if math.isnan(means.income) else means.income
    saved = max(means.spent - plan["spending"], 0.0)
    money = plan["extra"] + plan["repay_elsewhere"] + 0.7 * saved
    return money / unit + 0.05 * plan["no_cash"] + 0.03 * plan["no_new_credit"]


def is_payable(
    statements: pl.DataFrame,
    plans: Plans,
    found: Advised,
    payable: float,
) -> bool:
    if plans.extra[0] == 0 and plans.repay_elsewhere[0] == 0:
        return True
    suspended = found.decision.action == "suspend"
    columns = roll_statements(statements, plans, found.decision.new_limit, suspended)
    paid = columns["payment"][:MONTHS, 0] + plans.repay_elsewhere[0]
    return bool(paid.max() <= payable + 0.005)


def least_effort(
    statements: pl.DataFrame,
    found: Advised,
    bundle: Bundle,
) -> float | None:
    """The least effort that restores the limit, of all plans of the grid, tried one by one."""
    means = means_of(statements, bundle)
    tried = tried_amounts(statements, means, bundle)
    best: float | None = None
    for amounts in itertools.product(*(tried[name] for name in LEVERS)):
        plan = dict(zip(LEVERS, amounts, strict=True))
        effort = effort_of(plan, means, found.decision.credit_limit)
        if best is not None and effort >= best - 1e-12:
            continue
        levers = {name: np.array([amount]) for name, amount in plan.items()}
        plans = Plans(
            **levers,
            paid_share=np.array([means.share]),
            paid_now=np.array([means.paid_now]),
        )
        payable = is_payable(statements, plans, found, means.payable)
        if payable and restoring_month(statements, plans, found, bundle) is not None:
            best = effort
    return best


def check_exhaustively(
    cut: list[pl.DataFrame],
    advised: list[Advised],
    bundle: Bundle,
) -> None:
    for statements, found in each(zip(cut, advised, strict=True)):
        plan, best = advice_of(found).plan, least_effort(statements, found, bundle)
        assert (plan.restored is None) == (best is None)
        if best is not None:
            assert plan.effort == pytest.approx(best, abs=1e-9)


def test_the_plan_is_the_least_effort_of_all(
    cut: list[pl.DataFrame],
    advised: list[Advised],
    bundle: Bundle,
) -> None:
    fewest = sorted(range(len(advised)), key=lambda place: advice_of(advised[place]).tried)[:6]
    check_exhaustively(
        [cut[k] for k in fewest],
        [advised[k] for k in fewest],
        bundle,
    )


@pytest.mark.torture
def test_the_plan_is_the_least_effort_of_all_for_everyone(
    cut: list[pl.DataFrame],
    advised: list[Advised],
    bundle: Bundle,
) -> None:
    check_exhaustively(cut, advised, bundle)


COARSE = {"extra": (0.0, 0.12, 1.0), "spending": (1.0, 0.25), "repay_elsewhere": (0.0, 0.08)}


@pytest.mark.torture
def test_the_plan_of_a_coarse_grid_is_that_of_brute_force_for_200(
    all_cut: list[pl.DataFrame],
    bundle: Bundle,
    when: datetime.datetime,
) -> None:
    levers = {
        name: dataclasses.replace(lever, grid=COARSE.get(name, lever.grid))
        for name, lever in bundle.advice.levers.items()
    }
    coarse = dataclasses.replace(bundle, advice=dataclasses.replace(bundle.advice, levers=levers))
    accounts = all_cut[:200]
    assert len(accounts) == 200
    check_exhaustively(
        accounts,
        advise_many(pl.concat(accounts), coarse, when),
        coarse,
    )


def test_the_same_account_gets_the_same_advice(
    cut: list[pl.DataFrame],
    advised: list[Advised],
    bundle: Bundle,
    when: datetime.datetime,
) -> None:
    for statements, found in each(zip(cut[:5], advised[:5], strict=True)):
        before = statements.clone()
        assert advise(statements.sample(fraction=1, shuffle=True, seed=1), bundle, when) == found
        assert statements.equals(before)


@pytest.mark.parametrize("threads", [1, 3])
def test_many_at_once_get_what_each_gets_alone(
    advised: list[Advised],
    bundle: Bundle,
    when: datetime.datetime,
    source: Source,
    threads: int,
) -> None:
    """Together with accounts that are kept, in blocks and in threads."""
    names = [found.decision.account_id for found in advised]
    everybody = check(select_windows(source.statements, when.date().replace(day=1)))
    others = everybody["account_id"].unique(maintain_order=True)[:200].to_list()
    many = everybody.filter(pl.col("account_id").is_in(names + others))
    together = {
        found.decision.account_id: found
        for found in advise_many(many, bundle, when, AdviceOptions(threads=threads))
    }
    assert len(together) > len(names)
    for alone in each(advised):
        found = together[alone.decision.account_id]
        # The id of a decision depends on the call.
        decision = dataclasses.replace(found.decision, decision_id=alone.decision.decision_id)
        assert dataclasses.replace(found, decision=decision) == alone


def test_each_account_is_given_its_own_choices(
    cut: list[pl.DataFrame],
    bundle: Bundle,
    when: datetime.datetime,
) -> None:
    choices = [Constraints(200.0), Constraints(1e6), Constraints()]
    together = advise_many(
        pl.concat(cut[:3]),
        bundle,
        when,
        AdviceOptions(choices),
    )
    for statements, chosen, found in each(zip(cut[:3], choices, together, strict=True)):
        assert found.advice == advise(statements, bundle, when, chosen).advice
    with pytest.raises(ValueError, match="expected choices for 3 accounts, got 2"):
        advise_many(
            pl.concat(cut[:3]),
            bundle,
            when,
            AdviceOptions(choices[:2]),
        )


def test_advice_does_not_depend_on_how_many_plans_are_evaluated_first(
    cut: list[pl.DataFrame],
    bundle: Bundle,
    when: datetime.datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Some accounts find a plan and some do not.
    strict = with_margin(bundle, 0.8)
    together = pl.concat(cut[:20])
    found = {}
    for first in (1, 7, 40, 1000):
        monkeypatch.setattr("serving.decision.advice.rounds.FIRST_PLANS", first)
        found[first] = advise_many(together, strict, when)
    assert found[1] == found[7] == found[40] == found[1000]
    restored = [advice_of(one).plan.restored is not None for one in found[7]]
    assert any(restored)
    assert not all(restored)


def test_more_to_pay_with_never_makes_it_harder(
    cut: list[pl.DataFrame],
    bundle: Bundle,
    when: datetime.datetime,
) -> None:
    restored = 0
    for statements in cut[:10]:
        little, much = (
            advice_of(advise(statements, bundle, when, Constraints(monthly_payment=amount))).plan
            for amount in (500.0, 1e9)
        )
        if little.restored is not None:
            assert much.restored is not None
            assert much.effort <= little.effort
            restored += 1
    assert restored > 0


def test_an_account_that_is_not_cut_gets_no_advice(
    source: Source,
    bundle: Bundle,
    when: datetime.datetime,
) -> None:
    statements = check(select_windows(source.statements, when.date().replace(day=1)))
    kept = next(
        decision
        for decision in decide_many(statements, bundle, when)
        if decision.action == "keep" and decision.probability < 0.02
    )
    found = advise(
        statements.filter(pl.col("account_id") == kept.account_id),
        bundle,
        when,
    )
    assert found.advice is None
    assert found.below_cut_off == pytest.approx(logit(kept.cut_off) - kept.log_odds)
    assert found.below_cut_off is not None
    assert found.below_cut_off > 0


def test_who_is_capped_by_a_rule_is_told_why_and_until_when(
    source: Source, bundle: Bundle, when: datetime.datetime
) -> None:
    """Of what a rule asks a person for, nobody says that the rule decided."""
    statements = check(select_windows(source.statements, when.date().replace(day=1)))
    made = stages(statements, bundle, when)
    capped = [
        decision.account_id
        for decision, outcome in zip(made.decisions, made.outcomes, strict=True)
        if outcome.hits and not outcome.by_model and not outcome.suspends
    ]
    actions = set()
    for found in each(
        advise_many(statements.filter(pl.col("account_id").is_in(capped)), bundle, when)
    ):
        assert found.advice is None
        assert found.decision.review_on is not None
        (note,) = found.notes
        asked = found.decision.action == "review"
        assert ("A rule set this limit" in note.en) != asked
        assert ("A person decides" in note.en) == asked
        assert ("工作人员" in note.zh) == asked
        for language in LANGUAGES:
            assert day(found.decision.review_on, language) in getattr(note, language)
        actions.add(found.decision.action)
    assert actions == {"reduce", "review"}


def test_spending_is_stated_as_a_share_of_a_known_income(
    all_cut: list[pl.DataFrame], bundle: Bundle, when: datetime.datetime
) -> None:
    stated = 0
    found_together = advise_many(pl.concat(all_cut), bundle, when)
    for statements, found in each(zip(all_cut, found_together, strict=True)):
        income = last_known(statements, "income", math.nan)
        for step in advice_of(found).plan.steps:
            if step.lever != "spending" or not step.amount:
                continue
            knows_income = income > 0
            assert ("of your monthly income" in step.text.en) == knows_income
            assert ("月收入" in step.text.zh) == knows_income
            if knows_income:
                share = f" {100 * step.amount / income:.0f}% of your monthly income"
                assert share in step.text.en
                stated += 1
    assert stated > 2


def test_steps_state_their_amounts(advised: list[Advised]) -> None:
    steps = 0
    for found in each(advised):
        advice = advice_of(found)
        assert advice.carry_on.steps == ()
        assert [step.lever for step in advice.on_time_only.steps] == ["on_time"]
        steps += len(advice.plan.steps)
        for step in advice.plan.steps:
            assert "{" not in step.text.en + step.text.zh
            if step.share is not None:
                assert step.lever == "on_time"
                assert f"{100 * step.share:.0f}% of the balance" in step.text.en
            if step.amount == 0:
                assert step.text.en == "Buy nothing with this account."
            elif step.amount is not None:
                assert f"{step.amount:,.0f}" in step.text.en
                assert f"{step.amount:,.0f}元" in step.text.zh
    assert steps > 3 * len(advised)


def test_carrying_on_promises_nothing(advised: list[Advised]) -> None:
    for found in each(advised):
        assert advice_of(found).carry_on.restored is None


@pytest.mark.slow
def test_the_path_is_what_the_decision_asked_monthly_gives(
    cut: list[pl.DataFrame],
    advised: list[Advised],
    bundle: Bundle,
    when: datetime.datetime,
) -> None:
    """Each month by the ordinary flow, on whole statements and with the prior of its answers.

    The promised month is that in which the whole limit is back, never before the staircase allows.
    """
    steps: set[str] = set()
    for statements, found in each(zip(cut, advised, strict=True)):
        path = advice_of(found).plan
        if not path.steps:
            continue
        asked = ask_monthly(statements, plan_from_steps(path), bundle, when)
        for month, one in zip(path.path, asked, strict=True):
            assert (month.action, month.limit) == (one.action, one.limit)
            assert month.suspended == one.suspended
            assert logit(month.probability) == pytest.approx(one.month.log_odds, abs=1e-9)
            assert (month.balance, month.payment) == (one.month.balance, one.month.payment)
            steps.add(month.action)
        back = restoring_month(statements, plan_from_steps(path), found, bundle)
        promised = [month.month for month in path.path if month.month == path.restored]
        assert promised == ([] if back is None else [path.path[back].month])
        if back is not None:
            assert back + 1 >= bundle.policy.restore.after_months
            assert path.path[back].limit == found.decision.credit_limit
            assert not path.path[back].suspended
    assert {"keep", "restore"} <= steps


@pytest.mark.slow
def test_a_promise_that_is_too_close_is_noted_and_not_given(
    cut: list[pl.DataFrame], bundle: Bundle, when: datetime.datetime
) -> None:
    """The margin is one that no behaviour reaches."""
    strict = with_margin(bundle, 9.0)
    close = 0
    for found in each(advise_many(pl.concat(cut), strict, when)):
        advice, limit = advice_of(found), found.decision.credit_limit
        assert advice.plan.restored is None
        whole = [month.limit == limit and not month.suspended for month in advice.plan.path]
        named = [note for note in advice.notes if "too close" in note.en]
        assert bool(named) == (whole[-1] and bool(advice.plan.steps))
        if named:
            first = advice.plan.path[whole.index(True)].month
            assert month_name(first, "en") in named[0].en
            assert month_name(first, "zh") in named[0].zh
            close += 1
    assert close > 5


def with_margin(bundle: Bundle, margin: float) -> Bundle:
    search = dataclasses.replace(bundle.advice.search, margin=margin)
    return dataclasses.replace(bundle, advice=dataclasses.replace(bundle.advice, search=search))


@pytest.mark.slow
def test_an_application_elsewhere_has_its_price(
    all_cut: list[pl.DataFrame], told: list[Advised], bundle: Bundle, when: datetime.datetime
) -> None:
    """The month is that of the ordinary flow, or the next to it for a few.

    The price is found with the limits that the plan alone brings back.
    """
    months, near = [], []
    for statements, found in each(zip(all_cut[::4], told[::4], strict=True)):
        advice = advice_of(found)
        price, plan = advice.application, advice.plan
        assert (price is None) == (plan.restored is None)
        if price is None or plan.restored is None:
            continue
        months.append(price.restored)
        assert price.restored is None or price.restored >= plan.restored
        later = price.restored is None or price.restored > plan.restored
        assert any("would have a price" in note.en for note in advice.notes) == later
        asked = ask_monthly(statements, plan_from_steps(plan), bundle, when, price.amount)
        whole = [one.limit >= found.decision.credit_limit and not one.suspended for one in asked]
        kept = all(one.action in ("keep", "restore") for one in asked)
        exact = whole.index(True) if kept and any(whole) else MONTHS
        stated = (
            [month.month for month in plan.path].index(price.restored) if price.restored else MONTHS
        )
        near.append(abs(exact - stated) <= 1)
    assert len(set(months)) > 2
    assert sum(near) >= 0.8 * len(near)
