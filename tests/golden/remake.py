"""Make the golden bundle again: ``PYTHONPATH=. python tests/golden/remake.py``.

Only if an answer is meant to change; CHANGELOG then says so.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.support.policies import write_policy_without_control_arm
from training.data.config import DataConfig
from training.data.dataset import load
from training.data.labels import label_accounts
from training.data.simulate.config import SimulationConfig
from training.data.simulate.output import write
from training.fit.bundle import BundleConfig, FitResult, make_bundle
from training.fit.config import FitConfig
from training.fit.fit import fit

BUNDLE = Path(__file__).with_name("bundle")
MARGIN = "margin = 0.008  #"


def remake(target: Path) -> str:
    """Write a tiny bundle into ``target``; return its digest."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "simulated"
        write(SimulationConfig(accounts=3000, seed=9), folder)
        source = load(folder)
        data = label_accounts(source, DataConfig())
        fitted = fit(data, FitConfig(trees=20, stop_after=0, threads=1))
        policy = write_policy_without_control_arm(Path(scratch))
        # Three thousand accounts say little of the margin near the cut-off; at this one they show
        # every action.
        stated = policy.read_text(encoding="utf-8").replace("# margin = 0.01:", MARGIN)
        policy.write_text(stated, encoding="utf-8")
        config = BundleConfig(reference_size=50, policy=policy)
        result = FitResult(fitted, data, source, config)
        return make_bundle(result, target)


if __name__ == "__main__":
    shutil.rmtree(BUNDLE, ignore_errors=True)
    print(remake(BUNDLE))
