from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.schema import PRODUCTS
from serving.decision.bundle import Bundle
from serving.decision.config.policy import Policy, read_policy
from serving.decision.policy.outcome import apply
from tests.support.each import each
from tests.support.paths import ROOT
from training.compare.policies.frontier import (
    PolicyLabError,
    best_under,
    efficient,
    frontier,
    toml_of,
    with_values,
)
from training.compare.policies.income_cap import ALL, UNKNOWN, cap_table, capped
from training.compare.policies.oracle import (
    TrueProbability,
    oracle_table,
    simulate_truth,
    true_frontier,
)
from training.compare.policies.portfolio import (
    Portfolio,
    accounts_of,
    limits_under,
    portfolio_of,
    served,
)
from training.data.config import DataConfig, DataError
from training.data.dataset import Source
from training.data.labels import soon_after
from training.data.simulate.config import SimulationConfig
from training.data.simulate.output import write
from training.evaluate.holdout import Evaluation, evaluate, select_hold_out


@pytest.fixture(scope="module")
def evaluated(bundle: Bundle, source: Source) -> Evaluation:
    return evaluate("champion", bundle, select_hold_out(source, DataConfig()))


@pytest.fixture(scope="module")
def book(evaluated: Evaluation) -> Portfolio:
    return portfolio_of(evaluated)


@pytest.fixture(scope="module")
def table(book: Portfolio, bundle: Bundle) -> pl.DataFrame:
    return frontier(book, bundle.policy, cut_offs=25)


@pytest.fixture(scope="module")
def truth(evaluated: Evaluation, simulated: Path) -> TrueProbability:
    return simulate_truth(evaluated.hold_out, simulated, 30)


def policies(policy: Policy) -> list[Policy]:
    """The served policy, changed in every way that moves a limit."""
    changed = [
        with_values(policy, harm, depth)
        for harm, depth in ((0.0, 8.0), (0.02, 0.0), (0.1, 0.5), (0.3, 2.0))
    ]
    for section, values in (
        ("economics", {"credit_conversion": 0.0}),
        ("economics", {"loss_given_default": 0.2}),
        ("cut", {"rounding": 70.0, "floor": 0.0, "headroom": 0.3, "largest_step": 0.8}),
        (
            "cut",
            {"minimum_cut_share": 0.0, "minimum_cut_amount": 0.0, "minimum_expected_loss": 0.0},
        ),
        ("suspend", {"probability": 0.1}),
        ("review", {"band": 0.7}),
    ):
        changed.append(replace(policy, **{section: replace(getattr(policy, section), **values)}))
    return changed


def test_the_operating_point_is_what_is_served_to_the_last_bit(
    evaluated: Evaluation, book: Portfolio
) -> None:
    after, cut = limits_under(book, evaluated.bundle.policy)
    limits, whose = served(evaluated)
    assert after.tolist() == limits.tolist()
    assert cut.tolist() == whose.tolist()
    assert limits.tolist() == evaluated.limits[1].tolist()
    assert cut[evaluated.cut].all()


@pytest.mark.parametrize("number", range(10))
def test_any_policy_over_arrays_is_the_served_code_one_by_one(
    evaluated: Evaluation, book: Portfolio, number: int
) -> None:
    policy = policies(evaluated.bundle.policy)[number]
    decided_at = soon_after(evaluated.hold_out.as_of)
    accounts = accounts_of(evaluated, evaluated.stages.features.accounts["as_of"].to_list())
    made = [apply(account, policy, decided_at) for account in accounts]
    # Rules round to the policy's grid: they are asked again where that changes.
    under = book if number != 6 else _with_rules(evaluated, policy)
    after, cut = limits_under(under, policy)
    assert after.tolist() == [
        one.new_limit if one.proposed_limit is None else one.proposed_limit for one in made
    ]
    assert (cut == ((after < book.limit) | np.array([one.suspends for one in made]))).all()


def _with_rules(evaluated: Evaluation, policy: Policy) -> Portfolio:
    return portfolio_of(replace(evaluated, bundle=replace(evaluated.bundle, policy=policy)))


def test_the_marked_point_counts_the_served_decisions(
    evaluated: Evaluation, table: pl.DataFrame
) -> None:
    point = table.filter("operating").row(0, named=True)
    after, cut = served(evaluated)
    good = evaluated.label == 0
    assert (point["accounts_cut"], point["good_cut"]) == (int(cut.sum()), float(cut[good].mean()))
    assert point["limit_cut"] == float((evaluated.limits[0] - after).sum())
    for product, cut_off in each(evaluated.bundle.policy.cut_offs(PRODUCTS).items()):
        assert point[f"cut_off_{product}"] == cut_off
    assert table["operating"].sum() == 1


def test_a_higher_cut_off_or_a_shallower_cut_never_cuts_more(table: pl.DataFrame) -> None:
    rest = table.filter(~pl.col("operating"))
    for along, held, falls in (("harm", "depth", False), ("depth", "harm", True)):
        for _, line in rest.sort(along, descending=falls).group_by(held, maintain_order=True):
            for column in ("good_cut", "loss_avoided", "accounts_cut", "limit_cut"):
                assert (np.diff(line[column].to_numpy()) <= 1e-6).all(), (held, column)
    assert rest["loss_avoided"].max() > 2 * rest["loss_avoided"].min()  # type: ignore[operator]


def test_the_efficient_points_rise_and_nothing_is_better(table: pl.DataFrame) -> None:
    best = table.filter("efficient").sort("good_cut")
    assert (np.diff(best["loss_avoided"].to_numpy()) > 0).all()
    for good, avoided in table.select("good_cut", "loss_avoided").iter_rows():
        assert best.filter(
            (pl.col("good_cut") <= good) & (pl.col("loss_avoided") >= avoided)
        ).height
    assert efficient(np.array([0.1, 0.1, 0.2, 0.3]), np.array([1.0, 2.0, 2.0, 3.0])).tolist() == [
        False,
        True,
        False,
        True,
    ]


def test_the_best_under_a_constraint_is_reached_by_what_it_says(
    bundle: Bundle, book: Portfolio, table: pl.DataFrame, evaluated: Evaluation
) -> None:
    best = best_under(table, 0.06)
    assert best["good_cut"] <= 0.06
    assert best["loss_avoided"] == table.filter(pl.col("good_cut") <= 0.06)["loss_avoided"].max()
    text = bundle_policy_text()
    for line in toml_of(best, bundle.policy).splitlines():
        name, *rest = line.partition(" = ")
        if rest[0]:
            number, _, was = rest[1].partition("  # was ")
            assert f"\n{name} = {float(was):.2f}\n" in text or f"\n{name} = {was}\n" in text
            text = text.replace(f"\n{name} = {float(was):.2f}\n", f"\n{name} = {number}\n")
            text = text.replace(f"\n{name} = {was}\n", f"\n{name} = {number}\n")
    written = read_policy(text, bundle.economics)
    after, cut = limits_under(book, written)
    assert int(cut.sum()) == best["accounts_cut"]
    assert float((book.limit - after).sum()) == best["limit_cut"]
    assert toml_of(table.row(0, named=True), bundle.policy) == "# as it stands"


def bundle_policy_text() -> str:
    return (ROOT / "serving" / "decision" / "config" / "policy.toml").read_text("utf-8")


@pytest.mark.parametrize(
    ("most", "told"), [(0.0, "by hard rules"), (1.5, "from 0 to 1"), (-0.1, "from 0 to 1")]
)
def test_a_constraint_that_nothing_meets_is_refused(
    table: pl.DataFrame, most: float, told: str
) -> None:
    with pytest.raises(PolicyLabError, match=told):
        best_under(table, most)


def test_the_oracle_is_worth_more_and_knows_what_happens(
    book: Portfolio, bundle: Bundle, truth: TrueProbability
) -> None:
    found = oracle_table(book, bundle.policy, truth)
    model, oracle = (
        found.filter(decided_by=who, outcome="expected").row(0, named=True)
        for who in ("model", "oracle")
    )
    assert oracle["share"] == 1
    assert 0 < model["share"] < 1
    assert model["share_low"] < model["share"] < model["share_high"]
    assert truth.probability.mean() == pytest.approx(book.label.mean(), abs=0.015)
    # The model handed the truth is the oracle, and a model that knows nothing is worth less than
    # ours.
    knowing = TrueProbability(np.array([truth.probability, truth.probability]))
    same = oracle_table(book.with_probability(truth.probability), bundle.policy, knowing)
    assert same["share"].to_list() == pytest.approx([1.0] * 4)
    shuffled = np.random.default_rng(0).permutation(book.probability)
    blind = oracle_table(book.with_probability(shuffled), bundle.policy, truth).row(0, named=True)
    assert blind["share"] < model["share_low"]


def test_the_oracle_does_not_profit_from_luck(book: Portfolio, bundle: Bundle) -> None:
    # Nobody differs, but the futures do: who decides by their luck is valued by other luck, and
    # wins nothing.
    random = np.random.default_rng(4)
    same = TrueProbability(random.binomial(4, 0.05, (2, len(book.label))) / 4)
    found = oracle_table(book, bundle.policy, same).filter(decided_by="oracle", outcome="expected")
    assert found["value"][0] < 0


def test_by_the_truth_the_oracle_avoids_more_for_as_many_good_customers(
    book: Portfolio, bundle: Bundle, truth: TrueProbability
) -> None:
    curves = true_frontier(
        book, [with_values(bundle.policy, p, 0.5) for p in (0.05, 0.1, 0.2, 0.4)], truth
    )
    model, oracle = (curves.filter(decided_by=who).sort("good_cut") for who in ("model", "oracle"))
    inside = model.filter(
        pl.col("good_cut").is_between(oracle["good_cut"].min(), oracle["good_cut"].max())
    )
    assert inside.height
    there = np.interp(inside["good_cut"], oracle["good_cut"], oracle["loss_avoided_share"])
    assert (inside["loss_avoided_share"].to_numpy() < there).all()


def test_the_truth_of_another_simulation_is_refused(
    evaluated: Evaluation, simulated: Path, tmp_path: Path
) -> None:
    write(SimulationConfig(accounts=6000, seed=8), tmp_path)
    with pytest.raises(DataError, match="other statements"):
        simulate_truth(evaluated.hold_out, tmp_path, 2)
    with pytest.raises(DataError, match="found no such file"):
        simulate_truth(evaluated.hold_out, tmp_path / "none", 2)
    with pytest.raises(DataError, match="at least 2"):
        simulate_truth(evaluated.hold_out, simulated, 1)


def test_a_cap_is_what_the_served_policy_would_do_with_it(evaluated: Evaluation) -> None:
    month = datetime.date(2026, 12, 1)
    found = cap_table(evaluated, 3.0, month)
    features = evaluated.stages.features
    income, limit, balance = (
        features.column(name) for name in ("income", "limit_now", "balance_now")
    )
    decided, _ = served(evaluated)
    cap = np.floor(3.0 * income / 100 + 1e-9) * 100
    owed = np.maximum(balance, 0)
    with_interest = owed + evaluated.bundle.policy.terms.monthly_rate * owed
    lowest = np.minimum(limit, np.maximum(cap, np.ceil(with_interest / 100 - 1e-9) * 100))
    hit = ~np.isnan(income) & (lowest < decided)
    whole = found.filter(product=ALL).row(0, named=True)
    # Nothing else moves by December but the six-month rule that the asked cap stands in for, and is
    # stricter than.
    assert whole["affected"] == int(hit.sum()) > 0
    assert whole["reduction"] == pytest.approx(float((decided - lowest)[hit].sum()))
    assert whole["released"] == 0
    by_band = found.filter((pl.col("band") != ALL) & (pl.col("product") != ALL))
    assert by_band["affected"].sum() == whole["affected"]
    assert found.filter(band=UNKNOWN)["affected"].sum() == 0
    wide = cap_table(evaluated, 1000.0, month).filter(product=ALL).row(0, named=True)
    assert (wide["affected"], wide["reduction"]) == (0, 0)
    assert wide["released"] > 0


@pytest.mark.parametrize("multiple", [0.0, -1.0, float("nan"), float("inf")])
def test_a_cap_that_is_none_is_refused(bundle: Bundle, multiple: float) -> None:
    with pytest.raises(PolicyLabError, match="above 0"):
        capped(bundle.policy, multiple, datetime.date(2026, 12, 1))
