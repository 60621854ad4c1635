"""The search space: the fields of :class:`FitConfig` that a search varies, each with its range.

This is the only place that limits the size of a model.  The monotone constraints are not searched:
a model without them would be another product.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from training.fit.config import FitConfig

Point = Mapping[str, Any]  # a value for each field of the space

SPACE: Mapping[str, BaseDistribution] = {
    "trees": IntDistribution(40, 400, log=True),  # maximum; early stopping may keep fewer
    "leaves": IntDistribution(4, 32, log=True),
    "depth": IntDistribution(2, 6),  # a leaf's Shapley table has up to 2 ** depth cells
    "learning_rate": FloatDistribution(0.02, 0.3, log=True),
    "min_leaf": IntDistribution(10, 500, log=True),
    "l2": FloatDistribution(0.1, 100.0, log=True),
    "feature_share": FloatDistribution(0.2, 1.0),
    "row_share": FloatDistribution(0.5, 1.0),
    # Not "advanced": it takes three times as long.
    "monotone_method": CategoricalDistribution(("basic", "intermediate")),
}


def point_of(config: FitConfig) -> Point:
    """Return the config's point in the space; values outside are moved to the nearest end.

    >>> point_of(FitConfig(trees=5))["trees"]
    40
    """
    return _inside({name: getattr(config, name) for name in SPACE})


def starting_points(config: FitConfig) -> list[Point]:
    """Return the first points to try: the config's own, and up to four smaller models near it.

    A sampler spreads its trials over the whole front, and few come near a config that is already
    good.  The smaller models have fewer leaves, or a higher learning rate (early stopping then
    keeps fewer trees), or both, or both under tighter bounds, which lose less to the constraints.
    Equal points are returned once.

    >>> points = starting_points(FitConfig())
    >>> [(point["leaves"], round(point["learning_rate"], 3)) for point in points]
    [(16, 0.05), (10, 0.05), (16, 0.08), (10, 0.08), (10, 0.08)]
    >>> [point["monotone_method"] for point in points[-2:]]
    ['basic', 'intermediate']
    """
    start = point_of(config)
    fewer_leaves = {"leaves": round(start["leaves"] * 0.6)}
    higher_rate = {"learning_rate": start["learning_rate"] * 1.6}
    changes: list[Point] = [
        {},
        fewer_leaves,
        higher_rate,
        fewer_leaves | higher_rate,
        fewer_leaves | higher_rate | {"monotone_method": "intermediate"},
    ]
    points: list[Point] = []
    for change in changes:
        point = _inside({**start, **change})
        if point not in points:
            points.append(point)
    return points


def config_at(point: Point, config: FitConfig) -> FitConfig:
    """Return the config with the values of the point."""
    return replace(config, **point)


def describe_space() -> Mapping[str, str]:
    """Return the distribution of each field as text, for comparing two versions of the space."""
    return {
        name: json.dumps(json.loads(distribution_to_json(SPACE[name])), sort_keys=True)
        for name in sorted(SPACE)
    }


def _inside(point: Point) -> Point:
    return {name: _nearest(value, SPACE[name]) for name, value in point.items()}


def _nearest(value: Any, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return value if value in distribution.choices else distribution.choices[0]
    if isinstance(distribution, IntDistribution | FloatDistribution):
        return min(max(value, distribution.low), distribution.high)
    raise TypeError(
        f"expected a distribution of numbers or of categories, got {type(distribution).__name__}"
    )
