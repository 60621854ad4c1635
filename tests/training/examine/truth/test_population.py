from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from training.data.config import DataConfig, DataError
from training.data.labels import choose_as_ofs, label_accounts_at, select_windows
from training.data.simulate import behaviour
from training.data.simulate.config import SimulationConfig
from training.data.simulate.output import simulate, write
from training.data.splits import Split
from training.examine.truth.population import (
    ExamineConfig,
    Population,
    draw_population,
    simulation_of,
)

SMALL = ExamineConfig(accounts=400, seed=11)
EVERYBODY: frozenset[Split] = frozenset({"train", "valid", "test"})


def statements_of(world: Population) -> pl.DataFrame:
    """All statements that the simulation of a population's config gives."""
    return next(simulate(world.config)).statements


def test_a_world_is_not_the_data_that_the_model_saw() -> None:
    with pytest.raises(DataError, match="another seed than the data's, got 11 for both"):
        draw_population(SimulationConfig(seed=11), SMALL)


def test_a_year_before_the_decision_and_the_outcome_after_it_lie_within_the_months() -> None:
    with pytest.raises(DataError, match="at least 19 months, got 18"):
        draw_population(SimulationConfig(months=18), SMALL)
    shortest = draw_population(SimulationConfig(months=19), SMALL)
    assert (shortest.state.months_done, shortest.state_before.months_done) == (13, 1)
    assert [number for number, _ in shortest.months] == list(range(13))


def test_a_folder_tells_the_simulation_that_it_holds(simulated: Path, tmp_path: Path) -> None:
    assert simulation_of(simulated) == SimulationConfig(accounts=6000, seed=7)
    config = SimulationConfig(
        accounts=20, months=3, seed=5, median_income=7321.25, shock_rate=0.1, cap_phase_in_months=7
    )
    write(config, tmp_path / "other")
    assert simulation_of(tmp_path / "other") == config


def test_a_folder_without_a_simulation_is_refused(simulated: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected simulated data") as refused:
        simulation_of(tmp_path)
    assert str(refused.value).startswith(str(tmp_path / "simulation.json"))
    summary = json.loads((simulated / "simulation.json").read_text(encoding="utf-8"))
    summary["config"]["moon"] = summary["config"].pop("shock_rate")
    (tmp_path / "simulation.json").write_text(json.dumps(summary), encoding="utf-8")
    with pytest.raises(DataError, match=r"differs in \['moon', 'shock_rate'\]") as refused:
        simulation_of(tmp_path)
    assert str(refused.value).startswith(str(tmp_path / "simulation.json"))


def test_the_digest_is_of_everything_simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    world = draw_population(SimulationConfig(), SMALL)
    assert draw_population(SimulationConfig(), SMALL).digest == world.digest
    others = [
        draw_population(SimulationConfig(), replace(SMALL, seed=12)).digest,
        draw_population(SimulationConfig(), replace(SMALL, accounts=401)).digest,
        draw_population(SimulationConfig(shock_rate=1.01), SMALL).digest,
    ]
    for name in ("_APPETITE_KEPT", "_NEAR"):
        with monkeypatch.context() as changed:
            changed.setattr(behaviour, name, getattr(behaviour, name) * 1.001)
            others.append(draw_population(SimulationConfig(), SMALL).digest)
    assert len({world.digest, *others}) == 6


def test_the_data_s_seed_and_size_are_nothing_to_it() -> None:
    assert (
        draw_population(SimulationConfig(seed=5, accounts=70), SMALL).digest
        == draw_population(SimulationConfig(seed=6), SMALL).digest
    )


def test_statements_are_the_windows_of_the_simulation_s_own(examined: Population) -> None:
    everything = statements_of(examined)
    assert examined.as_of == choose_as_ofs(everything["month"], DataConfig())[-1][0], (
        "the model's hold-out is at the same month"
    )
    seen = select_windows(everything, examined.as_of)
    well = seen.filter((pl.col("month") == examined.as_of) & (pl.col("days_past_due") < 60))[
        "account_id"
    ]
    assert 0 < well.len() < seen["account_id"].n_unique()
    expected = seen.filter(pl.col("account_id").is_in(well.implode()))
    assert examined.statements.select(expected.columns).equals(expected)


def test_nobody_in_default_is_decided_on(examined: Population) -> None:
    last = examined.statements.filter(pl.col("month") == examined.as_of)
    assert last.height == examined.statements["account_id"].n_unique()
    assert last["days_past_due"].max() < 60  # type: ignore[operator]
    places = examined.places(last["account_id"])
    assert not examined.state.ended[places].any()
    assert np.array_equal(examined.state.days_past_due[places], last["days_past_due"].to_numpy())
    assert (examined.state.days_past_due >= 60).any(), "nothing to tell"


def test_names_and_places_are_each_other_s_inverse(examined: Population) -> None:
    assert np.array_equal(examined.places(examined.names), np.arange(examined.config.accounts))
    drawn = np.random.default_rng(0).permutation(examined.config.accounts)[:50]
    assert np.array_equal(examined.places(examined.names[drawn]), drawn)


def test_what_is_realised_is_the_label_of_a_simulation_that_cuts_nobody() -> None:
    world = draw_population(
        SimulationConfig(incumbent_cut_rate=0.0), ExamineConfig(accounts=3_000, seed=3)
    )
    data = label_accounts_at(statements_of(world), world.as_of, EVERYBODY, DataConfig())
    places = world.places(data.features.accounts["account_id"])
    assert np.array_equal(
        places, world.places(world.statements["account_id"].unique(maintain_order=True))
    )
    assert np.array_equal(world.realised()[places], data.label)
    assert 20 < data.label.sum() < 0.2 * len(data.label)


def test_what_is_realised_knows_of_no_cut_after_the_decision() -> None:
    """The incumbent cuts until the decision; only the data's own future has cuts after it."""
    world = draw_population(
        SimulationConfig(incumbent_cut_rate=0.5, incumbent_noise=0.0),
        ExamineConfig(accounts=2_000, seed=3),
    )
    data = label_accounts_at(statements_of(world), world.as_of, EVERYBODY, DataConfig())
    realised = world.realised()[world.places(data.features.accounts["account_id"])]
    assert 0 < (realised != data.label).sum() < 0.1 * len(realised)
