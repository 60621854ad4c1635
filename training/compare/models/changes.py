"""Decisions that differ between two models: newly cut and spared accounts, amounts, reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl

from training.evaluate.holdout import Evaluation

ACTIONS = ("keep", "reduce", "suspend", "review")
# CNY; the last begins where a cut is of high impact.
BANDS = (
    (0.0, "below 5,000"),
    (5_000.0, "5,000 to 20,000"),
    (20_000.0, "20,000 to 50,000"),
    (50_000.0, "50,000 and more"),
)


def actions(models: Sequence[Evaluation]) -> pl.DataFrame:
    """Return one row for each model.

    Columns: ``model``, ``accounts``, the count of each action, ``cut`` (accounts cut, proposals
    included), ``cut_share``, ``defaults_cut`` (the share of all defaults among the cut accounts)
    and ``amount`` (CNY taken off limits).
    """
    return pl.DataFrame([_action_row(model) for model in models])


def _action_row(model: Evaluation) -> dict[str, object]:
    before, after = model.limits
    taken = before - after
    decided = Counter(model.actions.tolist())
    counts = {action: decided[action] for action in ACTIONS}
    # At least 1: without a default, none of 0 is among the cut accounts.
    defaults = max(model.label.sum(), 1.0)
    defaults_cut = model.label[model.cut].sum()
    return {
        "model": model.name,
        "accounts": len(model.label),
        **counts,
        "cut": int(model.cut.sum()),
        "cut_share": float(model.cut.mean()),
        "defaults_cut": float(defaults_cut / defaults),
        "amount": float(taken.sum()),
    }


def changes(first: Evaluation, second: Evaluation) -> pl.DataFrame:
    """Return one row for each product and band of the limit, and one for all ("all", "all").

    Columns: ``product``, ``limit``, ``accounts``; ``both`` cut by both models; ``newly_cut`` by the
    second only and ``spared`` by it, each with its rate of default (null where there are none);
    ``amount_first`` and ``amount_second``, CNY taken off limits.
    """
    cut_first = pl.col("cut_first")
    cut_second = pl.col("cut_second")
    both = cut_first & cut_second
    newly_cut = cut_second & ~cut_first
    spared = cut_first & ~cut_second
    totals = (
        pl.len().alias("accounts"),
        both.sum().alias("both"),
        newly_cut.sum().alias("newly_cut"),
        pl.col("label").filter(newly_cut).mean().alias("newly_cut_rate"),
        spared.sum().alias("spared"),
        pl.col("label").filter(spared).mean().alias("spared_rate"),
        pl.col("amount_first", "amount_second").sum(),
    )
    accounts = _decisions(first, second)
    by_band = (
        accounts.group_by("product", "band", "limit")
        .agg(totals)
        # By the band's number: as text, "5,000 to 20,000" comes before "below 5,000".
        .sort("product", "band")
        .drop("band")
    )
    everything = accounts.select(
        pl.lit("all").alias("product"),
        pl.lit("all").alias("limit"),
        *totals,
    ).head(1)
    return pl.concat([by_band, everything])


def _decisions(first: Evaluation, second: Evaluation) -> pl.DataFrame:
    """One row an account: product, band of the limit, outcome, and both models' decisions."""
    before, after_first = first.limits
    _, after_second = second.limits
    edges = [edge for edge, _ in BANDS[1:]]
    band = np.searchsorted(edges, before, side="right")
    names = np.array([name for _, name in BANDS])
    products = first.hold_out.people.select("product")
    return products.with_columns(
        limit=pl.Series(names[band]),
        band=pl.Series(band),
        label=pl.Series(first.label),
        cut_first=pl.Series(first.cut),
        cut_second=pl.Series(second.cut),
        amount_first=pl.Series(before - after_first),
        amount_second=pl.Series(before - after_second),
    )


def reasons(first: Evaluation, second: Evaluation) -> pl.DataFrame:
    """Return one row for each code that is a first reason, the most frequent first.

    Columns: ``code``; its count among the ``first`` and the ``second`` model's first reasons;
    ``newly_cut``, among accounts that only the second model cuts (its reason); ``spared``, among
    accounts that only the first model cuts (its reason).
    """
    newly_cut = second.cut & ~first.cut
    spared = first.cut & ~second.cut
    codes_of = {
        "first": first.first_reasons[first.cut],
        "second": second.first_reasons[second.cut],
        "newly_cut": second.first_reasons[newly_cut],
        "spared": first.first_reasons[spared],
    }
    every_code = np.concatenate(list(codes_of.values()))
    codes = sorted(set(every_code.tolist()))
    # With its type, for two models that cut no account: an empty list has none.
    table = pl.DataFrame({"code": pl.Series(codes, dtype=pl.String)})
    for name, reasons in codes_of.items():
        counts = [int((reasons == code).sum()) for code in codes]
        table = table.with_columns(pl.Series(name, counts))
    frequency = pl.col("first") + pl.col("second")
    return table.sort(frequency, "code", descending=[True, False])
