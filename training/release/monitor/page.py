"""The monitor's report: a page of Markdown, and JSON for a scheduler."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import polars as pl

from training.evaluate.text_tables import markdown
from training.release.monitor.alerts import Breach

MAX_FEATURES = 10  # of a month on the page; the JSON has all of them

_HEAD = (
    "# Monitor: {verdict}\n\n"
    "{name}, bundle `{bundle}`: {accounts:,} decisions of {months}, "
    "compared with {reference:,} accounts of {as_of} that no tree saw, past due or not. Measures "
    "with labels are compared with the {hold_out:,} labelled ones of {hold_out_as_of}.\n\n"
)
_PERFORMANCE = (
    "`estimated`: the performance to expect if the probabilities are calibrated. `realised`: the "
    "performance measured with labels. `reference`: the same measure on the accounts compared "
    "with; for the realised `rate`, the mean probability of the same decisions.\n\n"
)
_DRIFT = (
    f"Score, reasons and the {MAX_FEATURES} features with the largest drift of each month, "
    "compared with the reference.\n\n"
)


@dataclass(frozen=True, slots=True)
class MonitorReport:
    """The content of a report; the tables of a monitor's result."""

    # See MonitorResult in training.release.monitor.monitor for the columns of the tables.

    facts: Mapping[str, object]
    verdict: str
    notes: tuple[str, ...]
    breaches: tuple[Breach, ...]
    drift: pl.DataFrame
    performance: pl.DataFrame


def render_page(report: MonitorReport) -> str:
    """Return the page in Markdown: verdict, broken bounds, performance and drift."""
    parts = [_HEAD.format(**report.facts, verdict=report.verdict)]
    parts += [f"- {note}\n" for note in report.notes]
    if report.breaches:
        breaches = pl.DataFrame([asdict(breach) for breach in report.breaches])
        parts += ["\n## Beyond bounds\n\n", markdown(breaches)]
    parts += ["\n## Performance\n\n", _PERFORMANCE, markdown(report.performance)]
    parts += ["\n## Drift\n\n", _DRIFT, markdown(_select_largest(report.drift))]
    return "".join(parts)


def as_json(report: MonitorReport) -> str:
    """Return the report as JSON with every row.

    ``status`` is the exit code of the command; ``breaches`` are its cause.
    """
    content = {
        "status": 1 if report.breaches else 0,
        **report.facts,
        "verdict": report.verdict,
        "notes": list(report.notes),
        "breaches": [asdict(breach) for breach in report.breaches],
        "performance": report.performance.to_dicts(),
        "drift": report.drift.to_dicts(),
    }
    # NaN is no JSON: a scheduler's parser would refuse it, so that it is an error here.
    return (
        json.dumps(
            content,
            ensure_ascii=False,
            indent=1,
            allow_nan=False,
        )
        + "\n"
    )


def _select_largest(drift: pl.DataFrame) -> pl.DataFrame:
    rank = pl.col("psi").rank("ordinal", descending=True).over("month", "kind")
    kinds = pl.col("kind").replace_strict({"score": 0, "reason": 1, "feature": 2})
    largest = (pl.col("kind") != "feature") | (rank <= MAX_FEATURES)
    return drift.filter(largest).sort("month", kinds, -pl.col("psi"))
