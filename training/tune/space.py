"""Where a search looks: the fields of :class:`FitConfig` that it varies, each with its range.

How compact a model is allowed to be stands here and nowhere else.  Whether features are held to
their directions is not searched: a model that is not would be another product.
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
    # at most: early stopping keeps fewer where there are accounts to stop on
    "trees": IntDistribution(40, 400, log=True),
    "leaves": IntDistribution(4, 32, log=True),
    "depth": IntDistribution(2, 6),  # a leaf's table has up to 2 ** depth cells
    "learning_rate": FloatDistribution(0.02, 0.3, log=True),
    "min_leaf": IntDistribution(10, 500, log=True),
    "l2": FloatDistribution(0.1, 100.0, log=True),
    "feature_share": FloatDistribution(0.2, 1.0),
    "row_share": FloatDistribution(0.5, 1.0),
    # advanced costs three times as long
    "monotone_method": CategoricalDistribution(("basic", "intermediate")),
}


def point_of(config: FitConfig) -> Point:
    """Where a config lies in the space: its own values, moved to the nearest end where they lie
    outside.

    >>> point_of(FitConfig(trees=5))["trees"]
    40
    """
    return {name: _inside(getattr(config, name), SPACE[name]) for name in SPACE}


def starting_points(config: FitConfig) -> list[Point]:
    """What is tried before anything is drawn: where the config lies, and up to four smaller models
    beside it.

    A sampler spreads its trials over the whole front, and few come near a config that is good
    already.  Fewer leaves, larger steps (of which early stopping then keeps fewer), both, and both
    under tighter bounds, which lose less to the directions; each only once, and no further than the
    space goes.

    >>> [(point["leaves"], round(point["learning_rate"], 3), point["monotone_method"]) for point in starting_points(FitConfig())]
    [(16, 0.05, 'basic'), (10, 0.05, 'basic'), (16, 0.08, 'basic'), (10, 0.08, 'basic'), (10, 0.08, 'intermediate')]
    """
    begun = point_of(config)
    fewer, larger = (
        {"leaves": round(begun["leaves"] * 0.6)},
        {"learning_rate": begun["learning_rate"] * 1.6},
    )
    moves: list[Point] = [
        {},
        fewer,
        larger,
        fewer | larger,
        fewer | larger | {"monotone_method": "intermediate"},
    ]
    moved = [
        {name: _inside(value, SPACE[name]) for name, value in {**begun, **move}.items()}
        for move in moves
    ]
    return [point for place, point in enumerate(moved) if point not in moved[:place]]


def config_at(point: Point, config: FitConfig) -> FitConfig:
    """The config with the point's values; everything else as it was."""
    return replace(config, **point)


def describe_space() -> Mapping[str, str]:
    """The space as text, a field an entry: what two versions of it are compared by."""
    return {
        name: json.dumps(json.loads(distribution_to_json(SPACE[name])), sort_keys=True)
        for name in sorted(SPACE)
    }


def _inside(value: Any, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return value if value in distribution.choices else distribution.choices[0]
    if isinstance(distribution, IntDistribution | FloatDistribution):
        return min(max(value, distribution.low), distribution.high)
    raise TypeError(
        f"expected a number's or a name's distribution, got {type(distribution).__name__}"
    )
