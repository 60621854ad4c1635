from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from features.months import add_months
from features.types import Vector
from features.window import lay_out
from serving.decision.advice.projection import LimitCut, outcome_after
from serving.decision.advice.result import PlanPath
from serving.decision.advice.rollout import Plans, roll_forward
from serving.decision.bundle import Bundle
from serving.decision.policy.outcome import Outcome
from serving.decision.scoring.score import logit
from tests.training.conftest import part_of
from training.data.simulate.shocks import ILLNESS, INCOME_LOSS
from training.data.simulate.state import State
from training.data.simulate.step import Columns
from training.examine.advice import follow as follow_module
from training.examine.advice import other_models
from training.examine.advice.follow import (
    FOLLOWED,
    FollowedPlans,
    PlanRisk,
    Schedule,
    follow_plans,
    simulate_risk,
)
from training.examine.advice.tables import validity, validity_by_month
from training.examine.truth.cut_accounts import CutAccounts, plans_from_paths
from training.examine.truth.futures import HORIZON, untreated
from training.examine.truth.interventions import follow, simulate_months

FUTURES = 3
ARMS = ("plan", "limit_back", "carry_on", "on_the_way", "during")


def with_plans(cut: CutAccounts, change: Callable[[PlanPath], PlanPath]) -> CutAccounts:
    """The same accounts with other plans."""
    told = []
    for advised in cut.advised:
        assert advised.advice is not None
        told.append(
            replace(advised, advice=replace(advised.advice, plan=change(advised.advice.plan)))
        )
    return replace(cut, advised=tuple(told))


def without_promises(cut: CutAccounts) -> CutAccounts:
    return with_plans(cut, lambda course: replace(course, restored=None))


def with_shock_rate(cut: CutAccounts, shock_rate: float) -> CutAccounts:
    """The same accounts, with another rate of shocks from now on."""
    return replace(
        cut,
        population=replace(
            cut.population, config=replace(cut.population.config, shock_rate=shock_rate)
        ),
    )


@pytest.fixture(scope="module")
def followed(cut_accounts: CutAccounts) -> FollowedPlans:
    return follow_plans(cut_accounts)


@pytest.fixture(scope="module")
def risks(cut_accounts: CutAccounts) -> PlanRisk:
    return simulate_risk(cut_accounts, FUTURES)


def share_kept(followed: FollowedPlans) -> float:
    return float(followed.kept[:, followed.promised > 0].mean())


def simulate_exactly(
    cut: CutAccounts,
    state: State,
    futures: object,
    schedule: Schedule,
    months: int,
    exactly: bool = False,
) -> Iterator[tuple[State, Columns]]:
    """Simulate exactly what advice rolls forward; replaces ``follow.simulate_plans``."""
    count, times = len(cut), state.count // len(cut)
    window = lay_out(cut.statements).take(np.arange(count))
    limits, suspended = (
        np.tile(np.array([getattr(one, name) for one in cut.cuts]), (months, 1))
        for name in ("limit_after", "suspended")
    )
    lived = roll_forward(
        window, plans_from_paths(cut.plans), limits, suspended, cut.bundle.policy.terms
    )
    for month in range(months):
        columns: dict[str, NDArray[np.float64] | NDArray[np.int32] | NDArray[np.bool_]] = {
            name: np.tile(values[months - 1 - month], times) for name, values in lived.items()
        }
        state = replace(state, months_done=state.months_done + 1)
        yield state, columns | {"open": np.ones(state.count, dtype=np.bool_)}


def test_followed_to_the_letter_every_plan_is_kept(
    cut_accounts: CutAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the months are those that advice projected, the decision is the promised one."""
    monkeypatch.setattr(follow_module, "simulate_plans", simulate_exactly)
    found = follow_plans(cut_accounts)
    assert np.array_equal(found.kept, np.tile(found.promised > 0, (FOLLOWED, 1)))
    assert not found.shocked.any()


def test_what_is_judged_is_what_advice_judged(
    cut_accounts: CutAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, float]] = []

    def noted(
        month: int, cut: LimitCut, probability: float, values: Vector, bundle: Bundle
    ) -> Outcome:
        seen.append((month, logit(probability)))
        return outcome_after(month, cut, probability, values, bundle)

    monkeypatch.setattr(follow_module, "simulate_plans", simulate_exactly)
    monkeypatch.setattr(follow_module, "outcome_after", noted)
    promised = follow_plans(cut_accounts).promised
    foreseen = other_models.project_plans(cut_accounts).log_odds
    for month in range(len(foreseen)):
        asked = np.flatnonzero((promised > 0) & ((promised == month + 1) | (promised == month)))
        assert [score for then, score in seen if then == month] == pytest.approx(
            np.tile(foreseen[month, asked], FOLLOWED), abs=1e-9
        )
    assert len(seen) == 2 * FOLLOWED * (promised > 0).sum()


def test_the_letter_of_other_plans_is_not_kept(
    cut_accounts: CutAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_module, "simulate_plans", simulate_exactly)
    assert (
        share_kept(follow_plans(with_plans(cut_accounts, lambda course: replace(course, steps=()))))
        < 0.4
    )
    early = add_months(cut_accounts.population.as_of, 1)
    assert (
        share_kept(
            follow_plans(with_plans(cut_accounts, lambda course: replace(course, restored=early)))
        )
        < 0.5
    )


def test_most_plans_are_kept_and_it_is_the_plans_that_do_it(
    cut_accounts: CutAccounts, followed: FollowedPlans
) -> None:
    assert share_kept(followed) > 0.85
    emptied = follow_plans(with_plans(cut_accounts, lambda course: replace(course, steps=())))
    assert np.array_equal(emptied.promised, followed.promised)
    assert share_kept(emptied) < share_kept(followed) - 0.4
    early = add_months(cut_accounts.population.as_of, 1)
    hasty = follow_plans(with_plans(cut_accounts, lambda course: replace(course, restored=early)))
    assert (hasty.promised == 1).all()
    assert share_kept(hasty) < share_kept(followed) - 0.4


def test_what_is_not_promised_is_not_kept(cut_accounts: CutAccounts) -> None:
    pairs = zip(without_promises(cut_accounts).advised, cut_accounts.advised, strict=True)
    mixed = replace(
        cut_accounts, advised=tuple(pair[place % 2] for place, pair in enumerate(pairs))
    )
    found = follow_plans(mixed)
    assert (found.promised[::2] == 0).all()
    assert not found.kept[:, found.promised == 0].any()
    assert not found.shocked[:, found.promised == 0].any()
    assert found.kept[:, found.promised > 0].mean() > 0.8


def test_a_plan_is_followed_whoever_stands_beside(
    cut_accounts: CutAccounts, followed: FollowedPlans
) -> None:
    which = list(range(0, len(cut_accounts), 9))
    alone = follow_plans(part_of(cut_accounts, which))
    assert np.array_equal(alone.kept, followed.kept[:, which])
    assert np.array_equal(alone.shocked, followed.shocked[:, which])


def test_shocks_are_those_that_strike_until_the_month_after_the_promised_one(
    cut_accounts: CutAccounts, followed: FollowedPlans
) -> None:
    plans, config = plans_from_paths(cut_accounts.plans), untreated(cut_accounts.population.config)
    for account in range(0, len(cut_accounts), 20):
        before = cut_accounts.population.state.take(cut_accounts.places[[account]])
        for future in range(FOLLOWED):
            state, struck = before, False
            months = int(followed.promised[account]) + 1
            for after, _ in simulate_months(
                before, months, config, future, follow(plans.take([account]))
            ):
                struck |= (
                    int(after.shock[0]) in (INCOME_LOSS, ILLNESS)
                    and after.shock[0] != state.shock[0]
                )
                state = after
            assert followed.shocked[future, account] == struck
    assert 0.05 < followed.shocked.mean() < 0.95
    assert not follow_plans(with_shock_rate(cut_accounts, 0.0)).shocked.any()
    assert (
        follow_plans(with_shock_rate(cut_accounts, 10.0)).shocked.mean()
        > followed.shocked.mean() + 0.1
    )


def no_plan(suspended: bool) -> Plans:
    """A plan that changes nothing, except that a suspended account draws nothing."""
    one = np.ones(1)
    return Plans(
        0 * one,
        0 * one,
        0 * one if suspended else np.inf * one,
        one * suspended,
        0 * one,
        0 * one,
        0 * one,
        0 * one,
    )


def default_in(lived: Iterator[tuple[State, Columns]], state: State) -> tuple[State, bool]:
    """The last state, and whether a statement shows 60 days past due or more."""
    worst = 0
    for after, columns in lived:
        state, worst = (
            after,
            max(worst, int(columns["days_past_due"][0]) if columns["open"][0] else 0),
        )
    return state, worst >= 60


def simulate_one(cut: CutAccounts, account: int, future: int) -> dict[str, bool]:
    """The outcome of each arm for one account in one future, simulated by itself."""
    one, promised = cut.cuts[account], int(cut.promised[account])
    months = promised if promised else cut.bundle.advice.search.months
    config, start = (
        untreated(cut.population.config),
        cut.population.state.take(cut.places[[account]]),
    )
    reduced, whole = np.array([max(one.limit_after, 1.0)]), np.array([one.limit_before])
    plan = plans_from_paths(cut.plans).take([account])
    if one.suspended:
        plan = replace(plan, spending=np.zeros(1), no_cash=np.ones(1))
    ways, free = no_plan(one.suspended), no_plan(suspended=False)
    after_plan, during = default_in(
        simulate_months(start, months, config, future, follow(plan), reduced), start
    )
    _, then = default_in(
        simulate_months(after_plan, HORIZON, config, future, follow(ways), reduced), after_plan
    )
    _, back = default_in(
        simulate_months(after_plan, HORIZON, config, future, follow(free), whole), after_plan
    )
    carried, on_the_way = default_in(
        simulate_months(start, months, config, future, follow(ways), reduced), start
    )
    _, later = default_in(
        simulate_months(carried, HORIZON, config, future, follow(ways), reduced), carried
    )
    return {
        "plan": during or then,
        "limit_back": during or back,
        "carry_on": on_the_way or later,
        "on_the_way": on_the_way,
        "during": during,
    }


def test_risks_are_those_of_each_account_simulated_by_itself(cut_accounts: CutAccounts) -> None:
    suspended = np.flatnonzero([cut.suspended for cut in cut_accounts.cuts])[:5].tolist()
    which = sorted({*suspended, *range(0, len(cut_accounts), 20)})
    few = part_of(cut_accounts, which)
    silent = replace(few, advised=(*without_promises(few).advised[:4], *few.advised[4:]))
    assert silent.promised[:4].max() == 0 < silent.promised[4:].max()
    found = simulate_risk(silent, FUTURES)
    for account in range(len(silent)):
        slow = [simulate_one(silent, account, future) for future in range(1, FUTURES + 1)]
        for arm in ARMS:
            assert getattr(found, arm)[account] == np.mean([outcome[arm] for outcome in slow]), arm
    assert len({float(value) for value in found.carry_on}) > 2
    assert not np.array_equal(found.carry_on, found.on_the_way)


def with_suspensions(cut: CutAccounts, plans: Plans) -> Plans:
    """The plans, except that suspended accounts draw nothing."""
    suspended = np.array([one.suspended for one in cut.cuts])
    return replace(
        plans,
        spending=np.where(suspended, 0.0, plans.spending),
        no_cash=np.where(suspended, 1.0, plans.no_cash),
    )


def test_months_are_simulated_under_the_plan_and_then_in_one_s_own_ways(
    cut_accounts: CutAccounts,
) -> None:
    count, state = len(cut_accounts), cut_accounts.population.state.take(cut_accounts.places)
    config, reduced = (
        untreated(cut_accounts.population.config),
        np.array([max(cut.limit_after, 1.0) for cut in cut_accounts.cuts]),
    )
    plans, nothing = (
        plans_from_paths(cut_accounts.plans),
        no_plan(suspended=False).take(np.zeros(count, dtype=np.int64)),
    )
    assert all(
        (getattr(plans, name) != getattr(nothing, name)).any()
        for name in Plans.__dataclass_fields__
    )
    three, never = np.full(count, 3), np.full(count, 1000)
    schedule = Schedule(plan_ends=three, limit_restored=never)
    lived = follow_module.simulate_plans(cut_accounts, state, np.full(count, 2), schedule, 6)
    for month, (_, columns) in enumerate(lived):
        change = follow(with_suspensions(cut_accounts, plans if month < 3 else nothing))
        ((state, expected),) = simulate_months(state, 1, config, 2, change, reduced)
        for name, values in expected.items():
            assert np.array_equal(columns[name], values, equal_nan=values.dtype.kind == "f"), (
                month,
                name,
            )


def test_on_the_way_ends_with_the_promised_month_and_carrying_on_six_later(
    cut_accounts: CutAccounts, risks: PlanRisk
) -> None:
    count, state = len(cut_accounts), cut_accounts.population.state.take(cut_accounts.places)
    config, reduced = (
        untreated(cut_accounts.population.config),
        np.array([max(cut.limit_after, 1.0) for cut in cut_accounts.cuts]),
    )
    nothing = with_suspensions(
        cut_accounts, no_plan(suspended=False).take(np.zeros(count, dtype=np.int64))
    )
    promised = np.where(
        cut_accounts.promised > 0, cut_accounts.promised, cut_accounts.bundle.advice.search.months
    )
    sums = np.zeros((2, count))
    for future in range(1, FUTURES + 1):
        shown = [
            np.where(columns["open"], columns["days_past_due"], 0) >= 60
            for _, columns in simulate_months(
                state, int(promised.max()) + HORIZON, config, future, follow(nothing), reduced
            )
        ]
        for account in range(count):
            own = [bool(month[account]) for month in shown]
            sums[:, account] += (
                any(own[: promised[account]]),
                any(own[: promised[account] + HORIZON]),
            )
    assert risks.on_the_way == pytest.approx(sums[0] / FUTURES)
    assert risks.carry_on == pytest.approx(sums[1] / FUTURES)


@pytest.mark.parametrize("rows", [1, 20])
def test_risks_do_not_depend_on_how_many_live_together(
    rows: int, cut_accounts: CutAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = part_of(cut_accounts, list(range(0, len(cut_accounts), 9)))
    whole = simulate_risk(few, FUTURES)
    monkeypatch.setattr(follow_module, "ROWS", rows)
    apart = simulate_risk(few, FUTURES)
    for arm in ARMS:
        assert getattr(apart, arm) == pytest.approx(getattr(whole, arm), abs=1e-12)


def test_who_pays_on_time_does_not_default_meanwhile(
    cut_accounts: CutAccounts, risks: PlanRisk
) -> None:
    assert (plans_from_paths(cut_accounts.plans).on_time == 1).all()
    assert not risks.during.any()
    emptied = simulate_risk(
        with_plans(cut_accounts, lambda course: replace(course, steps=())), FUTURES
    )
    assert emptied.during.mean() > 0.1
    assert np.array_equal(emptied.during, risks.on_the_way)
    assert np.array_equal(emptied.plan, risks.carry_on)


def test_risks_hold_each_other(risks: PlanRisk) -> None:
    for arm in ARMS:
        values = getattr(risks, arm)
        assert ((values >= 0) & (values <= 1)).all()
    assert (risks.carry_on >= risks.on_the_way).all()
    assert (risks.plan >= risks.during).all()
    assert (risks.limit_back >= risks.during).all()
    assert risks.plan.mean() < risks.carry_on.mean() - 0.1


def test_the_cut_is_in_force_until_the_limit_is_back(cut_accounts: CutAccounts) -> None:
    count, months = len(cut_accounts), 6
    restored = np.arange(count) % 5
    state = cut_accounts.population.state.take(np.tile(cut_accounts.places, 2))
    suspended = np.array([cut.suspended for cut in cut_accounts.cuts])
    before, after = (
        np.array([getattr(cut, name) for cut in cut_accounts.cuts])
        for name in ("limit_before", "limit_after")
    )
    futures, nobody = np.repeat([1, 2], count), np.zeros(count, dtype=np.int64)
    schedule = Schedule(plan_ends=nobody, limit_restored=restored)
    drawn = np.zeros(count)
    for month, (_, columns) in enumerate(
        follow_module.simulate_plans(cut_accounts, state, futures, schedule, months)
    ):
        reduced = month < restored
        limit, spend, cash = (
            columns[name].reshape(2, count) for name in ("credit_limit", "spend", "cash_advance")
        )
        shown = columns["open"].reshape(2, count).astype(np.bool_)
        expected = np.tile(np.where(reduced, np.maximum(after, 1.0), before), (2, 1))
        assert np.array_equal(limit[shown], expected[shown])
        assert not (spend + cash)[:, suspended & reduced].any()
        drawn += (spend + cash).sum(axis=0)
    assert (drawn[suspended] > 0).any(), "the limit is back, and used"
    assert (drawn[~suspended] > 0).mean() > 0.3


def planted(cut: CutAccounts, seed: int = 0) -> tuple[FollowedPlans, PlanRisk]:
    random = np.random.default_rng(seed)
    promised = random.integers(0, 4, len(cut))
    kept = (random.random((FOLLOWED, len(cut))) < 0.7) & (promised > 0)
    numbers = [random.integers(0, 5, len(cut)) / 4 for _ in ARMS]
    return FollowedPlans(promised, kept, random.random((FOLLOWED, len(cut))) < 0.3), PlanRisk(
        *numbers
    )


def test_the_table_counts_plans_and_futures_of_each_segment(cut_accounts: CutAccounts) -> None:
    followed, risks = planted(cut_accounts)
    table = validity(cut_accounts, followed, risks)
    assert table["segment"].to_list() == list(cut_accounts.segments())
    for row in table.iter_rows(named=True):
        members = np.flatnonzero(cut_accounts.segments()[row["segment"]])
        plans = [account for account in members if followed.promised[account] > 0]
        pairs = [(future, account) for account in plans for future in range(FOLLOWED)]
        quiet = [pair for pair in pairs if not followed.shocked[pair]]
        assert (row["accounts"], row["plans"]) == (len(members), len(plans))
        assert row["months"] == pytest.approx(
            np.mean([followed.promised[account] for account in plans])
        )
        assert row["kept"] == pytest.approx(np.mean([followed.kept[pair] for pair in pairs]))
        assert row["kept_unshocked"] == pytest.approx(
            np.mean([followed.kept[pair] for pair in quiet])
        )
        assert row["fell"] == pytest.approx(
            np.mean([risks.plan[a] < risks.carry_on[a] for a in plans])
        )
        assert row["rose"] == pytest.approx(
            np.mean([risks.plan[a] > risks.carry_on[a] for a in plans])
        )
        assert row["fell"] + row["tied"] + row["rose"] == pytest.approx(1.0)
        assert row["fell_limit_back"] == pytest.approx(
            np.mean([risks.limit_back[a] < risks.carry_on[a] for a in plans])
        )
        told = {"risk_plan": "plan", "risk_limit_back": "limit_back", "risk_carry_on": "carry_on"}
        told |= {"default_on_the_way": "on_the_way", "default_during": "during"}
        for column, arm in told.items():
            assert row[column] == pytest.approx(np.mean([getattr(risks, arm)[a] for a in plans]))


def test_intervals_hold_the_share_and_count_accounts(cut_accounts: CutAccounts) -> None:
    table = validity(cut_accounts, *planted(cut_accounts))
    for name, low, high in (
        ("kept", "kept_low", "kept_high"),
        ("kept_unshocked", "kept_unshocked_low", "kept_unshocked_high"),
    ):
        assert ((table[low] < table[name]) & (table[name] < table[high])).all()
        width = (table[high] - table[low]) / np.sqrt(
            table[name] * (1 - table[name]) / table["plans"]
        )
        assert width.is_between(3.0, 4.5).all(), "of accounts: of futures too it were half as wide"


def test_the_months_make_the_whole(cut_accounts: CutAccounts) -> None:
    followed, risks = planted(cut_accounts)
    months = validity_by_month(followed)
    assert months["month"].to_list() == [1, 2, 3]
    assert months["plans"].sum() == (followed.promised > 0).sum()
    mean = float(np.average(months["kept"], weights=months["plans"]))
    assert mean == pytest.approx(validity(cut_accounts, followed, risks)["kept"][0])


def test_where_everybody_was_struck_the_unshocked_are_unknown(cut_accounts: CutAccounts) -> None:
    followed, risks = planted(cut_accounts)
    struck = replace(followed, shocked=np.ones_like(followed.shocked))
    for table in (validity(cut_accounts, struck, risks), validity_by_month(struck)):
        for column in ("kept_unshocked", "kept_unshocked_low", "kept_unshocked_high"):
            assert table[column].null_count() == table.height
        assert table["kept"].null_count() == 0


def test_without_a_promise_there_is_nothing_to_tell(
    cut_accounts: CutAccounts, risks: PlanRisk
) -> None:
    silent = follow_plans(without_promises(cut_accounts))
    assert not silent.kept.any()
    assert validity(cut_accounts, silent, risks).is_empty()
    assert validity_by_month(silent).is_empty()
    assert isinstance(validity_by_month(silent), pl.DataFrame)
