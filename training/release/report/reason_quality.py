"""How good the reasons are, as the fit and the newest examination of the model measured it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from training.fit.reason_quality import stability
from training.release.report.page import Exhibit
from training.tracking import runs
from training.tracking.store import Store

EXAMINED_BUNDLE = "examined.bundle"  # tag of an examination's run
_CAPTIONS = {
    "reason_sentences": (
        "Whether the reasons are the model's, and what they compare, on the hold-out accounts that "
        "the model cuts. `first_is_largest`: the first reason is the group with the largest "
        "contribution. `pushes`, `named_pushes`: reasons whose group, or named feature, has a "
        "contribution above 0. `materially_worse`: at least three quarters of the comparison "
        "accounts are visibly better in the named feature; `share_better`: how many on average."
    ),
    "reason_deletion": (
        "What the cut is without its reasons: the features of the deleted groups have the values "
        "of the reference accounts, averaged over them. `undone`: shares of cuts whose account is "
        "then at or below the cut-off. The random groups are the controls."
    ),
    "reason_stability": (
        "Whether the reasons stay the same. `reference_sample`: with other reference accounts. "
        "`nudge`: after an amount is 0.1 % higher or lower. `same_first`: the first reason is the "
        "same; `among_equals`: it is the first or one of its equals; `same_set`: all are the same."
    ),
    "examined_stability": (
        "The same on simulated accounts that the model never saw, from its newest examination, "
        "with other models: fitted with `another_seed`, and fitted on `redrawn_accounts`."
    ),
}
_NOT_EXAMINED = (
    "That the reasons hardly depend on the sample of reference accounts does not mean that another "
    "model would state the same. `python -m training examine` measures that with models of "
    "accounts drawn anew; this model has not been examined in this store. On the default "
    "simulation, the page of the examination in the docs has the figures."
)


@dataclass(frozen=True, slots=True)
class ReasonQuality:
    """Tables by the names of the captions; a model may lack any of them."""

    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    def paragraph(self) -> str:
        """Return how far the first reason depends on which accounts the model saw."""
        examined = self.tables.get("examined_stability")
        if examined is None:
            return _NOT_EXAMINED
        # Null where no other model made any of the cuts.
        measured = examined.filter(against=stability.REDRAWN).drop_nulls("same_first")
        if measured.is_empty():
            return _NOT_EXAMINED
        row = measured.row(0, named=True)
        return (
            "Models of accounts drawn anew state the same first reason for "
            f"{_share(row, 'same_first')} of the cuts that both make, and the first or one of its "
            f"equals for {_share(row, 'among_equals')}. A reason depends on which customers the "
            "model saw far more than on the sample of the reference accounts."
        )

    def exhibits(self) -> list[Exhibit]:
        """Return the tables with their captions."""
        return [Exhibit(_CAPTIONS[name], table) for name, table in self.tables.items()]


NOT_MEASURED = ReasonQuality()


def fetch_reason_quality(store: Store, run: str, bundle: str) -> ReasonQuality:
    """Return what the fit's run and the newest examination of this bundle hold."""
    tables = {}
    for name in ("reason_sentences", "reason_deletion", "reason_stability"):
        table = runs.fetch_table(store, run, name)
        if table is not None:
            tables[name] = table
    examination = runs.find_newest(store, EXAMINED_BUNDLE, bundle)
    if examination is not None:
        examined = runs.fetch_table(store, examination, "reason_stability")
        if examined is not None:
            tables["examined_stability"] = examined
    return ReasonQuality(tables)


def _share(row: Mapping[str, float], name: str) -> str:
    return f"{row[name]:.0%} (95 % interval {row[f'{name}_low']:.0%} to {row[f'{name}_high']:.0%})"
