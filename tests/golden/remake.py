"""Make the golden bundle anew, with `PYTHONPATH=. python tests/golden/remake.py`.

Only where an answer is meant to change; say so in CHANGELOG.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from training import bundling
from training.bundling import BundleConfig
from training.data import DataConfig, labelled, load
from training.fitting import FitConfig, fit
from training.simulator import SimulationConfig, write

BUNDLE = Path(__file__).with_name("bundle")


def remake(target: Path) -> str:
    """A tiny bundle in ``target``; returns its digest."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "simulated"
        write(SimulationConfig(accounts=3000, seed=9), folder)
        source = load(folder)
        data = labelled(source, DataConfig())
        fitted = fit(data, FitConfig(trees=20, stop_after=0, threads=1))
        config = BundleConfig(reference_size=50)
        return bundling.make_bundle(fitted, data, source, config, target)


if __name__ == "__main__":
    shutil.rmtree(BUNDLE, ignore_errors=True)
    print(remake(BUNDLE))
