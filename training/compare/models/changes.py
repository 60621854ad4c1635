"""Whose decision another model changes: who is newly cut, who is spared, by how much, and for what
reasons.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from training.evaluate.holdout import Evaluation

ACTIONS = ("keep", "reduce", "suspend", "review")
# CNY; the last reaches to where a cut is of high impact.
BANDS = (
    (0.0, "below 5,000"),
    (5_000.0, "5,000 to 20,000"),
    (20_000.0, "20,000 to 50,000"),
    (50_000.0, "50,000 and more"),
)


def actions(models: Sequence[Evaluation]) -> pl.DataFrame:
    """One row a model: ``model``, accounts, how many get each action, how many are ``cut``
    (proposals counted), ``cut_share``, ``defaults_cut``, the share of all defaults that are among
    the cut, and ``amount``, CNY taken off limits."""
    return pl.DataFrame(
        [
            {
                "model": model.name,
                "accounts": len(model.label),
                **{action: int((model.actions == action).sum()) for action in ACTIONS},
                "cut": int(model.cut.sum()),
                "cut_share": float(model.cut.mean()),
                "defaults_cut": float(model.label[model.cut].sum() / max(model.label.sum(), 1.0)),
                "amount": _amount(model),
            }
            for model in models
        ]
    )


def changes(first: Evaluation, second: Evaluation) -> pl.DataFrame:
    """One row a product and band of the limit, and one of all (``product`` and ``limit`` are
    "all").

    ``accounts``; ``both`` cut by both; ``newly_cut`` by the second only and ``spared`` by it, with
    the rates of default of these, null where there are none; ``amount_first``, ``amount_second``:
    CNY taken off limits.
    """
    before, after_first = first.limits
    _, after_second = second.limits
    edges = [edge for edge, _ in BANDS[1:]]
    frame = first.hold_out.people.select("product").with_columns(
        limit=pl.Series(
            [BANDS[place][1] for place in np.searchsorted(edges, before, side="right").tolist()]
        ),
        band=pl.Series(np.searchsorted(edges, before, side="right")),
        label=pl.Series(first.label),
        one=pl.Series(first.cut),
        other=pl.Series(second.cut),
        amount_first=pl.Series(before - after_first),
        amount_second=pl.Series(before - after_second),
    )
    newly, spared = pl.col("other") & ~pl.col("one"), pl.col("one") & ~pl.col("other")
    counted = (
        pl.len().alias("accounts"),
        (pl.col("one") & pl.col("other")).sum().alias("both"),
        newly.sum().alias("newly_cut"),
        pl.col("label").filter(newly).mean().alias("newly_cut_rate"),
        spared.sum().alias("spared"),
        pl.col("label").filter(spared).mean().alias("spared_rate"),
        pl.col("amount_first", "amount_second").sum(),
    )
    by_band = (
        frame.group_by("product", "band", "limit").agg(counted).sort("product", "band").drop("band")
    )
    whole = frame.select(
        pl.lit("all").alias("product"), pl.lit("all").alias("limit"), *counted
    ).head(1)
    return pl.concat([by_band, whole])


def reasons(first: Evaluation, second: Evaluation) -> pl.DataFrame:
    """One row a code that is somebody's first reason, the commonest first.

    ``code``; how often it is the ``first`` model's and the ``second``'s; of whom the second cuts
    newly (``newly_cut``, its reason), of whom it spares (``spared``, the first's reason).
    """
    newly, spared = second.cut & ~first.cut, first.cut & ~second.cut
    parts = {
        "first": first.first_reasons[first.cut],
        "second": second.first_reasons[second.cut],
        "newly_cut": second.first_reasons[newly],
        "spared": first.first_reasons[spared],
    }
    codes = sorted({code for part in parts.values() for code in part.tolist()})
    counted = {name: [int((part == code).sum()) for code in codes] for name, part in parts.items()}
    table = pl.DataFrame({"code": pl.Series(codes, dtype=pl.String)} | counted)
    return table.sort(pl.col("first") + pl.col("second"), "code", descending=[True, False])


def _amount(model: Evaluation) -> float:
    before, after = model.limits
    return float((before - after).sum())
