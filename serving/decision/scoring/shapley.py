"""Exact interventional Shapley values of a model's raw log-odds against a reference population.

A contribution is the part of the account's difference from the reference that is due to one
feature.  It is a Shapley value: the players of the game are the features.  The payoff of a set of
features is a mean over the reference rows: the model's result for the row, after the account's
values have replaced the row's in this set (Lundberg et al. 2020, arXiv 1905.04610).  For an account
x and the reference rows z

    raw(x) = base + contributions.sum(),    base = mean of raw(z)

The mean over the reference is taken once, when the tables are made
(:mod:`serving.decision.scoring.shapley_tables`).  A *piece* is a part of a tree that has one table.
An account then costs one look-up per piece, for any size of the reference.
docs/service/explanations.md describes the meaning and the limits of these values.

:func:`explain_one` and :func:`explain_many` give the same bits for the same row.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from features.types import Matrix, Vector
from serving.decision.scoring import kernels
from serving.decision.scoring.leaf_table import change_weights
from serving.decision.scoring.shapley_tables import (
    Layout,
    blocks,
    patterns_of,
    tables_for_cover,
    tables_for_reference,
)

_ROWS_WORTH_A_BLOCK = 8  # with fewer rows, row by row is faster
_ROWS_A_THREAD = 4096
_CHANGE_WEIGHTS = change_weights()


@dataclass(frozen=True, slots=True)
class Explainer:
    """The tables of a model for one reference population; read-only.

    ``base`` is the mean raw log-odds of the reference.
    """

    layout: Layout
    table: Matrix
    base: float


def make_explainer(layout: Layout, reference: Matrix) -> Explainer:
    """The explainer for a reference population, with its loops compiled.

    ``reference`` is float64 (N, features), N >= 1, NaN = unknown.  The order of the rows does not
    matter, and N copies of a row are equivalent to the row alone.

    Raises:
        ValueError: ``reference`` has another shape.

    A model that gives 10 for 0 and 20 for 1:

    >>> import lightgbm as lgb
    >>> from serving.decision.scoring.lightgbm_trees import read_trees
    >>> from serving.decision.scoring.shapley_tables import flatten_trees
    >>> quiet = {"min_data_in_bin": 1, "verbose": -1}
    >>> rows = lgb.Dataset(np.array([[0.0], [1.0]]), [10.0, 20.0], params=quiet)
    >>> settings = {"min_data_in_leaf": 1, "learning_rate": 1.0, "verbose": -1}
    >>> layout = flatten_trees(read_trees(lgb.train(settings, rows, 1)))
    >>> explainer = make_explainer(layout, np.array([[0.0], [0.0], [0.0], [1.0]]))
    >>> round(explainer.base, 9), explain_one(np.array([1.0]), explainer)
    (12.5, array([7.5]))
    """
    if reference.ndim != 2 or reference.shape[1] != layout.features or not len(reference):
        raise ValueError(
            f"reference: expected (one row or more, {layout.features}), got {reference.shape}"
        )
    return _compile(Explainer(layout, *tables_for_reference(layout, _plain(reference))))


def path_dependent(layout: Layout) -> Explainer:
    """The explainer of LightGBM's own ``pred_contrib``, whose background is the training counts.

    It is for tests and reports only.

    Raises:
        TreeError: The model's text has no counts of training rows.
    """
    return _compile(Explainer(layout, *tables_for_cover(layout)))


def explain_one(row: Vector, explainer: Explainer) -> Vector:
    """Contributions to the raw log-odds of one row, float64 (features,).

    Raises:
        ValueError: The row has another length.
    """
    contributions: Vector = explain_many(row[None, :], explainer)[0]
    return contributions


def explain_many(matrix: Matrix, explainer: Explainer) -> Matrix:
    """Contributions to the raw log-odds of each row, float64 (rows, features); NaN = unknown.

    A row's contributions are the same to the last bit whichever other rows are in ``matrix``.  Many
    rows are distributed over all cores.

    Raises:
        ValueError: ``matrix`` has another width.
    """
    features = explainer.layout.features
    if matrix.ndim != 2 or matrix.shape[1] != features:
        raise ValueError(f"expected rows of {features} features, got {matrix.shape}")
    rows = _plain(matrix)
    out = np.empty(rows.shape)
    if len(rows) < _ROWS_WORTH_A_BLOCK:
        _explain_rows(rows, explainer, out)
    elif len(rows) <= _ROWS_A_THREAD:
        _explain_blocks(rows, explainer, out)
    else:
        _explain_in_threads(rows, explainer, out)
    return out


def split_changes(now: Matrix, earlier: Matrix, layout: Layout) -> Matrix:
    """The exact split of each change of the raw log-odds, float64 (rows, features).

    These are the Shapley values of a row of ``now`` with the same row of ``earlier`` as the whole
    reference, so each row adds up to ``raw(now) - raw(earlier)``.  A feature with the same value in
    both has exactly 0.

    Raises:
        ValueError: The matrices have other shapes than (rows, features), or not the same.
    """
    width = layout.features
    if now.ndim != 2 or now.shape[1] != width or earlier.shape != now.shape:
        raise ValueError(
            f"expected two matrices of rows of {width} features, "
            f"got {now.shape} and {earlier.shape}"
        )
    out = np.empty(now.shape)
    pairs = zip(blocks(_plain(now)), blocks(_plain(earlier)), blocks(out), strict=True)
    for now_block, earlier_block, out_block in pairs:
        _split_block(now_block, earlier_block, layout, out_block)
    return out


def _split_block(now: Matrix, earlier: Matrix, layout: Layout, out: Matrix) -> None:
    leaves = layout.leaves
    kernels.split_changes(
        patterns_of(layout, now),
        patterns_of(layout, earlier),
        leaves.starts,
        leaves.widths,
        leaves.conditions,
        leaves.values,
        _CHANGE_WEIGHTS,
        out,
    )


def _explain_in_threads(matrix: Matrix, explainer: Explainer, out: Matrix) -> None:
    def explain(first: int) -> None:
        share = slice(first, first + _ROWS_A_THREAD)
        _explain_blocks(matrix[share], explainer, out[share])

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the compiled loops release the GIL
        list(pool.map(explain, range(0, len(matrix), _ROWS_A_THREAD)))


def _explain_rows(matrix: Matrix, explainer: Explainer, out: Matrix) -> None:
    layout = explainer.layout
    kernels.explain_rows(
        matrix,
        layout.columns,
        layout.starts,
        layout.split_column,
        layout.split_threshold,
        layout.slots,
        explainer.table,
        out,
    )


def _explain_blocks(matrix: Matrix, explainer: Explainer, out: Matrix) -> None:
    layout = explainer.layout
    for block, block_out in zip(blocks(matrix), blocks(out), strict=True):
        patterns = patterns_of(layout, block)
        kernels.add_lines(
            patterns, layout.starts, layout.widths, layout.slots, explainer.table, block_out
        )


def _plain(matrix: Matrix) -> Matrix:
    """The matrix as a writable float64 array in row order.

    numba would compile the loops again for another kind of array, during a request.
    """
    flags = matrix.flags
    if matrix.dtype == np.float64 and flags.c_contiguous and flags.writeable:
        return matrix
    return np.require(matrix, np.float64, ["C", "W"])  # which itself takes long


def _compile(explainer: Explainer) -> Explainer:
    """The explainer, after its loops were compiled, so that no request waits for the compiler."""
    rows = np.zeros((1, explainer.layout.features))
    _explain_rows(rows, explainer, np.empty_like(rows))
    _explain_blocks(rows, explainer, np.empty_like(rows))
    _split_block(rows, rows, explainer.layout, np.empty_like(rows))
    return explainer
