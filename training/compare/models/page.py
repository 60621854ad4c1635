"""A comparison of models as a page of Markdown, and its summary for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from training.compare.models.verdict import DECIDING, ModelVerdict
from training.evaluate.holdout import Evaluation
from training.evaluate.text_tables import columns, markdown, with_interval

# Table -> title and text of its section.
SECTIONS: Mapping[str, tuple[str, str]] = {
    "differences": (
        "Measures, paired",
        "Second minus first on the same accounts, with 95 % intervals: DeLong's for AUC, a "
        "paired bootstrap over accounts for the others. `favours` names a model where the whole "
        "interval is on its side of 0.",
    ),
    "calibration": (
        "Calibration",
        "`slope` (1 is best; below 1: too far apart) and `intercept` (0 is best; above 0: too "
        "small), in log-odds; `ece`, the mean gap of probability and rate over ten bins, which "
        "noise alone makes more than 0.",
    ),
    "calibration_bins": ("Calibration by tenth", ""),
    "actions": (
        "Decisions",
        "`cut` counts accounts that are cut, suspended, or proposed to be; `defaults_cut` is the "
        "share of all defaults among them; `amount` is CNY taken off limits.",
    ),
    "changes": (
        "Newly cut and spared accounts",
        "By product and limit, CNY; the rates are of default among accounts whose decision "
        "changes.",
    ),
    "reasons": (
        "Why",
        "First reasons: of all accounts that each model cuts, of accounts that only the second "
        "cuts (`newly_cut`, its reason), and of accounts that only the first cuts (`spared`, its "
        "reason).",
    ),
    "value": (
        "Value under the policy",
        "CNY for 1,000 accounts over the outcome window, by the first model's `[economics]` and "
        "the known outcomes, for cuts beyond the hard rules: `avoided` = loss_given_default x the "
        "exposure taken from accounts that defaulted; `forgone` = margin x, `harmed` = harm x the "
        "limit taken from accounts that stayed good; `value` = avoided - forgone - harmed; a model "
        "that cuts no account is worth 0. `difference` is to the first, with a paired interval.",
    ),
    "shift": (
        "How far the models differ, by month",
        "The population stability index of the second's scores and first reasons against the "
        "first's, on the same unseen accounts.",
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
    verdicts: Sequence[ModelVerdict],
    notes: Sequence[str],
) -> str:
    """Return the page: the models and accounts, the verdicts and their rules, the tables."""
    names = [model.name for model in models]
    parts = [
        f"# {' against '.join([*names[1:], names[0]])}\n",
        describe_models(models, notes) + "\n",
        *(f"- **{verdict}**" for verdict in verdicts),
        "",
        rules_of_verdict(),
        "",
    ]
    for name, (title, text) in SECTIONS.items():
        parts.append(f"## {title}\n")
        if text:
            parts.append(f"{text}\n")
        parts.append(markdown(_name_interval(name, tables[name])))
    return "\n".join(parts)


def terminal(
    models: Sequence[Evaluation],
    tables: Mapping[str, pl.DataFrame],
    verdicts: Sequence[ModelVerdict],
    notes: Sequence[str],
) -> str:
    """Return the summary for a terminal: the tables that decide a verdict, and the verdicts."""
    parts = [describe_models(models, notes)]
    for name in SHOWN:
        title, _ = SECTIONS[name]
        parts += ["", title, columns(_name_interval(name, tables[name]))]
    return "\n".join([*parts, "", *map(str, verdicts), rules_of_verdict()])


def describe_models(models: Sequence[Evaluation], notes: Sequence[str]) -> str:
    """Return which models are compared on which accounts, and the notes."""
    on = models[0].hold_out
    accounts = len(on.label)
    defaults = int(on.label.sum())
    names = "; ".join(f"{model.name} is bundle {model.bundle.digest[:12]}" for model in models)
    first_line = (
        f"{accounts:,} unseen accounts as of {on.as_of:%Y-%m}, "
        f"{defaults:,} of which defaulted. {names}."
    )
    return "\n".join([first_line, *notes])


def rules_of_verdict() -> str:
    """Return the rules of a verdict in one sentence."""
    return (
        f"Better: of {', '.join(DECIDING)}, no interval is wholly on the first's side of 0, "
        f"and at least one is wholly on the second's."
    )


def _name_interval(name: str, table: pl.DataFrame) -> pl.DataFrame:
    """A table whose columns ``low`` and ``high`` are named after the figure they belong to."""
    if name not in _INTERVAL_OF:
        return table
    return table.rename(with_interval(_INTERVAL_OF[name]))
