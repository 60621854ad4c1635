"""Value, decisions that change and the verdict: against the decisions themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from serving.decision.bundle import Bundle, assemble
from serving.decision.config.economics import utilization_fifth
from serving.decision.policy.limit import exposure
from tests.support.each import each
from training.compare.models.changes import ACTIONS, actions, changes, reasons
from training.compare.models.value import PER, value, worth
from training.compare.models.verdict import DECIDING, ModelVerdict, judge
from training.compare.policies.portfolio import portfolio_of
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.labels import Labelled
from training.evaluate.holdout import Evaluation, evaluate, select_hold_out
from training.fit.bundle import BundleConfig, FitResult, choose_references, make_parts
from training.fit.fit import Fitted


@pytest.fixture(scope="module")
def pair(
    bundle: Bundle, fitted: Fitted, data: Labelled, source: Source, simulated: Path
) -> tuple[Evaluation, Evaluation]:
    """The session's model, and the same with probabilities nearly twice as high."""
    on = select_hold_out(source, DataConfig(), simulated)
    config = BundleConfig(reference_size=200)
    shifted = replace(
        fitted,
        calibration=replace(fitted.calibration, intercept=fitted.calibration.intercept + 0.6),
    )
    references = choose_references(fitted, data, config)
    stricter = assemble(make_parts(FitResult(shifted, data, source, config), references))
    return evaluate("first", bundle, on), evaluate("second", stricter, on)


def test_value_is_the_formula_account_by_account(pair: tuple[Evaluation, Evaluation]) -> None:
    for model in pair:
        economics, policy = model.bundle.policy.economics, model.bundle.policy
        book = portfolio_of(model)
        by_rules, table = book.rule_limit, worth(model, book, policy)
        for place in each(np.flatnonzero(model.cut)[::5].tolist()):
            decision, before = model.stages.decisions[place], float(by_rules[place])
            values = dict(model.stages.evidence[place].values)
            after = (
                decision.new_limit if decision.proposed_limit is None else decision.proposed_limit
            )
            balance = np.array(values["balance_now"])
            own = economics.of(decision.product)
            fifth = utilization_fifth(np.array(values["limit_now"]), balance)
            conversion = np.array(own.conversions)[fifth]
            exposed = [exposure(np.array(limit), balance, conversion) for limit in (before, after)]
            saved = economics.loss_given_default * (exposed[0] - exposed[1])
            cost = (own.margin + economics.harm) * (before - after)
            assert table["value"][place] == pytest.approx(saved if model.label[place] else -cost)
            by_model = model.stages.outcomes[place].by_model
            # what rules take is no doing of the model's
            assert by_model or table["value"][place] == 0
        assert (table["value"].to_numpy()[~model.cut] == 0).all()
        assert (table["taken"].to_numpy() >= 0).all()


def test_a_difference_of_value_is_of_the_same_accounts(pair: tuple[Evaluation, Evaluation]) -> None:
    first, second = value(pair).iter_rows(named=True)
    assert first["difference"] == first["low"] == first["high"] == 0
    assert first["favours"] == "neither"
    book, policy = portfolio_of(pair[0]), pair[0].bundle.policy
    totals = [float(worth(model, book, policy)["value"].to_numpy().mean()) * PER for model in pair]
    assert (first["value"], second["value"]) == pytest.approx(totals)
    assert second["difference"] == pytest.approx(totals[1] - totals[0])
    assert second["low"] < second["difference"] < second["high"]
    assert second["value"] == pytest.approx(
        second["avoided"] - second["forgone"] - second["harmed"]
    )
    # The economics are the first model's, and are learnt near its own cut-offs.
    same_policy = replace(pair[1], bundle=replace(pair[1].bundle, policy=policy))
    back = value((same_policy, pair[0])).row(1, named=True)
    assert (back["difference"], back["low"], back["high"]) == pytest.approx(
        (-second["difference"], -second["high"], -second["low"])
    )


def test_the_table_of_actions_counts_everybody(pair: tuple[Evaluation, Evaluation]) -> None:
    for row, model in each(zip(actions(pair).iter_rows(named=True), pair, strict=True)):
        assert sum(row[action] for action in ACTIONS) == row["accounts"] == len(model.label)
        assert row["cut"] == model.cut.sum()
        assert row["defaults_cut"] == pytest.approx(
            model.label[model.cut].sum() / model.label.sum()
        )


def test_who_is_newly_cut_one_way_is_spared_the_other(pair: tuple[Evaluation, Evaluation]) -> None:
    there, back = changes(*pair), changes(*pair[::-1])
    assert there.select("accounts", "both").equals(back.select("accounts", "both"))
    assert there["newly_cut"].to_list() == back["spared"].to_list()
    assert there["newly_cut_rate"].to_list() == back["spared_rate"].to_list()
    whole, parts = there.filter(product="all"), there.filter(pl.col("product") != "all")
    for name in ("accounts", "both", "newly_cut", "spared", "amount_first", "amount_second"):
        assert parts[name].sum() == pytest.approx(whole[name].item())
    assert whole["newly_cut"].item() == (pair[1].cut & ~pair[0].cut).sum() > 10
    assert whole["amount_second"].item() > whole["amount_first"].item()


def test_the_reasons_of_who_is_newly_cut_are_the_second_model_s(
    pair: tuple[Evaluation, Evaluation],
) -> None:
    table = reasons(*pair)
    newly = pair[1].cut & ~pair[0].cut
    counted = dict(table.select("code", "newly_cut").iter_rows())
    assert sum(counted.values()) == newly.sum()
    for code, times in counted.items():
        assert times == (pair[1].first_reasons[newly] == code).sum()
    assert table["first"].sum() == pair[0].cut.sum()


def sides(**favours: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The two tables that decide a verdict: every measure at neither, except those given."""
    said = dict.fromkeys(DECIDING, "neither") | favours
    measures = [name for name in DECIDING if name != "value"]
    table = pl.DataFrame({"measure": measures, "favours": [said[name] for name in measures]})
    return table, pl.DataFrame({"model": ["b"], "favours": [said["value"]]})


@pytest.mark.parametrize(
    ("favours", "better"),
    [
        ({}, False),
        ({"auc": "second"}, True),
        ({"value": "second"}, True),
        ({"auc": "second", "value": "first"}, False),
    ],
)
def test_better_is_something_won_and_nothing_lost(favours: dict[str, str], better: bool) -> None:
    found = judge("a", "b", *sides(**favours))
    assert found.better == better
    assert ("not better" in str(found)) != better


def test_a_verdict_names_what_is_worse() -> None:
    assert (
        str(judge("a", "b", *sides(auc="first")))
        == "b is not better than a: auc worse beyond noise"
    )
    assert (
        str(ModelVerdict("a", "b", False, (), ()))
        == "b is not better than a: nothing differs beyond noise"
    )
