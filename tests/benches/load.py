"""The cost of explanations at a process start, printed as JSON.

Usage: ``python tests/benches/load.py MODEL.txt REFERENCE.npy``.  ``import`` is numba and our
modules, after numpy and LightGBM.  ``load`` is tables and warm-up, from the Booster to the first
explanation.  Each is in seconds and in MiB by which the process grew.
"""

from __future__ import annotations

import json
import sys
import time

import lightgbm as lgb
import numpy as np
import psutil


def mark() -> tuple[float, float]:
    return time.perf_counter(), psutil.Process().memory_info().rss / 2**20


def measured(model: lgb.Booster, reference: np.ndarray) -> dict[str, list[float]]:
    started = mark()
    from serving.decision.scoring.lightgbm_trees import read_trees
    from serving.decision.scoring.shapley import explain_one, make_explainer
    from serving.decision.scoring.shapley_tables import flatten_trees

    imported = mark()
    explain_one(reference[0], make_explainer(flatten_trees(read_trees(model)), reference))
    loaded = mark()
    steps = {"import": (started, imported), "load": (imported, loaded)}
    return {
        name: [after[0] - before[0], after[1] - before[1]]
        for name, (before, after) in steps.items()
    }


if __name__ == "__main__":
    print(json.dumps(measured(lgb.Booster(model_file=sys.argv[1]), np.load(sys.argv[2]))))
