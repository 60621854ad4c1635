"""Small LightGBM models of every explainable kind, and rows that test their routing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
from hypothesis import strategies as st

ODD = (np.nan, 0.0, -0.0, 1e-35, -1e-35, 1e-36, 1.1e-35, np.inf, -np.inf, 1e300, -1e300, 5e-324)
# LightGBM's parameters for missing values, and whether the training rows have any.
MISSING: dict[str, tuple[dict[str, bool], bool]] = {
    "none seen": ({}, False),
    "seen": ({}, True),
    "not used": ({"use_missing": False}, True),
    "zero is missing": ({"zero_as_missing": True}, True),
}


@dataclass(frozen=True)
class Case:
    """A model with rows to explain and a reference, all drawn from the same kind of data."""

    model: lgb.Booster
    rows: np.ndarray
    reference: np.ndarray


@st.composite
def cases(draw: st.DrawFn, most_features: int = 10, most_reference: int = 200) -> Case:
    features = draw(st.integers(1, most_features))
    # The brute force predicts 2 ** features rows for each reference row.
    most = max(1, min(most_reference, 60_000 // 2**features))
    return case(
        features=features,
        reference=draw(st.integers(1, most)),
        missing=draw(st.sampled_from(sorted(MISSING))),
        depth=draw(st.integers(1, 8)),
        leaves=draw(st.integers(2, 40)),
        trees=draw(st.integers(1, 6)),
        levels=draw(st.sampled_from([0, 2, 5])),
        kind=draw(st.sampled_from(["binary", "regression", "rf"])),
        seed=draw(st.integers(0, 2**31 - 1)),
    )


def case(  # noqa: PLR0913  # keywords only: the properties that Hypothesis draws
    *,
    features: int,
    reference: int,
    missing: str,
    depth: int,
    leaves: int,
    trees: int,
    levels: int,
    kind: str,
    seed: int,
) -> Case:
    """A model and its rows.

    ``levels`` is the number of distinct values of a feature, 0 = all different; with few levels,
    several splits share a threshold.
    """
    random = np.random.default_rng(seed)
    options, seen = MISSING[missing]

    def drawn(rows: int) -> np.ndarray:
        found = random.normal(size=(rows, features))
        return np.round(found * levels / 2) if levels else found

    matrix = drawn(150)
    matrix[:, random.random(features) < 0.15] = 3.0  # constant features
    if seen:
        matrix[random.random(matrix.shape) < random.choice([0.05, 0.5])] = np.nan
    label = np.nansum(matrix * random.normal(size=features), axis=1) + random.normal(size=150)
    parameters: dict[str, Any] = {
        "objective": "regression" if kind == "regression" else "binary",
        "max_depth": depth,
        "num_leaves": leaves,
        "min_data_in_leaf": int(random.choice([1, 5])),
        "min_data_in_bin": 1,
        "learning_rate": float(random.choice([0.1, 1.0])),
        "boost_from_average": bool(random.random() < 0.5),
        "seed": seed % 1000,
        "num_threads": 1,
        "verbose": -1,
    } | options
    if kind == "rf":
        parameters |= {"boosting": "rf", "bagging_fraction": 0.6, "bagging_freq": 1}
    if kind != "regression":
        label = (label > np.median(label)).astype(float)
    model = lgb.train(parameters, lgb.Dataset(matrix, label, params=parameters), trees)
    thresholds: list[float] = []
    for tree in model.dump_model()["tree_info"]:
        thresholds += _thresholds(tree["tree_structure"])
    return Case(
        model,
        _with_edge_cases(drawn(4), thresholds, random),
        _with_edge_cases(drawn(reference), thresholds, random),
    )


def _thresholds(node: dict[str, Any]) -> list[float]:
    if "threshold" not in node:
        return []
    return [node["threshold"], *_thresholds(node["left_child"]), *_thresholds(node["right_child"])]


def _with_edge_cases(
    rows: np.ndarray, thresholds: list[float], random: np.random.Generator
) -> np.ndarray:
    """The rows, with odd values, thresholds and the floats next to thresholds in some places."""
    odd = random.choice(np.array(ODD), rows.shape)
    rows = np.where(random.random(rows.shape) < 0.25, odd, rows)
    if thresholds:
        at = random.choice(np.array(thresholds), rows.shape)
        neighbour = np.nextafter(at, random.choice(np.array([-np.inf, np.inf]), rows.shape))
        rows = np.where(random.random(rows.shape) < 0.15, at, rows)
        rows = np.where(random.random(rows.shape) < 0.15, neighbour, rows)
    return rows
