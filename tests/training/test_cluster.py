"""What Dask workers compute for the training commands: the bits of one process."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.each import each
from training.__main__ import main
from training.cluster import is_used, map_in_order, use_cluster
from training.data.simulate import SimulationConfig, write
from training.examine.truth.futures import simulate_defaults
from training.examine.truth.population import ExamineConfig, draw_population

SIMULATION = SimulationConfig(accounts=40, months=24, partition_accounts=4, seed=4)


def files_of(folder: Path) -> dict[str, str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in each(files)
    }


def test_results_come_in_the_order_of_the_calls_without_a_cluster() -> None:
    assert not is_used()
    assert list(map_in_order(divmod, [7, 9, 4], [2, 2, 3])) == [(3, 1), (4, 1), (1, 1)]


def test_the_command_names_the_extra_where_dask_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    out = tmp_path / "data"
    assert main(["simulate", "--out", str(out), "--scheduler", "local"]) == 2
    assert "expected Dask, which the extra `cluster` installs" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.torture
def test_two_workers_compute_the_bits_of_one_process(tmp_path: Path) -> None:
    """A simulation, and the futures of its accounts."""
    population = draw_population(SIMULATION, ExamineConfig(accounts=300))
    futures = 700  # in blocks of 333

    alone = write(SIMULATION, tmp_path / "alone")
    defaults = simulate_defaults(population.state, population.config, futures)
    assert defaults.shape == (futures, 300)
    assert defaults.any()
    shown: list[tuple[int, int]] = []
    with use_cluster("local", 2):
        assert is_used()
        spread = write(SIMULATION, tmp_path / "spread", lambda *done: shown.append(done))
        by_workers = simulate_defaults(population.state, population.config, futures)
    assert not is_used()
    assert spread == alone
    assert files_of(tmp_path / "spread") == files_of(tmp_path / "alone")
    assert shown == [(done, 40) for done in range(4, 44, 4)]
    assert np.array_equal(by_workers, defaults)
