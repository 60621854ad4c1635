"""The comparison as a page of Markdown, and what a terminal shows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from training.compare.models import verdict as rules
from training.compare.models.verdict import Verdict
from training.evaluate.holdout import Evaluation
from training.evaluate.text_tables import columns, markdown, with_interval

SECTIONS: Mapping[str, tuple[str, str]] = {
    "differences": (
        "Measures, paired",
        "Second minus first on the same accounts, with 95 % intervals: DeLong's for AUC, of a stratified paired bootstrap for "
        "the others. `favours` names a model where the whole interval is on its side of 0.",
    ),
    "calibration": (
        "Calibration",
        "`slope` (1 is best; below 1: too far apart) and `intercept` (0 is best; above 0: too small), in log-odds; `ece`, the "
        "mean gap of probability and rate over ten bins, which noise alone makes more than 0.",
    ),
    "calibration_bins": ("Calibration by tenth", ""),
    "actions": (
        "Decisions",
        "`cut` counts what is cut, suspended, or proposed to be; `defaults_cut` is the share of all defaults among them; "
        "`amount` is CNY taken off limits.",
    ),
    "changes": (
        "Who is newly cut, who is spared",
        "By product and limit, CNY; the rates are of default among those whose decision changes.",
    ),
    "reasons": (
        "Why",
        "First reasons of all that each model cuts, of whom the second cuts newly (its reason), and of whom it spares (the "
        "first model's reason).",
    ),
    "value": (
        "Value under the policy",
        "CNY for 1,000 accounts over the outcome window, by the first model's `[economics]`, as it turned out, of what the "
        "model takes beyond the hard rules: `avoided` = loss_given_default x the exposure taken from accounts that defaulted; "
        "`forgone` = margin x, `harmed` = harm x the limit taken from accounts that stayed good; `value` = avoided - forgone - "
        "harmed; a model that cuts nobody is worth 0. `difference` is to the first, with a paired bootstrap interval.",
    ),
    "shift": (
        "How far the models differ, by month",
        "The population stability index of the second's scores and first reasons against the first's, on the same "
        "unseen accounts.",
    ),
}
SHOWN = ("differences", "calibration", "actions", "value")  # in a terminal
_INTERVAL_OF = {
    "differences": "difference",
    "calibration": "value",
    "calibration_bins": "rate",
    "value": "difference",
}


def page(
    models: Sequence[Evaluation],
    tables: Mapping[str, pl.DataFrame],
    verdicts: Sequence[Verdict],
    notes: Sequence[str],
) -> str:
    """The page: what was compared, the verdicts and their rules, the tables."""
    parts = [
        f"# {' against '.join(model.name for model in [*models[1:], models[0]])}\n",
        head(models, notes) + "\n",
    ]
    parts += [*(f"- **{said}**" for said in verdicts), "", rules_of_verdict(), ""]
    for name, (title, text) in SECTIONS.items():
        parts += (
            [f"## {title}\n"]
            + ([f"{text}\n"] if text else [])
            + [markdown(shown(name, tables[name]))]
        )
    return "\n".join(parts)


def terminal(
    models: Sequence[Evaluation],
    tables: Mapping[str, pl.DataFrame],
    verdicts: Sequence[Verdict],
    notes: Sequence[str],
) -> str:
    """What a terminal shows: the tables that a verdict rests on, and the verdicts."""
    parts = [head(models, notes)]
    for name in SHOWN:
        parts += ["", f"{SECTIONS[name][0]}", columns(shown(name, tables[name]))]
    return "\n".join([*parts, "", *map(str, verdicts), rules_of_verdict()])


def head(models: Sequence[Evaluation], notes: Sequence[str]) -> str:
    """What is compared on what."""
    on = models[0].hold_out
    names = "; ".join(f"{model.name} is bundle {model.bundle.digest[:12]}" for model in models)
    defaults = int(on.label.sum())
    told = f"{len(on.label):,} unseen accounts as of {on.as_of:%Y-%m}, {defaults:,} of which defaulted. {names}."
    return "\n".join([told, *notes])


def rules_of_verdict() -> str:
    """The rules in one sentence."""
    asked = ", ".join(rules.ASKED)
    return f"Better: of {asked}, the interval of none is wholly on the first's side of 0, and of one or more on the second's."


def shown(name: str, table: pl.DataFrame) -> pl.DataFrame:
    """A table with its bare interval beside the figure that it is of."""
    return table.rename(with_interval(_INTERVAL_OF[name])) if name in _INTERVAL_OF else table
