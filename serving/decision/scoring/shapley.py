"""Exact interventional Shapley values of a LightGBM model's raw log-odds against a reference
population.

A contribution answers: what part of the account's difference from the reference is due to this
feature?  It is the Shapley value of the game whose players are the features and whose payoff, for a
set of them, is the model's mean over the reference with the set's values replaced by the account's
(Lundberg et al. 2020, arXiv 1905.04610).  For an account x and the reference's rows z

    raw(x) = base + contributions.sum(),    base = mean of raw(z)

The mean over the reference is taken once, when tables are made
(:mod:`serving.decision.scoring.shapley_tables`); an account then costs one look-up for each piece
of a tree, however many rows the reference has.  docs/service/explanations.md tells what the values mean and
what they cannot say.

:func:`explain_one` and :func:`explain_many` give the same bits for the same row.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from features.types import Matrix, Vector
from serving.decision.scoring import kernels
from serving.decision.scoring.shapley_tables import (
    Layout,
    against_cover,
    blocks,
    patterns_of,
    tables_for_reference,
)

_ROWS_WORTH_A_BLOCK = 8  # below, one row after the other is faster
_ROWS_A_THREAD = 4096


@dataclass(frozen=True, slots=True)
class Explainer:
    """A model against one reference population.

    ``base``: the reference's mean raw log-odds.  Read-only.
    """

    layout: Layout
    table: Matrix
    base: float


def make_explainer(layout: Layout, reference: Matrix) -> Explainer:
    """The explainer against the rows of ``reference``, float64 (N, features), N >= 1, NaN =
    unknown.

    The order of the rows does not matter, and N copies of one row are that row alone.  ValueError
    for another shape.

    >>> import lightgbm as lgb
    >>> from serving.decision.scoring.shapley_tables import lay_out
    >>> from serving.decision.scoring.lightgbm_trees import read_trees
    >>> rows = lgb.Dataset(np.array([[0.0], [1.0]]), [10.0, 20.0], params={"min_data_in_bin": 1, "verbose": -1})
    >>> model = lgb.train({"min_data_in_leaf": 1, "learning_rate": 1.0, "verbose": -1}, rows, 1)  # 10 for 0 and 20 for 1
    >>> explainer = against(lay_out(read_trees(model)), np.array([[0.0], [0.0], [0.0], [1.0]]))
    >>> round(explainer.base, 9), explain_one(np.array([1.0]), explainer)
    (12.5, array([7.5]))
    """
    if reference.ndim != 2 or reference.shape[1] != layout.features or not len(reference):
        raise ValueError(
            f"reference: expected (one row or more, {layout.features}), got {reference.shape}"
        )
    return _warm(Explainer(layout, *tables_for_reference(layout, _plain(reference))))


def path_dependent(layout: Layout) -> Explainer:
    """The explainer of LightGBM's own ``pred_contrib``, whose background is training counts: for
    tests and reports only.
    """
    return _warm(Explainer(layout, *against_cover(layout)))


def explain_one(row: Vector, explainer: Explainer) -> Vector:
    """Contributions to the raw log-odds of one row, float64 (features,).

    ValueError for another length.
    """
    explained: Vector = explain_many(row[None, :], explainer)[0]
    return explained


def explain_many(matrix: Matrix, explainer: Explainer) -> Matrix:
    """Contributions to the raw log-odds, float64 (rows, features), of the rows of ``matrix``; NaN =
    unknown.

    A row's contributions are the same to the last bit whatever rows stand beside it.  Many rows are
    shared out over all cores. ValueError for another width.
    """
    if matrix.ndim != 2 or matrix.shape[1] != explainer.layout.features:
        raise ValueError(
            f"expected rows of {explainer.layout.features} features, got {matrix.shape}"
        )
    plain = _plain(matrix)
    out = np.empty(plain.shape)
    if len(plain) < _ROWS_WORTH_A_BLOCK:
        _explain_rows(plain, explainer, out)
    elif len(plain) <= _ROWS_A_THREAD:
        _explain_blocks(plain, explainer, out)
    else:
        firsts = range(0, len(plain), _ROWS_A_THREAD)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # the compiled loops hold no lock
            shares = [slice(first, first + _ROWS_A_THREAD) for first in firsts]
            list(
                pool.map(lambda share: _explain_blocks(plain[share], explainer, out[share]), shares)
            )
    return out


def _explain_rows(matrix: Matrix, explainer: Explainer, out: Matrix) -> None:
    at = explainer.layout
    kernels.explain_rows(
        matrix,
        at.columns,
        at.starts,
        at.split_column,
        at.split_threshold,
        at.slots,
        explainer.table,
        out,
    )


def _explain_blocks(matrix: Matrix, explainer: Explainer, out: Matrix) -> None:
    at = explainer.layout
    for block, explained in zip(blocks(matrix), blocks(out), strict=True):
        kernels.add_lines(
            patterns_of(at, block), at.starts, at.widths, at.slots, explainer.table, explained
        )


def _plain(matrix: Matrix) -> Matrix:
    """Writable, in rows, float64: another kind of array would be compiled for anew, at a request."""
    return np.require(matrix, np.float64, ["C", "W"])


def _warm(explainer: Explainer) -> Explainer:
    """The explainer, its loops compiled: before a service is ready and not at its first request."""
    rows = np.zeros((1, explainer.layout.features))
    _explain_rows(rows, explainer, np.empty_like(rows))
    _explain_blocks(rows, explainer, np.empty_like(rows))
    return explainer
