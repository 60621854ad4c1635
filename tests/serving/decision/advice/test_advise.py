from __future__ import annotations

import dataclasses
import datetime
import itertools
import math
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from features.catalogue import CATALOGUE
from features.schema import check
from serving.decision.advice.constraints import Constraints
from serving.decision.advice.plans import Habits, make_plan_grid
from serving.decision.advice.projection import LimitCut, Projection, Restored, restores_limit
from serving.decision.advice.result import PlanPath
from serving.decision.advice.rollout import Plans
from serving.decision.advice.search import PlanSearch
from serving.decision.bundle import Bundle
from serving.decision.config.advice import LEVERS
from serving.decision.config.reasons import Text
from serving.decision.pipeline import advise, advise_many, decide_many, stages
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import Outcome, apply
from serving.decision.result import Advised
from serving.decision.scoring.score import logit, probability_of
from tests.serving.decision.advice.test_rollout import as_table, lived
from training.data.dataset import Source
from training.data.labels import select_windows

MONTHS = 12


@pytest.fixture(scope="module")
def when(source: Source) -> datetime.datetime:
    last = source.statements["month"].max()
    assert isinstance(last, datetime.date)
    return datetime.datetime(last.year, last.month, 28, 12, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def all_cut(source: Source, bundle: Bundle, when: datetime.datetime) -> list[pl.DataFrame]:
    """The windows of accounts whose limit the model cuts."""
    statements = check(select_windows(source.statements, when.date().replace(day=1)))
    made = stages(statements, bundle, when)
    names = [
        d.account_id
        for d, o in zip(made.decisions, made.outcomes, strict=True)
        if o.by_model and d.action in ("reduce", "suspend")
    ]
    return statements.filter(pl.col("account_id").is_in(names)).partition_by(
        "account_id", maintain_order=True
    )


@pytest.fixture(scope="module")
def cut(all_cut: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Some forty of them."""
    return all_cut[:: max(len(all_cut) // 40, 1)]


@pytest.fixture(scope="module")
def advised(cut: list[pl.DataFrame], bundle: Bundle, when: datetime.datetime) -> list[Advised]:
    return [advise(statements, bundle, when) for statements in cut]


def plan_of(course: PlanPath) -> Plans:
    """The plan that the steps tell, read back from what is told."""
    values: dict[str, float] = {name: math.inf if name == "spending" else 0.0 for name in LEVERS}
    values["paid_share"] = 0.0
    for step in course.steps:
        values[step.lever] = 1.0 if step.amount is None else step.amount
        values["paid_share"] += step.share or 0.0
    return Plans(**{name: np.array([value]) for name, value in values.items()})


class Verdict(NamedTuple):
    """A month to come, by the ordinary flow: the log-odds; whether it is free, with the margin and
    without; what is back.
    """

    log_odds: float
    wanted: bool
    then: bool
    limit: float


def verdicts(
    statements: pl.DataFrame,
    plan: Plans,
    advised: Advised,
    bundle: Bundle,
    back: tuple[int, float] = (MONTHS, 0.0),
) -> list[Verdict]:
    """Each month to come, by the ordinary flow on whole statements, with the limit back after a
    month or the cut in force.
    """
    decision, without_rules = advised.decision, dataclasses.replace(bundle.policy, rules=())
    columns = lived(statements, plan, decision.new_limit, decision.action == "suspend", back)
    table = as_table(statements, columns, 0)
    found = []
    for month in range(1, MONTHS + 1):
        seen = check(table[: statements.height + month][-24:])
        as_of = seen["month"][-1]
        soon = datetime.datetime(as_of.year, as_of.month, 28, 12, tzinfo=datetime.UTC)
        made = stages(seen, bundle, soon)
        log_odds = float(made.scores.log_odds[0])
        values = {**made.evidence[0].values, "limit_now": decision.credit_limit}
        accounts = [
            Account(decision.product, as_of, p, values)
            for p in probability_of(
                np.array([log_odds + bundle.advice.search.margin, log_odds])
            ).tolist()
        ]
        outcomes = [apply(account, bundle.policy, soon) for account in accounts]
        # Free: the model, left alone, does nothing, and no rule suspends.
        wanted, then = (
            apply(account, without_rules, soon).proposed_limit is None
            and apply(account, without_rules, soon).new_limit == decision.credit_limit
            and not any(hit.rule.suspend for hit in outcome.hits)
            for account, outcome in zip(accounts, outcomes, strict=True)
        )
        proposed = outcomes[0].proposed_limit
        found.append(
            Verdict(log_odds, wanted, then, outcomes[0].new_limit if proposed is None else proposed)
        )
    return found


def restoring(
    statements: pl.DataFrame, plan: Plans, advised: Advised, bundle: Bundle
) -> int | None:
    """The first month that is free with the margin, in which something comes back, and after which
    all are free without: while the cut is in force, and with the limit back."""
    told, decision = verdicts(statements, plan, advised, bundle), advised.decision
    for month, verdict in enumerate(told):
        something = decision.action == "suspend" or verdict.limit > decision.new_limit
        if verdict.wanted and something and all(later.then for later in told[month + 1 :]):
            after = verdicts(statements, plan, advised, bundle, (month, verdict.limit))
            if all(later.then for later in after[month + 1 :]):
                return month
    return None


def test_limits_come_back_and_not_all_at_once(advised: list[Advised]) -> None:
    restored = [found.advice.plan.restored for found in advised if found.advice is not None]
    assert len(restored) == len(advised) > 30
    assert len(set(restored)) > 3
    assert sum(month is not None for month in restored) > 0.5 * len(restored)


def test_where_nothing_helps_it_says_so(
    cut: list[pl.DataFrame], bundle: Bundle, when: datetime.datetime
) -> None:
    """With a margin that no behaviour reaches: the plan told is the feasible one after which the
    risk is least.
    """
    search = dataclasses.replace(bundle.advice.search, margin=9.0)
    strict = dataclasses.replace(bundle, advice=dataclasses.replace(bundle.advice, search=search))
    for statements in cut[:10]:
        found = advise(statements, strict, when)
        assert found.advice is not None
        plan = found.advice.plan
        assert plan.restored is None
        assert all(month.limit == found.decision.new_limit for month in plan.path)
        assert plan.path[-1].probability <= found.advice.on_time_only.path[-1].probability


def test_what_is_only_just_kept_is_told_and_not_promised(
    cut: list[pl.DataFrame], bundle: Bundle, when: datetime.datetime
) -> None:
    """Where no plan has the margin but the one told ends in months that would be kept, the first of
    them is named.
    """
    search = dataclasses.replace(bundle.advice.search, margin=9.0)
    strict = dataclasses.replace(bundle, advice=dataclasses.replace(bundle.advice, search=search))
    narrow, none = bundle.advice.notes["too_narrow"], bundle.advice.notes["no_plan"]
    seen: list[bool] = []
    for statements in cut:
        found = advise(statements, strict, when)
        assert found.advice is not None
        kept = [month.action == "keep" for month in found.advice.plan.path]
        first = len(kept) - next(
            (k for k, keeps in enumerate(reversed(kept)) if not keeps), len(kept)
        )
        assert (none in found.advice.notes) == (not kept[-1])
        named = [note for note in found.advice.notes if note.en.startswith(narrow.en[:20])]
        assert bool(named) == kept[-1]
        if named:
            month = f"{found.advice.plan.path[first].month:%Y-%m}"
            assert named == [Text(narrow.en.format(month=month), narrow.zh.format(month=month))]
        seen.append(kept[-1])
    assert len(set(seen)) == 2
    # Who has a promise is not told that it is too narrow.
    kept_by_margin = [advise(statements, bundle, when).advice for statements in cut[:10]]
    for advice in kept_by_margin:
        if advice is not None and advice.plan.restored is not None:
            assert not any(note.en.startswith(narrow.en[:20]) for note in advice.notes)


def test_a_promise_is_what_the_ordinary_flow_decides(
    cut: list[pl.DataFrame], advised: list[Advised], bundle: Bundle
) -> None:
    """The plan, followed to the letter through whole statements, is free in the promised month and
    in none before.
    """
    for statements, found in zip(cut, advised, strict=True):
        assert found.advice is not None
        course = found.advice.plan
        month = restoring(statements, plan_of(course), found, bundle)
        if course.restored is None:
            assert month is None
        else:
            index = (
                (course.restored.year - found.decision.as_of.year) * 12
                + course.restored.month
                - found.decision.as_of.month
            )
            assert month == index - 1


def test_the_path_is_that_of_the_ordinary_flow(
    cut: list[pl.DataFrame], advised: list[Advised], bundle: Bundle
) -> None:
    for statements, found in zip(cut[:10], advised[:10], strict=True):
        assert found.advice is not None
        course = found.advice.carry_on
        expected = [
            verdict.log_odds for verdict in verdicts(statements, plan_of(course), found, bundle)
        ]
        until = (
            MONTHS
            if course.restored is None
            else [p.month for p in course.path].index(course.restored) + 1
        )
        for month, log_odds in zip(course.path[:until], expected[:until], strict=True):
            assert logit(month.probability) == pytest.approx(log_odds, abs=1e-9)


def test_the_path_tells_what_is_paid_and_what_is_owed_then(
    cut: list[pl.DataFrame], advised: list[Advised]
) -> None:
    paid = 0
    for statements, found in zip(cut, advised, strict=True):
        assert found.advice is not None
        for course in (found.advice.plan, found.advice.carry_on):
            suspended = found.decision.action == "suspend"
            columns = lived(statements, plan_of(course), found.decision.new_limit, suspended)
            # With the limit back, other purchases are possible than under the reduced one.
            until = (
                MONTHS
                if course.restored is None
                else [month.month for month in course.path].index(course.restored) + 1
            )
            for name, told in (
                ("payment", [month.payment for month in course.path]),
                ("balance", [month.balance for month in course.path]),
            ):
                expected = columns[name][:MONTHS, 0][::-1].tolist()
                assert told[:until] == pytest.approx(expected[:until], abs=1e-9)
            paid += sum(month.payment > 0 for month in course.path)
    assert paid > 100


def last_known(statements: pl.DataFrame, name: str, otherwise: float) -> float:
    known = statements[name].drop_nulls()
    return float(known[-1]) if len(known) else otherwise


def least_effort(
    statements: pl.DataFrame, found: Advised, bundle: Bundle
) -> tuple[float, int] | None:
    """By trying every plan of the grid, one by one, through the ordinary flow: (effort, month) of
    the least that restores.
    """
    rules, seen = bundle.advice, statements[-6:]
    debt = last_known(statements, "external_debt", 0.0)
    income = last_known(statements, "income", math.nan)
    spent = float(np.nan_to_num(np.mean(seen["spend"].drop_nulls().to_numpy())))
    step = rules.search.rounding
    balance = max(statements["balance"][-1], 0.0)
    tried = {
        "on_time": [1.0],
        "extra": sorted(
            {math.ceil(g * balance / step - 1e-9) * step for g in rules.levers["extra"].grid}
        ),
        "spending": [
            math.inf if g == 1 else math.floor(g * spent / step + 1e-9) * step
            for g in rules.levers["spending"].grid
        ]
        if spent > 0
        else [math.inf],
        "no_cash": [1.0],
        "no_new_credit": [1.0],
        "repay_elsewhere": sorted(
            {math.ceil(g * debt / step - 1e-9) * step for g in rules.levers["repay_elsewhere"].grid}
        ),
    }
    unit = found.decision.credit_limit if math.isnan(income) else income
    left = income * (1 - rules.search.living_share) - rules.search.instalment_share * debt
    payable = (
        math.inf if math.isnan(income) else max(left, float(seen["payment"].to_numpy().mean()))
    )
    shares = [
        min(paid / owed, 1.0)
        for paid, owed in zip(statements["payment"][1:], statements["balance"][:-1], strict=True)
        if owed > 0
    ][-min(6, statements.height) :]
    # Of the months of habit, in whole hundredths, and told where it is more than the minimum asks
    # for.
    owed_in = [owed > 0 for owed in [0.0, *statements["balance"][:-1].to_list()]][-6:]
    least = math.floor(100 * min(shares[len(shares) - sum(owed_in) :], default=0.0) + 1e-9) / 100
    share = least if least > bundle.policy.terms.minimum_share else 0.0
    best: tuple[float, int] | None = None
    for values in itertools.product(*(tried[name] for name in LEVERS)):
        plan = dict(zip(LEVERS, values, strict=True))
        effort = (
            plan["extra"] + plan["repay_elsewhere"] + 0.7 * max(spent - plan["spending"], 0.0)
        ) / unit
        effort += 0.05 * plan["no_cash"] + 0.03 * plan["no_new_credit"]
        if best is not None and effort >= best[0] - 1e-12:
            continue
        plans = Plans(
            **{name: np.array([value]) for name, value in plan.items()},
            paid_share=np.array([share]),
        )
        columns = lived(
            statements, plans, found.decision.new_limit, found.decision.action == "suspend"
        )
        asks_more = plan["extra"] > 0 or plan["repay_elsewhere"] > 0
        if (
            asks_more
            and (columns["payment"][:MONTHS, 0] + plan["repay_elsewhere"]).max() > payable + 0.005
        ):
            continue
        month = restoring(statements, plans, found, bundle)
        if month is not None:
            best = (effort, month)
    return best


def check_exhaustively(cut: list[pl.DataFrame], advised: list[Advised], bundle: Bundle) -> None:
    for statements, found in zip(cut, advised, strict=True):
        assert found.advice is not None
        course, best = found.advice.plan, least_effort(statements, found, bundle)
        assert (course.restored is None) == (best is None)
        if best is not None:
            assert course.effort == pytest.approx(best[0], abs=1e-9)


def test_the_plan_is_the_least_effort_of_all(
    cut: list[pl.DataFrame], advised: list[Advised], bundle: Bundle
) -> None:
    tried = [0 if one.advice is None else one.advice.tried for one in advised]
    easy = sorted(range(len(advised)), key=tried.__getitem__)[:6]
    check_exhaustively([cut[k] for k in easy], [advised[k] for k in easy], bundle)


@pytest.mark.torture
def test_the_plan_is_the_least_effort_of_all_for_everyone(
    cut: list[pl.DataFrame], advised: list[Advised], bundle: Bundle
) -> None:
    check_exhaustively(cut, advised, bundle)


COARSE = {"extra": (0.0, 0.12, 1.0), "spending": (1.0, 0.25), "repay_elsewhere": (0.0, 0.08)}


@pytest.mark.torture
def test_the_plan_of_a_coarse_grid_is_that_of_brute_force_for_200(
    all_cut: list[pl.DataFrame], bundle: Bundle, when: datetime.datetime
) -> None:
    levers = {
        name: dataclasses.replace(lever, grid=COARSE.get(name, lever.grid))
        for name, lever in bundle.advice.levers.items()
    }
    coarse = dataclasses.replace(bundle, advice=dataclasses.replace(bundle.advice, levers=levers))
    some = all_cut[:200]
    assert len(some) == 200
    check_exhaustively(some, advise_many(pl.concat(some), coarse, when), coarse)


def test_the_same_account_gets_the_same_advice(
    cut: list[pl.DataFrame], advised: list[Advised], bundle: Bundle, when: datetime.datetime
) -> None:
    for statements, found in zip(cut[:5], advised[:5], strict=True):
        before = statements.clone()
        assert advise(statements.sample(fraction=1, shuffle=True, seed=1), bundle, when) == found
        assert statements.equals(before)


def test_many_at_once_get_what_each_gets_alone(
    cut: list[pl.DataFrame],
    advised: list[Advised],
    bundle: Bundle,
    when: datetime.datetime,
    source: Source,
) -> None:
    """Beside accounts that are kept, in blocks and in threads."""
    names = [found.decision.account_id for found in advised]
    everybody = check(select_windows(source.statements, when.date().replace(day=1)))
    others = everybody["account_id"].unique(maintain_order=True)[:200].to_list()
    many = everybody.filter(pl.col("account_id").is_in(names + others))
    for threads in (1, 3):
        found = {
            one.decision.account_id: one for one in advise_many(many, bundle, when, threads=threads)
        }
        assert len(found) > len(names)
        for name, alone in zip(names, advised, strict=True):
            together = found[name]
            assert together.advice == alone.advice
            assert together.notes == alone.notes
            assert dataclasses.replace(together.decision, decision_id="") == dataclasses.replace(
                alone.decision, decision_id=""
            )


def test_each_account_is_given_its_own_choices(
    cut: list[pl.DataFrame], bundle: Bundle, when: datetime.datetime
) -> None:
    choices = [Constraints(200.0), Constraints(1e6), Constraints()]
    together = advise_many(pl.concat(cut[:3]), bundle, when, choices)
    for statements, chosen, found in zip(cut[:3], choices, together, strict=True):
        assert found.advice == advise(statements, bundle, when, chosen).advice
    with pytest.raises(ValueError, match="expected choices for 3 accounts, got 2"):
        advise_many(pl.concat(cut[:3]), bundle, when, choices[:2])


def test_it_does_not_matter_how_many_plans_are_tried_at_a_time(
    cut: list[pl.DataFrame],
    bundle: Bundle,
    when: datetime.datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # some find a plan and some do not
    search = dataclasses.replace(bundle.advice.search, margin=2.5)
    strict = dataclasses.replace(bundle, advice=dataclasses.replace(bundle.advice, search=search))
    together = pl.concat(cut[:20])
    found = {}
    for first in (1, 7, 40, 1000):
        monkeypatch.setattr("serving.decision.advice.search._TRIED_FIRST", first)
        found[first] = advise_many(together, strict, when)
    assert found[1] == found[7] == found[40] == found[1000]
    restored = [one.advice.plan.restored is not None for one in found[7] if one.advice is not None]
    assert any(restored)
    assert not all(restored)


def test_where_none_restores_the_least_risk_of_all_rounds_is_told(bundle: Bundle) -> None:
    grid = make_plan_grid(
        Habits(10_000.0, math.nan, math.nan, 0.0, 0.0, 0.0),
        12_000.0,
        bundle.advice,
        Constraints(),
        0.1,
    )
    search = PlanSearch(0, grid)
    cut = [LimitCut("pay_later", datetime.date(2026, 9, 1), 12_000.0, 500.0, True)]
    for first, last_log_odds in ((0, [5.0, 3.0]), (2, [4.0])):
        courses = np.arange(len(last_log_odds))
        features = np.zeros((1, len(courses), len(CATALOGUE)))
        assert search.judged == first
        search.judge(
            courses,
            Projection(
                courses * 0,
                cut,
                features,
                np.array([last_log_odds]),
                np.zeros((1, len(courses))),
                np.zeros(len(courses)),
            ),
            bundle,
        )
        assert search.restored is None
        assert search.place == 1


def back_of(outcome: Outcome) -> float:
    return outcome.new_limit if outcome.proposed_limit is None else outcome.proposed_limit


@pytest.mark.parametrize("product", ["pay_later", "cash_loan"])
def test_no_month_is_passed_over_that_the_policy_would_leave(bundle: Bundle, product: str) -> None:
    """Over drawn accounts, with caps that bind and caps that do not: the first free month is that
    of asking about each.
    """
    random, courses, months = np.random.default_rng(0), 60, 5
    names = [feature.name for feature in CATALOGUE]
    features = np.zeros((months, courses, len(names)))
    limit = 500.0 * np.ceil(random.uniform(1, 60, courses))
    columns: dict[str, NDArray[np.float64] | float] = {
        "limit_now": limit,
        "balance_now": limit * random.uniform(0, 1, (months, courses)),
        "income": limit / random.uniform(4, 12, courses),
        "idle_months": np.floor(random.uniform(0, 16, (months, courses))),
        "months_observed": 24.0,
    }
    for name, values in columns.items():
        features[..., names.index(name)] = values
    cut = [
        LimitCut(product, datetime.date(2026, 9, 1), before, 500.0, False)
        for before in limit.tolist()
    ]
    log_odds = random.uniform(-3.2, 0.6, (months, courses))
    outlook = Projection(
        np.arange(courses), cut, features, log_odds, np.zeros_like(log_odds), np.zeros(courses)
    )
    found: list[Restored | None] = []
    for course in range(courses):
        wanted, then = (
            [
                outlook.outcome(course, m, p, bundle)
                for m, p in enumerate(probability_of(log_odds[:, course] + more).tolist())
            ]
            for more in (0.5, 0.0)
        )
        free = [(restores_limit(a), restores_limit(b)) for a, b in zip(wanted, then, strict=True)]
        months_free = [
            m
            for m in range(months)
            if free[m][0]
            and back_of(wanted[m]) > 500.0
            and all(later for _, later in free[m + 1 :])
        ]
        found.append(next(outlook.restorations(np.array([course]), 0.5, bundle), None))
        if months_free:
            assert found[-1] == Restored(course, months_free[0], back_of(wanted[months_free[0]]))
        else:
            assert found[-1] is None
    assert None in found
    assert len(set(found)) > 20
    if product == "cash_loan":
        assert any(one.limit < limit[one.course] for one in found if one is not None), (
            "a cap stands"
        )


def test_more_to_pay_with_never_makes_it_harder(
    cut: list[pl.DataFrame], bundle: Bundle, when: datetime.datetime
) -> None:
    for statements in cut[:10]:
        little, much = (
            advise(statements, bundle, when, Constraints(monthly_payment=amount)).advice
            for amount in (500.0, 1e9)
        )
        assert little is not None
        assert much is not None
        if little.plan.restored is not None:
            assert much.plan.restored is not None
            assert much.plan.effort <= little.plan.effort


def test_who_is_not_cut_needs_no_advice(
    source: Source, bundle: Bundle, when: datetime.datetime
) -> None:
    statements = check(select_windows(source.statements, when.date().replace(day=1)))
    kept = next(
        d
        for d in decide_many(statements, bundle, when)
        if d.action == "keep" and d.probability < 0.02
    )
    found = advise(statements.filter(pl.col("account_id") == kept.account_id), bundle, when)
    assert found.advice is None
    assert found.below_cut_off == pytest.approx(logit(kept.cut_off) - kept.log_odds)
    assert found.below_cut_off > 0


def test_spending_is_told_as_a_share_of_a_known_income(
    cut: list[pl.DataFrame], advised: list[Advised]
) -> None:
    told = 0
    for statements, found in zip(cut, advised, strict=True):
        assert found.advice is not None
        income = last_known(statements, "income", math.nan)
        for step in found.advice.plan.steps:
            if step.lever == "spending" and step.amount:
                share = f"{100 * step.amount / income:.0f} %" if income > 0 else None
                told += share is not None
                assert (
                    ("of your monthly income" in step.text.en)
                    == ("月收入" in step.text.zh)
                    == (share is not None)
                )
                assert share is None or f" {share} of your monthly income" in step.text.en
    assert told > 2


def test_steps_are_told_with_their_amounts(advised: list[Advised]) -> None:
    for found in advised:
        assert found.advice is not None
        assert found.advice.carry_on.steps == ()
        assert found.advice.carry_on.restored is None, "nothing is promised to who carries on"
        assert {month.limit for month in found.advice.carry_on.path} == {found.decision.new_limit}
        assert [step.lever for step in found.advice.on_time_only.steps] == ["on_time"]
        for step in found.advice.plan.steps:
            assert "{" not in step.text.en + step.text.zh
            if step.share is not None:
                assert step.lever == "on_time"
                assert f"{100 * step.share:.0f} % of the balance" in step.text.en
            if step.amount == 0:
                assert step.text.en == "Buy nothing with this account."
            elif step.amount is not None:
                assert f"{step.amount:,.0f}" in step.text.en
                assert f"{step.amount:,.0f}元" in step.text.zh
        if (
            found.decision.new_limit < found.decision.credit_limit
            and found.advice.plan.restored is not None
        ):
            path = found.advice.plan.path
            back = [month.month for month in path].index(found.advice.plan.restored)
            assert [month.limit for month in path[:back]] == [found.decision.new_limit] * back
            assert len({month.limit for month in path[back:]}) == 1
            assert found.decision.new_limit <= path[-1].limit <= found.decision.credit_limit
            assert (path[-1].limit == found.decision.credit_limit) == (path[back].action == "keep")
