"""Longer than a developer waits; `make torture` runs these."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.build import build
from features.schema import check
from serving.decision.bundle import Bundle
from serving.decision.scoring.score import score
from training.data.labels import select_windows
from training.data.simulate.config import SimulationConfig
from training.data.simulate.output import write

pytestmark = pytest.mark.torture
MOST_MEMORY = 3 * 2**30
A_MILLION = """
import json, resource, sys
from pathlib import Path
from training.data.simulate import SimulationConfig, write
summary = write(SimulationConfig(accounts=1_000_000), Path(sys.argv[1]))
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(summary["rows"] | {"memory": memory}))
"""


def test_a_million_accounts_are_written_as_they_come(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", A_MILLION, str(tmp_path / "sim")],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(run.stdout)
    assert found["accounts"] > 990_000
    assert found["statements"] > 20_000_000
    assert found["memory"] <= MOST_MEMORY
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < MOST_MEMORY


def test_contributions_add_up_for_a_hundred_thousand_accounts(
    bundle: Bundle, tmp_path: Path
) -> None:
    write(SimulationConfig(accounts=130_000, seed=11), tmp_path / "sim")
    statements = pl.read_parquet(tmp_path / "sim" / "statements" / "*.parquet")
    features = build(check(select_windows(statements, statements["month"].max())))  # type: ignore[arg-type]  # a date column
    assert len(features.values) >= 100_000
    found = score(
        features.matrix(bundle.features), features.accounts["product"].to_list(), bundle.scorer
    )
    assert (
        np.abs(found.base_log_odds + found.contributions.sum(axis=1) - found.log_odds).max() <= 1e-9
    )
