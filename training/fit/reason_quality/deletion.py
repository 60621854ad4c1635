"""Would the cut fall away without the stated reasons?

A reason is *deleted* by setting all features of its group to those of a reference account.  The
log-odds after that are the mean over the whole reference population, as for contributions: with
every group deleted they are the base.  The cut is *undone* where they are at or below the cut-off.
A random group and four random groups are the controls: a reason that says why should undo more.

Source: the deletion measures of explanations, W. Samek et al. 2017, *Evaluating the visualization
of what a deep neural network has learned* (IEEE TNNLS 28), with an interventional reference in
place of one fixed baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from features.types import Mask, Matrix, Vector
from serving.decision.bundle import Bundle
from serving.decision.scoring.score import log_odds_of
from training.evaluate.metrics import wilson
from training.fit.reason_quality.stated import CutReasons, StatedReasons, groups_of_features

_ROWS_A_BLOCK = 50_000  # scored together: bounds the memory
FIRST, STATED = "first", "stated"
ONE_RANDOM, FOUR_RANDOM = "one_random", "four_random"
SCHEMA = {
    "deleted": pl.String,
    "accounts": pl.Int64,
    "groups": pl.Float64,
    "undone": pl.Float64,
    "undone_low": pl.Float64,
    "undone_high": pl.Float64,
    "fall": pl.Float64,
}

Choose = Callable[[StatedReasons], Sequence[str]]


def measure_deletion(cuts: CutReasons, seed: int = 0) -> pl.DataFrame:
    """Return one row for each choice of deleted groups; no rows without accounts.

    Columns: ``deleted`` is the ``first`` reason, all that are ``stated``, ``one_random`` group of
    the model or ``four_random`` ones; ``accounts``; ``groups``, how many are deleted on average;
    ``undone``, the share of cuts that are undone, with a 95 % interval; ``fall``, the mean decrease
    of the log-odds.
    """
    rows = []
    for name, choose in _choices(cuts.bundle, seed).items():
        chosen = [choose(stated) for stated in cuts.stated]
        if chosen:
            rows.append(_row(name, chosen, cuts))
    return pl.DataFrame(rows, SCHEMA)


def log_odds_without(cuts: CutReasons, deleted: Mask) -> Vector:
    """Return the mean log-odds over the reference, float64 (accounts,).

    ``deleted`` (accounts, model features) says which features are set to those of the reference.
    """
    log_odds = np.empty(len(cuts))
    for product, reference in reference_rows(cuts.bundle).items():
        accounts = np.flatnonzero(cuts.products == product)
        at_once = max(_ROWS_A_BLOCK // len(reference), 1)
        for start in range(0, len(accounts), at_once):
            block = accounts[start : start + at_once]
            mixed = np.where(
                deleted[block, None, :],
                reference[None, :, :],
                cuts.matrix[block, None, :],
            )
            rows = mixed.reshape(-1, reference.shape[1])
            scores = log_odds_of(rows, cuts.bundle.scorer)
            log_odds[block] = scores.reshape(len(block), -1).mean(axis=1)
    return log_odds


def reference_rows(bundle: Bundle) -> dict[str, Matrix]:
    """Return the reference accounts of each product, float64 (accounts, model features)."""
    by_product = bundle.reference.partition_by("product", as_dict=True)
    rows = {}
    for (product,), table in by_product.items():
        known = table.select(bundle.features).fill_null(np.nan)
        rows[str(product)] = known.to_numpy()
    return rows


def _choices(bundle: Bundle, seed: int) -> dict[str, Choose]:
    every_group = np.unique(groups_of_features(bundle))

    def draw_of(count: int) -> Choose:
        # A generator each: the groups drawn do not depend on the order of the choices.
        random = np.random.default_rng((seed, count))
        most = min(count, len(every_group))
        return lambda _: random.choice(every_group, most, replace=False).tolist()

    return {
        FIRST: lambda stated: stated.groups[:1],
        STATED: lambda stated: stated.groups,
        ONE_RANDOM: draw_of(1),
        FOUR_RANDOM: draw_of(4),
    }


def _row(name: str, chosen: list[Sequence[str]], cuts: CutReasons) -> dict[str, object]:
    groups = groups_of_features(cuts.bundle)
    deleted = np.array([np.isin(groups, list(own)) for own in chosen])
    without = log_odds_without(cuts, deleted)
    undone = without <= cuts.cut_off
    share = float(undone.mean())
    low, high = wilson(share, len(cuts))
    return {
        "deleted": name,
        "accounts": len(cuts),
        "groups": float(np.mean([len(own) for own in chosen])),
        "undone": share,
        "undone_low": low,
        "undone_high": high,
        "fall": float((cuts.log_odds - without).mean()),
    }
