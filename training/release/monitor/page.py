"""What the monitor found, as a page of Markdown and as JSON for a scheduler."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import polars as pl

from training.evaluate.text_tables import markdown
from training.release.monitor.alerts import Breach

MOST_FEATURES = 10  # of a month on the page, those that moved most; the JSON has all

_HEAD = """# Monitor: {verdict}

{name}, bundle `{bundle}`: {accounts:,} decisions of {months}, against the {reference:,} accounts of {as_of} that its fit
held out.

"""


def render_page(
    facts: Mapping[str, object],
    notes: Sequence[str],
    breaches: Sequence[Breach],
    drift: pl.DataFrame,
    performance: pl.DataFrame,
) -> str:
    """The page: the verdict, what is beyond its bound, how well the model does, and what moved."""
    parts = [_HEAD.format(**facts)]
    parts += [f"- {note}\n" for note in notes]
    if breaches:
        parts += [
            "\n## Beyond bounds\n\n",
            markdown(pl.DataFrame([asdict(breach) for breach in breaches])),
        ]
    parts += ["\n## How well it does\n\n", _ESTIMATE, markdown(performance)]
    parts += ["\n## What moved\n\n", _DRIFT, markdown(_most(drift))]
    return "".join(parts)


_ESTIMATE = (
    "`estimated`: what labels would say if the probabilities are right; `realised`: what they say. `reference`: the same of "
    "the accounts that the fit held out; of `rate`, under `realised`, the mean probability of the same decisions.\n\n"
)
_DRIFT = f"Score, reasons and the {MOST_FEATURES} features that moved most in a month, against the reference.\n\n"


def as_json(
    facts: Mapping[str, object],
    notes: Sequence[str],
    breaches: Sequence[Breach],
    drift: pl.DataFrame,
    performance: pl.DataFrame,
) -> str:
    """The same with every row: ``status`` is the exit code, ``breaches`` says why it is 1."""
    found = {
        "status": 1 if breaches else 0,
        **facts,
        "notes": list(notes),
        "breaches": [asdict(breach) for breach in breaches],
        "performance": performance.to_dicts(),
        "drift": drift.to_dicts(),
    }
    return json.dumps(found, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _most(drift: pl.DataFrame) -> pl.DataFrame:
    place = pl.col("psi").rank("ordinal", descending=True).over("month", "kind")
    return drift.filter((pl.col("kind") != "feature") | (place <= MOST_FEATURES)).sort(
        "month",
        pl.col("kind").replace_strict({"score": 0, "reason": 1, "feature": 2}),
        pl.lit(0.0) - pl.col("psi"),
    )
