from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from features.types import Matrix, Vector
from features.window import lay_out
from serving.decision.reasons.naming import group_of
from tests.support.each import each
from training.examine.reasons import true_causes
from training.examine.reasons.effects import compute_effects, levels_of, medians_of
from training.examine.reasons.rankings import GROUPS, rank_groups
from training.examine.reasons.true_causes import (
    TrueEffects,
    agreement_with_causes,
    mean_effects,
    simulate_effects,
    symptoms,
)
from training.examine.truth.cut_accounts import CutAccounts
from training.examine.truth.drivers import DRIVERS, state_without_driver
from training.examine.truth.futures import default_probability, untreated
from training.examine.truth.population import LOOKBACK

FUTURES = 20
MEASURES = ("top_1", "top_4", "rank_correlation")


@pytest.fixture(autouse=True)
def small_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here asserts how good the forest is, and 400 trees are most of their time."""
    monkeypatch.setattr(true_causes, "_TREES", 10)


@pytest.fixture(scope="module")
def true(cut_accounts: CutAccounts) -> TrueEffects:
    return simulate_effects(cut_accounts, FUTURES)


def planted(causes: Matrix, hidden: float = 0.0, error: float = 0.0) -> TrueEffects:
    """True effects of the groups, (accounts, GROUPS), with this standard error."""
    by_driver: dict[str, Vector] = {driver: np.full(len(causes), hidden) for driver in DRIVERS}
    by_driver |= {group: causes[:, place] for place, group in enumerate(GROUPS)}
    errors: dict[str, Vector] = {driver: np.full(len(causes), error) for driver in DRIVERS}
    return TrueEffects(
        by_driver, errors, {driver: (values, values) for driver, values in by_driver.items()}
    )


@pytest.fixture(scope="module")
def causes(cut_accounts: CutAccounts) -> Matrix:
    """Each account's groups in its own order, all with some effect."""
    random = np.random.default_rng(0)
    return np.array(
        [random.permutation(np.arange(1.0, len(GROUPS) + 1)) for _ in range(len(cut_accounts))]
    )


def contributing(cut: CutAccounts, weights: Matrix) -> CutAccounts:
    """The same accounts with contributions that sum to these weights.

    A sentence may name each of the features planted: its product has it, its value is unknown, and
    the one comparison account's is known, which is better.
    """
    contributions, matrix = np.zeros_like(cut.contributions), cut.matrix.copy()
    groups = [group_of(name) for name in cut.bundle.features]
    for place, group in enumerate(GROUPS):
        contributions[:, groups.index(group)] = weights[:, place]
        matrix[:, groups.index(group)] = np.nan
    comparisons = {
        product: replace(
            comparison, product="pay_later", size=1, known=dict.fromkeys(comparison.known, (0.0,))
        )
        for product, comparison in cut.bundle.comparisons.items()
    }
    bundle = replace(cut.bundle, comparisons=comparisons)
    return replace(cut, contributions=contributions, matrix=matrix, bundle=bundle)


def row(table: pl.DataFrame, name: str) -> Mapping[str, float]:
    return table.row(by_predicate=pl.col("explained_by") == name, named=True)


@pytest.mark.slow
def test_an_effect_is_what_the_driver_takes_off_the_probability(
    cut_accounts: CutAccounts, true: TrueEffects
) -> None:
    world, config = cut_accounts.population, untreated(cut_accounts.population.config)
    before = world.state_before.take(cut_accounts.places)
    levels = levels_of(medians_of(cut_accounts.bundle), cut_accounts.products.tolist())
    as_it_was = default_probability(world.state.take(cut_accounts.places), config, FUTURES)
    for driver in DRIVERS:
        changed = default_probability(
            state_without_driver(before, LOOKBACK, world.config, driver, levels), config, FUTURES
        )
        assert true.effect[driver] == pytest.approx(as_it_was - changed, abs=1e-12), driver
    assert np.array_equal(
        true.of_groups(), np.column_stack([true.effect[group] for group in GROUPS])
    )
    assert true.effect["high_utilization"].mean() > 0
    assert true.effect["hidden"].mean() > 0


def test_halves_average_to_the_effect(true: TrueEffects) -> None:
    for driver in DRIVERS:
        one, other = true.halves[driver]
        assert (one + other) / 2 == pytest.approx(true.effect[driver], abs=1e-12)
        assert not np.array_equal(one, other)


@pytest.mark.slow
def test_an_error_is_that_of_a_mean_of_futures(cut_accounts: CutAccounts) -> None:
    shorter, longer = (simulate_effects(cut_accounts, futures) for futures in (10, 40))
    for driver in DRIVERS:
        # A difference of outcomes is -1, 0 or 1: spread most where it is one of the two ends.
        effect, error = shorter.effect[driver], shorter.error[driver]
        assert (error <= np.sqrt((1 - effect**2) / 9) + 1e-12).all()
        assert (error[(effect != 0) & (np.abs(effect) < 1)] > 0).all()
    ratio = np.mean([longer.error[d].mean() for d in DRIVERS]) / np.mean(
        [shorter.error[d].mean() for d in DRIVERS]
    )
    assert ratio == pytest.approx(0.5, abs=0.1), "four times the futures, half the error"


@pytest.mark.slow
def test_nothing_is_a_cause_at_levels_that_are_not_known(cut_accounts: CutAccounts) -> None:
    comparisons = {
        product: replace(comparison, medians=dict.fromkeys(comparison.medians, float("nan")))
        for product, comparison in cut_accounts.bundle.comparisons.items()
    }
    bundle = replace(cut_accounts.bundle, comparisons=comparisons)
    found = simulate_effects(replace(cut_accounts, bundle=bundle), 4)
    for driver in DRIVERS:
        assert found.effect[driver].any() == (driver in ("repayment", "hidden")), driver


def test_a_cause_is_above_twice_its_error(cut_accounts: CutAccounts, causes: Matrix) -> None:
    most = float(len(GROUPS))
    assert planted(causes, error=most / 2 - 0.01).have_cause().all()
    assert not planted(causes, error=most / 2).have_cause().any()
    assert not planted(-causes, hidden=1.0).have_cause().any(), (
        "what is hidden is no reason group's"
    )


def test_reasons_that_are_the_causes_are_all_right(
    cut_accounts: CutAccounts, causes: Matrix
) -> None:
    served = row(
        agreement_with_causes(contributing(cut_accounts, causes), planted(causes)), "served"
    )
    assert served["accounts"] == len(cut_accounts)
    for measure in MEASURES:
        assert (
            served[measure]
            == served[f"{measure}_low"]
            == served[f"{measure}_high"]
            == pytest.approx(1.0)
        )


def test_reasons_turned_round_are_all_wrong(cut_accounts: CutAccounts, causes: Matrix) -> None:
    served = row(
        agreement_with_causes(
            contributing(cut_accounts, len(GROUPS) + 1 - causes), planted(causes)
        ),
        "served",
    )
    assert (served["top_1"], served["top_4"]) == (0.0, 0.0)
    assert served["rank_correlation"] == pytest.approx(-1.0)


@pytest.mark.slow
def test_the_second_cause_first_is_among_the_reasons_and_not_the_first(
    cut_accounts: CutAccounts, causes: Matrix
) -> None:
    most = len(GROUPS)
    swapped = np.where(causes == most, most - 1, np.where(causes == most - 1, most, causes))
    served = row(
        agreement_with_causes(contributing(cut_accounts, swapped), planted(causes)), "served"
    )
    assert (served["top_1"], served["top_4"]) == (0.0, 1.0)
    assert 0.9 < served["rank_correlation"] < 1.0


@pytest.mark.slow
def test_random_is_what_random_orders_reach(cut_accounts: CutAccounts, causes: Matrix) -> None:
    told = row(agreement_with_causes(cut_accounts, planted(causes)), "random")
    every = sorted({group_of(name) for name in cut_accounts.bundle.features})
    assert set(GROUPS) < set(every)
    random, draws = np.random.default_rng(1), 20_000
    place = random.permuted(np.tile(np.arange(len(every)), (draws, 1)), axis=1)[
        :, every.index(GROUPS[2])
    ]
    for measure, hits in (
        ("top_1", place == 0),
        ("top_4", place < cut_accounts.bundle.wording.most),
    ):
        assert told[measure] == pytest.approx(hits.mean(), abs=4 * hits.std() / np.sqrt(draws))
    assert told["rank_correlation"] == 0.0


def test_intervals_hold_their_point_and_only_who_has_a_cause_counts(
    cut_accounts: CutAccounts, true: TrueEffects
) -> None:
    table = agreement_with_causes(cut_accounts, true)
    assert table["explained_by"].to_list() == [
        "served",
        "path_dependent",
        "effects",
        "gain",
        "commonest",
        "random",
        "relived_by_simulator",
        "trained_on_truth",
        "futures",
    ]
    assert (table["accounts"] == true.have_cause().sum()).all()
    assert 0 < true.have_cause().sum() < len(cut_accounts)
    for measure in MEASURES:
        known = table.drop_nulls(measure)
        assert (known[f"{measure}_low"] <= known[measure] + 1e-12).all()
        assert (known[measure] <= known[f"{measure}_high"] + 1e-12).all()
        assert known.height == {"top_1": 9, "top_4": 8, "rank_correlation": 7}[measure]
    assert row(table, "served")["top_1_low"] < row(table, "served")["top_1_high"]


def test_without_a_cause_nothing_is_known(cut_accounts: CutAccounts, causes: Matrix) -> None:
    table = agreement_with_causes(cut_accounts, planted(causes, error=100.0))
    assert (table["accounts"] == 0).all()
    assert all(table[measure].null_count() == table.height for measure in MEASURES)


@pytest.mark.slow
def test_futures_that_agree_foretell_each_other(
    cut_accounts: CutAccounts, causes: Matrix, true: TrueEffects
) -> None:
    sure = row(agreement_with_causes(cut_accounts, planted(causes)), "futures")
    assert sure["top_1"] == 1.0
    assert sure["rank_correlation"] == pytest.approx(1.0)
    assert row(agreement_with_causes(cut_accounts, true), "futures")["top_1"] < 1.0


def test_the_served_ranking_is_what_was_told(cut_accounts: CutAccounts) -> None:
    found = rank_groups(cut_accounts)
    served, by_effect = found["served"], found["effects"]
    groups = np.array([group_of(name) for name in cut_accounts.bundle.features])
    for account, advised in enumerate(cut_accounts.advised):
        told = tuple(reason.code for reason in advised.decision.reasons if reason.share is not None)
        assert served.stated[account][: len(told)] == told
        own = [cut_accounts.contributions[account, groups == group].sum() for group in GROUPS]
        assert served.weights[account] == pytest.approx(own, abs=1e-12)
    assert served.stated != by_effect.stated


def test_the_ranking_by_effects_states_the_largest(cut_accounts: CutAccounts) -> None:
    window = lay_out(cut_accounts.statements)
    effects = compute_effects(window, cut_accounts.products.tolist(), cut_accounts.bundle)
    ranking = rank_groups(cut_accounts)["effects"]
    assert np.array_equal(ranking.weights, np.nan_to_num(effects))
    for account, stated in enumerate(each(ranking.stated)):
        own = dict(zip(GROUPS, effects[account].tolist(), strict=True))
        pushing = {group: effect for group, effect in own.items() if effect > 0}
        largest = sorted(pushing, key=lambda group: -pushing[group])
        assert list(stated) == largest[: cut_accounts.bundle.wording.most]


def test_the_path_dependent_ranking_is_lightgbm_s(cut_accounts: CutAccounts) -> None:
    scorer = cut_accounts.bundle.scorer
    own = (
        np.asarray(scorer.model.predict(cut_accounts.matrix, pred_contrib=True))[:, :-1]
        * scorer.calibration.slope
    )
    groups = np.array([group_of(name) for name in cut_accounts.bundle.features])
    expected = np.column_stack([own[:, groups == group].sum(axis=1) for group in GROUPS])
    ranking = rank_groups(cut_accounts)["path_dependent"]
    assert ranking.weights == pytest.approx(expected, abs=1e-9)
    every = {group: own[:, groups == group].sum(axis=1) for group in set(groups.tolist())}
    for account, reasons in enumerate(each(ranking.stated)):
        stated = [float(every[reason][account]) for reason in reasons]
        assert stated == sorted(stated, reverse=True)
        assert all(value > 0 for value in stated)


def test_the_gain_s_ranking_is_one_for_all(cut_accounts: CutAccounts) -> None:
    model = cut_accounts.bundle.scorer.model
    gain: dict[str, float] = {}
    for name, value in zip(model.feature_name(), model.feature_importance("gain"), strict=True):
        gain[group_of(name)] = gain.get(group_of(name), 0.0) + value
    ranking = rank_groups(cut_accounts)["gain"]
    assert len(set(ranking.stated)) == 1
    assert (
        list(ranking.stated[0])
        == sorted(gain, key=lambda group: -gain[group])[: cut_accounts.bundle.wording.most]
    )
    assert ranking.weights == pytest.approx(
        np.tile([gain[group] for group in GROUPS], (len(cut_accounts), 1))
    )


def test_symptoms_are_shares_of_whom_each_reason_is_told(
    cut_accounts: CutAccounts, true: TrueEffects
) -> None:
    table = symptoms(cut_accounts, true)
    shares = table.select(*DRIVERS, "none")
    assert shares.sum_horizontal().to_list() == pytest.approx([1.0] * table.height)
    assert table["first_reason"][0] == "all"
    reasons = table[1:]
    assert table["accounts"][0] == reasons["accounts"].sum() == len(cut_accounts)
    first = [advised.decision.reasons[0].code for advised in cut_accounts.advised]
    assert dict(reasons.select("first_reason", "accounts").iter_rows()) == {
        code: first.count(code) for code in set(first)
    }
    for column in shares.columns:
        mean = np.average(reasons[column], weights=reasons["accounts"])
        assert table[column][0] == pytest.approx(mean)


@pytest.mark.parametrize(
    ("hidden", "error", "column"),
    [(9.0, 0.0, "hidden"), (0.0, 0.0, "repayment"), (9.0, 5.0, "none")],
)
def test_a_symptom_s_cause_is_the_largest_that_is_sure(
    hidden: float, error: float, column: str, cut_accounts: CutAccounts
) -> None:
    causes = np.tile(np.arange(len(GROUPS), 0, -1.0), (len(cut_accounts), 1))
    assert (GROUPS[0], causes[0, 0]) == ("repayment", 6.0)
    table = symptoms(cut_accounts, planted(causes, hidden, error))
    assert set(table[column]) == {1.0}


def test_mean_effects_are_means_and_shares(true: TrueEffects, causes: Matrix) -> None:
    table = mean_effects(true)
    assert table["driver"].to_list() == list(DRIVERS)
    for driver, effect, share in table.iter_rows():
        assert effect == pytest.approx(true.effect[driver].mean())
        assert share == np.mean(
            [e > 2 * s for e, s in zip(true.effect[driver], true.error[driver], strict=True)]
        )
    assert mean_effects(planted(causes, hidden=1.0, error=2.0))["share"].to_list()[-1] == 0.0
