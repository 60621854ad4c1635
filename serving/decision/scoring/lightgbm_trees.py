"""A LightGBM model as plain trees, for :mod:`serving.decision.scoring.shapley`.

The trees are read from the model's own text, whose numbers are exact to the last bit.  (Its JSON is
not: it says 1e300 for an infinite threshold.)  :func:`serving.decision.scoring.kernels.route_value`
defines how LightGBM routes a value at a split; this module reads the split's own fields.

A model that cannot be explained exactly is rejected here, so a bundle with such a model is never
written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from serving.decision.scoring.lightgbm_import import lgb

# The directions of a row at the splits of one table are the bits of a byte.
MAX_DEPTH = 8
# Bits of LightGBM's decision_type: categorical, default direction, then two for the missing type.
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_SHIFT, _MISSING_MASK = 2, 3
_VERSION = "v4"  # of LightGBM's text
_BYTES_A_LINE = 64


class TreeError(ValueError):
    """A model that cannot be explained exactly; the message names the tree and the cause."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree: its splits, the root first, and its leaves.  A tree without splits has one leaf.

    Attributes:
        feature: The feature of each split.
        threshold: A value goes left if it is at most this.
        missing: Which values are missing at a split: 0 = none, 1 = zero and NaN, 2 = NaN.
        default_left: Whether a missing value goes left.
        left, right: The number of a split, or ``~number`` of a leaf.
        split_cover, leaf_cover: The number of training rows that reached it; empty if not known.
        leaf: The value of each leaf in log-odds, including shrinkage and initial score.
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
        """The left and the right child of a split."""
        return self.left[split], self.right[split]

    def share_sent(self, split: int, child: int) -> float:
        """The share of the training rows at a split that went on to this child.

        NaN if the model's text has no counts, or zeros, as other programs write it.
        """
        is_counted = len(self.split_cover) == len(self.feature)
        is_counted &= len(self.leaf_cover) == len(self.leaf)
        if not is_counted or self.split_cover[split] == 0:
            return math.nan
        reached = self.split_cover[child] if child >= 0 else self.leaf_cover[~child]
        return reached / self.split_cover[split]

    def splits_below(self, node: int) -> tuple[int, ...]:
        """The splits of the subtree at ``node``, starting with ``node``; empty for a leaf."""
        if node < 0:
            return ()
        left, right = self.children(node)
        return (node, *self.splits_below(left), *self.splits_below(right))

    def paths(
        self, node: int, above: tuple[int, ...] = ()
    ) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Each leaf of the subtree at ``node`` with its path.

        The path is ``above``, then the splits from ``node`` down to the leaf.
        """
        if node < 0:
            yield ~node, above
            return
        for child in self.children(node):
            yield from self.paths(child, (*above, node))

    def turns(self, leaf: int, path: tuple[int, ...]) -> tuple[bool, ...]:
        """For each split of a leaf's path, whether the leaf lies to its left."""
        steps = pairwise((*path, ~leaf))
        return tuple(self.left[split] == child for split, child in steps)


@dataclass(frozen=True, slots=True)
class Forest:
    """The trees whose leaves add up to the model's raw log-odds, over ``features`` columns.

    Raises:
        TreeError: A path has more than 8 splits, so that its table would be too large.
    """

    features: int
    trees: tuple[Tree, ...]

    def __post_init__(self) -> None:
        _check_depth(self.trees)


def read_trees(model: lgb.Booster) -> Forest:
    """The trees of ``model``, as many as it predicts with.

    Raises:
        TreeError: The model has another version of LightGBM's text, more than one output,
            categorical splits, linear leaves, leaves without a finite value, or a path of more than
            8 splits.

    >>> import numpy as np
    >>> quiet = {"min_data_in_bin": 1, "verbose": -1}
    >>> rows = lgb.Dataset(np.array([[0.0], [1.0]]), [10.0, 20.0], params=quiet)
    >>> settings = {"min_data_in_leaf": 1, "learning_rate": 1.0, "verbose": -1}
    >>> (tree,) = read_trees(lgb.train(settings, rows, 1)).trees
    >>> tree.feature, tree.left, tree.right, [round(value, 9) for value in tree.leaf]
    ((0,), (-1,), (-2,), [10.0, 20.0])
    """
    head, *blocks = model.model_to_string().partition("\nend of trees")[0].split("\nTree=")
    fields = _fields(head)
    version, outputs = fields["version"], fields["num_tree_per_iteration"]
    if version != _VERSION:
        raise TreeError(f"expected LightGBM's text of version {_VERSION}, got {version}")
    if outputs != "1":
        raise TreeError(
            f"expected one tree an iteration, got {outputs}: a model of several classes"
        )
    # This holds for a random forest too: LightGBM's raw score is the sum of the trees, and only
    # its prediction is their mean.
    trees = tuple(_tree(place, _fields(block)) for place, block in enumerate(blocks))
    return Forest(model.num_feature(), trees)


def _fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _tree(place: int, fields: Mapping[str, str]) -> Tree:
    def integers(name: str) -> tuple[int, ...]:
        return tuple(map(int, fields.get(name, "").split()))

    def reals(name: str) -> tuple[float, ...]:
        return tuple(map(float, fields.get(name, "").split()))

    decisions, leaf = integers("decision_type"), reals("leaf_value")
    if any(decision & _CATEGORICAL for decision in decisions):
        raise TreeError(
            f"tree {place}: expected splits by threshold, got a categorical one; "
            "give the model numbers"
        )
    if fields.get("is_linear", "0") != "0":
        raise TreeError(
            f"tree {place}: expected leaves of one value, got linear ones; "
            "fit with linear_tree=false"
        )
    unusable = [value for value in leaf if not math.isfinite(value)]
    if unusable:
        raise TreeError(f"tree {place}: expected finite leaf values, got {unusable}")
    return Tree(
        feature=integers("split_feature"),
        threshold=reals("threshold"),
        missing=tuple(decision >> _MISSING_SHIFT & _MISSING_MASK for decision in decisions),
        default_left=tuple(bool(decision & _DEFAULT_LEFT) for decision in decisions),
        left=integers("left_child"),
        right=integers("right_child"),
        split_cover=integers("internal_count"),
        leaf=leaf,
        leaf_cover=integers("leaf_count"),
    )


def _check_depth(trees: tuple[Tree, ...]) -> None:
    """Raise :class:`TreeError` for paths of more than 8 splits, with the size of their tables.

    The table for the leaves below a path of d splits takes 2^d lines of 64 bytes.
    """
    deep = []
    for place, tree in enumerate(trees):
        deep += [(place, depth) for depth in _depths(tree) if depth > MAX_DEPTH]
    if not deep:
        return
    place, deepest = max(deep, key=lambda path: path[1])
    lines = sum(2.0 ** min(depth, 1000) for _, depth in deep)  # 2.0**1024 would overflow
    raise TreeError(
        f"tree {place}: expected at most {MAX_DEPTH} splits on a path, got {deepest}: tables for "
        f"the paths beyond would take {lines * _BYTES_A_LINE / 2**20:,.4g} MiB; "
        f"fit with max_depth={MAX_DEPTH} or less"
    )


def _depths(tree: Tree) -> Iterator[int]:
    """For each split with a leaf as child, the number of splits on the path to it and with it."""
    waiting = [(0, 1)] if tree.feature else []
    while waiting:
        split, depth = waiting.pop()
        children = tree.children(split)
        waiting += [(child, depth + 1) for child in children if child >= 0]
        if min(children) < 0:
            yield depth
