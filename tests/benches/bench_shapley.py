"""The cost of explanations, compared with other libraries in one run; `make bench` runs it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest

from features.catalogue import MODEL_FEATURES
from serving.decision.bundle import Bundle
from serving.decision.scoring.lightgbm_trees import read_trees
from serving.decision.scoring.shapley import Explainer, explain_many, explain_one, make_explainer
from serving.decision.scoring.shapley_tables import flatten_trees
from tests.support.paths import ROOT
from training.data.labels import Labelled
from training.fit.config import FitConfig
from training.fit.fit import train_booster

pytestmark = pytest.mark.benchmark(disable_gc=True)
PRODUCT = "pay_later"
MANY = 100_000
ROUNDS = 3000
GROWTH = [(trees, depth) for trees in (100, 200, 400) for depth in range(3, 8)]


@pytest.fixture(scope="session")
def rows(full_data: Labelled) -> np.ndarray:
    """100,000 rows of the data, in a drawn order."""
    matrix = full_data.features.matrix(MODEL_FEATURES)
    return matrix[np.random.default_rng(0).integers(len(matrix), size=MANY)]


@pytest.fixture(scope="session")
def explainer(champion: Bundle) -> Explainer:
    return champion.scorer.explainers[PRODUCT]


@pytest.fixture(scope="session")
def model(champion: Bundle) -> lgb.Booster:
    return champion.scorer.model


@pytest.fixture(scope="session")
def reference(champion: Bundle) -> np.ndarray:
    """The 1,000 rows of the reference population."""
    found: np.ndarray = (
        champion.reference.filter(product=PRODUCT).drop("product").fill_null(np.nan).to_numpy()
    )
    return found


def woodelf(model: lgb.Booster, reference: np.ndarray) -> Callable[[np.ndarray], Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from woodelf import WoodelfExplainer

        theirs = WoodelfExplainer(model, pd.DataFrame(reference, columns=list(MODEL_FEATURES)))

    def explain(matrix: np.ndarray) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return theirs.shap_values(
                pd.DataFrame(matrix, columns=list(MODEL_FEATURES)), verbose=False
            )

    return explain


def in_numpy(
    explainer: Explainer,
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """The same tables without numba, for one row and for many, to show the gain of compilation."""
    layout, table = explainer.layout, explainer.table
    feature, missing, left = layout.columns.T
    bits = 1 << np.arange(8)
    default = np.where(left == 1, -np.inf, np.nan)
    if_unknown = np.where(missing == 2, default, 0.0)

    def route(matrix: np.ndarray) -> np.ndarray:
        values = matrix[..., feature]
        return np.where(np.isnan(values), if_unknown, values)

    def one(row: np.ndarray) -> np.ndarray:
        patterns = (route(row)[layout.split_column] <= layout.split_threshold) @ bits
        lines = table[layout.starts[:-1] + patterns]
        return np.bincount(layout.slots.ravel(), lines.ravel(), minlength=layout.features + 1)[
            : layout.features
        ]

    def many(matrix: np.ndarray) -> np.ndarray:
        out = np.zeros((layout.features, len(matrix)))
        values = np.ascontiguousarray(route(matrix).T)
        for piece, (splits, slots) in enumerate(layout.widths):
            patterns = np.zeros(len(matrix), np.uint8)
            for j in range(splits):
                patterns |= (
                    values[layout.split_column[piece, j]] <= layout.split_threshold[piece, j]
                ).view(np.uint8) << j
            lines = np.ascontiguousarray(table[layout.starts[piece] : layout.starts[piece + 1]].T)
            for j in range(slots):
                out[layout.slots[piece, j]] += lines[j].take(patterns)
        return out.T

    return one, lambda matrix: np.vstack(
        [many(matrix[first : first + 4096]) for first in range(0, len(matrix), 4096)]
    )


def test_the_numpy_form_is_the_same(rows: np.ndarray, explainer: Explainer, benchmark: Any) -> None:
    one, many = in_numpy(explainer)
    expected = explain_many(rows[:5000], explainer)
    assert np.array_equal(many(rows[:5000]), expected)
    assert np.array_equal(one(rows[0]), expected[0])
    benchmark.pedantic(one, (rows[0],), rounds=1)
    benchmark.extra_info |= {"rows": 1, "unit": "rows"}


@pytest.mark.parametrize("how", ["clearline", "numpy", "pred_contrib", "woodelf", "predict"])
def test_explain_100_000_rows(
    benchmark: Any,
    how: str,
    rows: np.ndarray,
    model: lgb.Booster,
    explainer: Explainer,
    reference: np.ndarray,
) -> None:
    """On all cores, except ``numpy`` on one; ``predict`` is the score without an explanation."""
    explain: dict[str, Callable[[np.ndarray], Any]] = {
        "clearline": lambda matrix: explain_many(matrix, explainer),
        "numpy": in_numpy(explainer)[1],
        "pred_contrib": lambda matrix: model.predict(matrix, pred_contrib=True),
        "woodelf": woodelf(model, reference),
        "predict": lambda matrix: model.predict(matrix, raw_score=True),
    }
    rounds = {"clearline": 20, "predict": 10}.get(how, 2)
    benchmark.pedantic(explain[how], (rows,), rounds=rounds, warmup_rounds=1 if rounds > 2 else 0)
    benchmark.extra_info |= {"rows": MANY, "unit": "rows"}


@pytest.mark.parametrize("how", ["clearline", "numpy", "pred_contrib", "shap", "predict"])
def test_explain_one_row(
    benchmark: Any,
    how: str,
    rows: np.ndarray,
    model: lgb.Booster,
    explainer: Explainer,
    reference: np.ndarray,
) -> None:
    """Another row each time; shap's explainer is built before, with all rows of the reference."""
    if how == "shap":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import shap

            masker = shap.maskers.Independent(reference, max_samples=len(reference))
            theirs = shap.TreeExplainer(
                model, masker, feature_perturbation="interventional", model_output="raw"
            )
    explain: dict[str, Callable[[np.ndarray], Any]] = {
        "clearline": lambda row: explain_one(row, explainer),
        "numpy": in_numpy(explainer)[0],
        "pred_contrib": lambda row: model.predict(row[None], pred_contrib=True, num_threads=1),
        "shap": lambda row: theirs.shap_values(row[None], check_additivity=False),
        "predict": lambda row: model.predict(row[None], raw_score=True, num_threads=1),
    }
    others = itertools.cycle(rows)
    rounds = 30 if how == "shap" else ROUNDS
    benchmark.pedantic(
        explain[how], setup=lambda: ((next(others),), {}), rounds=rounds, warmup_rounds=rounds // 10
    )
    benchmark.extra_info |= {"rows": 1, "unit": "rows"}


def test_size_of_the_reference(benchmark: Any, rows: np.ndarray, model: lgb.Booster) -> None:
    """The same rows against 100 and against 10,000 reference rows, alternately."""
    layout, block = flatten_trees(read_trees(model)), rows[:20_000]
    small, large = make_explainer(layout, rows[-100:]), make_explainer(layout, rows[-10_000:])
    times: dict[str, list[float]] = {"small": [], "large": []}
    for name, explainer in [("small", small), ("large", large)] * 100:
        before = time.perf_counter()
        explain_many(block, explainer)
        times[name].append(time.perf_counter() - before)
    benchmark.pedantic(explain_many, (block, large), rounds=3)
    ratio = float(np.median(times["large"]) / np.median(times["small"]))
    benchmark.extra_info |= {
        "rows": len(block),
        "unit": "rows",
        "against 10,000 to against 100": ratio,
    }


@pytest.mark.parametrize("cache", ["first_start", "later_start"])
def test_load_200_trees_of_16_leaves_against_5000(
    benchmark: Any, cache: str, full_data: Labelled, rows: np.ndarray, tmp_path: Path
) -> None:
    """In a new process, without and with compiled code on disk."""
    booster = grown(full_data, 200, 4)
    assert {len(tree.leaf) for tree in read_trees(booster).trees} <= set(range(2, 17))
    booster.save_model(tmp_path / "model.txt")
    np.save(tmp_path / "reference.npy", rows[:5000])
    command = [
        sys.executable,
        str(ROOT / "tests/benches/load.py"),
        str(tmp_path / "model.txt"),
        str(tmp_path / "reference.npy"),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "NUMBA_CACHE_DIR": str(tmp_path / "compiled"),
    }

    def start() -> dict[str, list[float]]:
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found: dict[str, list[float]] = json.loads(run.stdout)
        return found

    if cache == "later_start":
        start()
    benchmark.pedantic(lambda: benchmark.extra_info.update(start()), rounds=1)
    benchmark.extra_info |= {"rows": 1, "unit": "starts"}


def grown(data: Labelled, trees: int, depth: int) -> lgb.Booster:
    """A model of that many trees, each with as many leaves as the depth and the data allow."""
    train = data.rows("train")
    config = FitConfig(
        trees=trees, leaves=2**depth, depth=depth, min_leaf=5, l2=1.0, stop_after=0, monotone=False
    )
    return train_booster(data.features.matrix(MODEL_FEATURES)[train], data.label[train], config)


@pytest.fixture(scope="session")
def largest(full_data: Labelled) -> dict[int, lgb.Booster]:
    """Depth -> a model of 400 trees: the smaller ones are its first trees."""
    return {depth: grown(full_data, 400, depth) for depth in range(3, 8)}


@pytest.mark.parametrize(("trees", "depth"), GROWTH)
def test_growth(
    benchmark: Any, trees: int, depth: int, largest: dict[int, lgb.Booster], rows: np.ndarray
) -> None:
    """Nanoseconds per leaf and row, on one core, in blocks of rows."""
    model = lgb.Booster(model_str=largest[depth].model_to_string(num_iteration=trees))
    forest = read_trees(model)
    explainer = make_explainer(flatten_trees(forest), rows[:1000])
    block, leaves = rows[:4096], sum(len(tree.leaf) for tree in forest.trees)
    benchmark.pedantic(explain_many, (block, explainer), rounds=7, warmup_rounds=1)
    times = []
    for row in rows[:500]:
        before = time.perf_counter()
        explain_one(row, explainer)
        times.append(time.perf_counter() - before)
    benchmark.extra_info |= {
        "rows": len(block),
        "unit": "rows",
        "trees": trees,
        "depth": depth,
        "leaves": leaves,
        "tables": explainer.table.nbytes / 2**20,
        "ns": benchmark.stats["median"] * 1e9 / len(block) / leaves,
        "one": float(np.median(times)),
    }
