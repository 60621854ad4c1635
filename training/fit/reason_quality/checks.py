"""The quality of the reasons on a fit's own hold-out: tables and metrics, in seconds.

Refits are not made here; ``python -m training examine`` makes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from serving.decision.bundle import Bundle, assemble
from serving.decision.policy.limit import cut_off_log_odds_of
from training.data.labels import select_windows, soon_after
from training.fit.bundle import FitResult, make_parts
from training.fit.fit import last_rows, predict_log_odds
from training.fit.reason_quality import deletion, sentences, stability
from training.fit.reason_quality.stated import CutReasons, find_cut_reasons, reasons_by_other
from training.fit.reference_population import Population

# Enough for a share to within four points, and a large portfolio takes no longer than a small one.
MOST_ACCOUNTS = 500


def check_reasons(
    result: FitResult,
    bundle: Bundle,
    references: Mapping[str, Population],
    seed: int = 0,
) -> dict[str, pl.DataFrame]:
    """Return the tables ``reason_deletion``, ``reason_stability`` and ``reason_sentences``.

    They are over the hold-out accounts that the model cuts, each at its last as_of, at most
    :data:`MOST_ACCOUNTS` drawn at random; without rows if it cuts none.  ``references`` are the
    populations that the bundle's reference was chosen from.
    """
    cuts = cuts_of_hold_out(result, bundle, seed)
    if cuts is None:
        return {
            "reason_deletion": pl.DataFrame(schema=deletion.SCHEMA),
            "reason_stability": pl.DataFrame(schema=stability.SCHEMA),
            "reason_sentences": pl.DataFrame(schema=sentences.SCHEMA),
        }
    stable = list(_stability_rows(cuts, result, references))
    return {
        "reason_deletion": deletion.measure_deletion(cuts, seed),
        "reason_stability": pl.DataFrame(stable, stability.SCHEMA),
        "reason_sentences": sentences.measure_sentences(cuts, seed),
    }


def quality_metrics(tables: Mapping[str, pl.DataFrame]) -> dict[str, float]:
    """Return the shares of the tables of :func:`check_reasons` by name.

    ``reasons_deleted_<deleted>``, ``reasons_<against>_<share>`` and ``reasons_<measure>``, each
    with ``_low`` and ``_high``; those that are null are left out.
    """
    found: dict[str, float | None] = {}
    for row in tables["reason_deletion"].iter_rows(named=True):
        found |= _ends(f"reasons_deleted_{row['deleted']}", row, "undone")
    for row in tables["reason_stability"].iter_rows(named=True):
        for share in stability.SHARES:
            found |= _ends(f"reasons_{row['against']}_{share}", row, share)
    for row in tables["reason_sentences"].iter_rows(named=True):
        found |= _ends(f"reasons_{row['measure']}", row, "value")
    return {name: value for name, value in found.items() if value is not None}


def _ends(metric: str, row: Mapping[str, float | None], column: str) -> dict[str, float | None]:
    return {f"{metric}{end}": row[f"{column}{end}"] for end in ("", "_low", "_high")}


def cuts_of_hold_out(result: FitResult, bundle: Bundle, seed: int = 0) -> CutReasons | None:
    """Return the hold-out accounts that the model cuts, at most MOST_ACCOUNTS; None without any."""
    data = result.data
    rows = last_rows(data, result.fitted.held_out)
    log_odds = predict_log_odds(result.fitted, data.features.matrix(bundle.features)[rows])
    products = data.features.accounts["product"][rows.tolist()].cast(pl.String).to_list()
    cut_off = cut_off_log_odds_of(products, bundle.policy)
    risky = rows[log_odds > cut_off]
    if not len(risky):
        return None
    drawn = np.random.default_rng(seed).permutation(risky)[:MOST_ACCOUNTS]
    accounts = data.features.accounts[np.sort(drawn).tolist()]
    windows = []
    for (as_of,), group in accounts.group_by("as_of", maintain_order=True):
        is_own = pl.col("account_id").is_in(group["account_id"].implode())
        windows.append(select_windows(result.source.statements.filter(is_own), as_of))
    decided_at = soon_after(accounts["as_of"].max())
    cuts = find_cut_reasons(pl.concat(windows), bundle, decided_at)
    # A rule, or a cut too small to make, may have decided instead of the model.
    return cuts if len(cuts) else None


def bundle_with_second_sample(
    result: FitResult,
    references: Mapping[str, Population],
) -> Bundle | None:
    """Return the fit's bundle with the second sample of each pool as reference.

    None where a pool has no further accounts.
    """
    second = {}
    for product, population in references.items():
        if not len(population.second):
            return None
        note = replace(population.note, accounts=len(population.second))
        second[product] = replace(population, rows=population.second, note=note)
    return assemble(make_parts(result, second))


def _stability_rows(
    cuts: CutReasons,
    result: FitResult,
    references: Mapping[str, Population],
) -> Iterator[dict[str, object]]:
    other = bundle_with_second_sample(result, references)
    if other is not None:
        reasons = reasons_by_other(cuts, other)
        yield stability.stability_row(stability.REFERENCE, cuts.stated, [reasons])
    yield stability.stability_under_nudges(cuts)
