from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from serving.decision.bundle import Bundle
from training.data.config import DataConfig
from training.data.dataset import Source
from training.evaluate.fairness import (
    GROUP_SCHEMA,
    IMPACT_SCHEMA,
    PROXY_SCHEMA,
    group_table,
    impact,
    proxies,
)
from training.evaluate.holdout import GROUPS, Evaluation, evaluate, select_hold_out


@pytest.fixture(scope="module")
def evaluated(bundle: Bundle, source: Source, simulated: Path) -> Evaluation:
    return evaluate("champion", bundle, select_hold_out(source, DataConfig(), simulated))


def grouped(evaluated: Evaluation, **groups: np.ndarray) -> Evaluation:
    """The same with other people in it."""
    people = evaluated.hold_out.people.with_columns(
        pl.Series(name, values.tolist(), pl.String) for name, values in groups.items()
    )
    return replace(evaluated, hold_out=replace(evaluated.hold_out, people=people))


def drawn(evaluated: Evaluation, chance: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """``b`` with that chance by cut or not, else ``a``."""
    return np.where(
        np.random.default_rng(5).random(len(evaluated.label)) < chance(evaluated.cut), "b", "a"
    )


def test_rates_are_those_of_the_accounts(evaluated: Evaluation) -> None:
    table = group_table(evaluated)
    assert dict(table.schema) == GROUP_SCHEMA
    people = evaluated.hold_out.people.with_columns(
        cut=pl.Series(evaluated.cut),
        label=pl.Series(evaluated.label),
        probability=pl.Series(evaluated.probability),
    )
    for names in (["gender"], ["age_band"], ["age_band", "region"], list(GROUPS)):
        mine = table.filter(attribute=" x ".join(names)).sort("group")
        group = pl.concat_str(names, separator=" x ").alias("group")
        good = pl.col("cut").filter(pl.col("label") == 0)
        gap = (pl.col("label") - pl.col("probability")).mean()
        theirs = people.group_by(group).agg(
            pl.len(), pl.col("cut").mean(), good.mean().alias("false"), gap.alias("gap")
        )
        theirs = theirs.sort("group")
        assert mine["group"].to_list() == theirs["group"].to_list()
        assert mine["accounts"].to_list() == theirs["len"].to_list()
        for column, there in (
            ("selection_rate", "cut"),
            ("false_reduction_rate", "false"),
            ("calibration_gap", "gap"),
        ):
            np.testing.assert_allclose(
                mine[column].to_numpy(), theirs[there].to_numpy(), atol=1e-12
            )


def test_a_small_group_is_kept_with_an_interval_as_wide_as_what_is_known(
    evaluated: Evaluation,
) -> None:
    alone = np.full(len(evaluated.label), "a", dtype="U3")
    kept = int(np.flatnonzero(~evaluated.cut & (evaluated.label == 0))[0])
    defaulted = int(np.flatnonzero(evaluated.label == 1)[0])
    alone[kept], alone[defaulted] = "one", "bad"
    table = group_table(grouped(evaluated, gender=alone)).filter(attribute="gender")
    one, bad = (table.filter(group=name).row(0, named=True) for name in ("one", "bad"))
    assert (one["accounts"], one["selection_rate"], one["selection_low"]) == (1, 0, 0)
    # 3.84 / 4.84: one account, nothing seen
    assert one["selection_high"] == pytest.approx(0.7935, abs=1e-3)
    assert [bad[f"false_reduction_{end}"] for end in ("rate", "low", "high")] == [None, None, None]
    ratio = impact(table).row(0, named=True)
    # neither is 2 % of the accounts: nobody is left to compare with
    assert ratio["worst_group"] is None


@pytest.mark.slow
def test_planted_unfairness_is_found_and_chance_is_not(evaluated: Evaluation) -> None:
    unfair = impact(
        group_table(
            grouped(evaluated, gender=drawn(evaluated, lambda cut: np.where(cut, 0.9, 0.1)))
        )
    )
    row = unfair.filter(attribute="gender").row(0, named=True)
    assert dict(unfair.schema) == IMPACT_SCHEMA
    assert (
        row["worst_group"],
        row["high"] < 0.8,
        row["low"] < row["adverse_impact_ratio"] < row["high"],
    ) == ("b", True, True)
    fair = impact(
        group_table(grouped(evaluated, gender=drawn(evaluated, lambda cut: np.full(len(cut), 0.3))))
    )
    row = fair.filter(attribute="gender").row(0, named=True)
    assert row["low"] < 1 <= row["high"]
    assert row["adverse_impact_ratio"] > 0.8


def test_the_direction_is_that_of_keeping_the_limit() -> None:
    table = pl.DataFrame(
        {"attribute": "gender", "group": ["a", "b"], "accounts": 1000, "selection_rate": [0.1, 0.4]}
    )
    row = impact(table).row(0, named=True)
    assert row["adverse_impact_ratio"] == pytest.approx(0.6 / 0.9)  # not 0.1 / 0.4
    assert row["worst_group"] == "b"


def test_the_interval_holds_though_the_pair_was_picked_after_looking() -> None:
    random = np.random.default_rng(1)
    missed = 0
    for _ in range(300):
        cut = random.binomial(200, 0.2, 6) / 200
        names = [f"g{number}" for number in range(6)]
        table = pl.DataFrame(
            {"attribute": "age_band", "group": names, "accounts": 200, "selection_rate": cut}
        )
        missed += impact(table)["high"][0] < 1
    assert missed <= 0.05 * 300 + 10


def test_who_is_not_known_is_a_group(evaluated: Evaluation) -> None:
    nobody = grouped(evaluated, **{name: np.full(len(evaluated.label), None) for name in GROUPS})
    table = group_table(nobody)
    assert set(table["group"].to_list()) == {
        "unknown",
        "unknown x unknown",
        "unknown x unknown x unknown",
    }
    assert impact(table)["adverse_impact_ratio"].null_count() == 7
    assert proxies(nobody)["auc"].null_count() == 3


def test_a_planted_proxy_is_found_and_a_coin_is_not(evaluated: Evaluation) -> None:
    limit = evaluated.stages.features.column(evaluated.bundle.features[0])
    told = np.where(limit > np.nanmedian(limit), "b", "a")
    coin = drawn(evaluated, lambda cut: np.full(len(cut), 0.5))
    few = np.where(np.arange(len(coin)) < 3, "few", coin)
    table = proxies(grouped(evaluated, gender=told, age_band=coin, region=few))
    assert dict(table.schema) == PROXY_SCHEMA
    assert table.filter(attribute="gender")["low"].min() > 0.95  # type: ignore[operator]
    fair = table.filter(attribute="age_band").row(0, named=True)
    assert fair["low"] - 0.02 < 0.5 < fair["high"] + 0.02
    assert table.filter(attribute="region", group="few").row(0)[2:] == (3, None, None, None)
