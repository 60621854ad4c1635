"""A LightGBM model as plain trees: what :mod:`serving.decision.scoring.shapley` explains.

The trees are read from the model's own text, whose numbers are exact to the last bit (its JSON is
not: that says 1e300 for an infinite threshold).  How LightGBM routes a value at a split is written
once, in :func:`serving.decision.scoring.kernels.route_value`; here stands what the split says.

A model that cannot be explained exactly is refused here, and so when a bundle is written and not at
a request.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import lightgbm as lgb

# A row's way through the splits of one table is a byte.
DEEPEST = 8
# LightGBM's decision_type: categorical, default direction, and above these which values are
# missing: none, 0 or NaN.
_CATEGORICAL, _DEFAULT_LEFT, _MISSING = 1, 2, 2
_VERSION = "v4"  # of LightGBM's text


class TreeError(ValueError):
    """A model that cannot be explained exactly: which tree, and what stands there."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree: its splits, the root first, and its leaves, in log-odds with shrinkage and initial
    score in them.

    ``left`` and ``right`` of a split are the number of a split, or ``~number`` of a leaf.  A value
    goes left where it is at most ``threshold``; ``missing`` (0: none, 1: zero and NaN, 2: NaN) says
    which values go ``default_left`` instead, or right. ``split_cover`` and ``leaf_cover`` count
    training rows.  A tree without splits has one leaf.
    """

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    missing: tuple[int, ...]
    default_left: tuple[bool, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    split_cover: tuple[int, ...]
    leaf: tuple[float, ...]
    leaf_cover: tuple[int, ...]

    def children(self, split: int) -> tuple[int, int]:
        """What hangs left and right of a split."""
        return self.left[split], self.right[split]

    def cover(self, node: int) -> int:
        """Training rows that reached a split, or a leaf given as ``~number``."""
        return self.split_cover[node] if node >= 0 else self.leaf_cover[~node]

    def splits_below(self, node: int) -> tuple[int, ...]:
        """The splits of the subtree that starts at ``node``, itself first; none for a leaf."""
        if node < 0:
            return ()
        return (node, *self.splits_below(self.left[node]), *self.splits_below(self.right[node]))

    def paths(
        self, node: int, above: tuple[int, ...] = ()
    ) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Each leaf of the subtree at ``node`` with its path: ``above``, then the splits down to
        it, the root first.
        """
        if node < 0:
            yield ~node, above
            return
        for child in self.children(node):
            yield from self.paths(child, (*above, node))

    def turns(self, leaf: int, path: tuple[int, ...]) -> tuple[bool, ...]:
        """For each split of a leaf's path, whether the leaf lies to its left."""
        return tuple(self.left[split] == below for split, below in pairwise((*path, ~leaf)))


@dataclass(frozen=True, slots=True)
class Forest:
    """The trees whose leaves add up to the model's raw log-odds, over ``features`` columns.

    Raises :class:`TreeError` for a path of more than 8 splits, whose table would take too much.
    """

    features: int
    trees: tuple[Tree, ...]

    def __post_init__(self) -> None:
        _check_depth(self.trees)


def read_trees(model: lgb.Booster) -> Forest:
    """The trees of ``model``, as many as it predicts with.

    Raises :class:`TreeError` for another version of LightGBM's text, more than one output,
    categorical splits, linear leaves, leaves without a finite value, and a path of more than 8
    splits.

    >>> import numpy as np
    >>> rows = lgb.Dataset(np.array([[0.0], [1.0]]), [10.0, 20.0], params={"min_data_in_bin": 1, "verbose": -1})
    >>> model = lgb.train({"min_data_in_leaf": 1, "learning_rate": 1.0, "verbose": -1}, rows, 1)
    >>> (tree,) = read_trees(model).trees
    >>> tree.feature, tree.left, tree.right, [round(value, 9) for value in tree.leaf]
    ((0,), (-1,), (-2,), [10.0, 20.0])
    """
    head, *blocks = model.model_to_string().partition("\nend of trees")[0].split("\nTree=")
    stated = _fields(head)
    if stated["version"] != _VERSION:
        raise TreeError(f"expected LightGBM's text of version {_VERSION}, got {stated['version']}")
    if stated["num_tree_per_iteration"] != "1":
        raise TreeError(
            f"expected one tree an iteration, got {stated['num_tree_per_iteration']}: a model of several classes"
        )
    # A random forest's too: LightGBM's raw score is the sum of its trees, only what it makes of
    # that is the mean.
    trees = tuple(_tree(place, _fields(block)) for place, block in enumerate(blocks))
    return Forest(model.num_feature(), trees)


def _fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _tree(place: int, fields: Mapping[str, str]) -> Tree:
    def numbers(name: str) -> list[str]:
        return fields.get(name, "").split()

    decisions = [int(number) for number in numbers("decision_type")]
    if any(decision & _CATEGORICAL for decision in decisions):
        raise TreeError(
            f"tree {place}: expected splits by threshold, got a categorical one; give the model numbers"
        )
    if fields.get("is_linear", "0") != "0":
        raise TreeError(
            f"tree {place}: expected leaves of one value, got linear ones; fit with linear_tree=false"
        )
    leaf = tuple(map(float, numbers("leaf_value")))
    if not all(map(math.isfinite, leaf)):
        raise TreeError(
            f"tree {place}: expected finite leaf values, got {[value for value in leaf if not math.isfinite(value)]}"
        )
    return Tree(
        feature=tuple(map(int, numbers("split_feature"))),
        threshold=tuple(map(float, numbers("threshold"))),
        missing=tuple(decision >> _MISSING & 3 for decision in decisions),
        default_left=tuple(bool(decision & _DEFAULT_LEFT) for decision in decisions),
        left=tuple(map(int, numbers("left_child"))),
        right=tuple(map(int, numbers("right_child"))),
        split_cover=tuple(map(int, numbers("internal_count"))),
        leaf=leaf,
        leaf_cover=tuple(map(int, numbers("leaf_count"))),
    )


def _check_depth(trees: tuple[Tree, ...]) -> None:
    """A table for the leaves below a path of d splits takes 2^d lines of 64 bytes: what the deep
    ones would take is told.
    """
    deep = [
        (place, depth)
        for place, tree in enumerate(trees)
        for depth in _depths(tree)
        if depth > DEEPEST
    ]
    if deep:
        place, deepest = max(deep, key=lambda found: found[1])
        raise TreeError(
            f"tree {place}: expected at most {DEEPEST} splits on a path, got {deepest}: tables for the paths beyond would take "
            f"{sum(2.0 ** min(depth, 1000) for _, depth in deep) * 64 / 2**20:,.4g} MiB; fit with max_depth={DEEPEST} or less"
        )


def _depths(tree: Tree) -> Iterator[int]:
    """For each split that ends in a leaf, how many splits are on the path to it, itself counted."""
    waiting = [(0, 1)] if tree.feature else []
    while waiting:
        split, depth = waiting.pop()
        children = tree.children(split)
        waiting += [(child, depth + 1) for child in children if child >= 0]
        if min(children) < 0:
            yield depth
