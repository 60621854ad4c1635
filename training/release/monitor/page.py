"""The monitor's report: a page of Markdown, and JSON for a scheduler."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import polars as pl

from training.evaluate.text_tables import markdown
from training.release.monitor.alerts import Breach

MAX_FEATURES = 10  # of a month on the page; the JSON has all

_HEAD = (
    "# Monitor: {verdict}\n\n"
    "{name}, bundle `{bundle}`: {accounts:,} decisions of {months}, "
    "compared with the {reference:,} accounts of {as_of} that its fit held out.\n\n"
)
_PERFORMANCE = (
    "`estimated`: what labels would say if the probabilities are right; `realised`: what they say. "
    "`reference`: the same measure on the accounts that the fit held out; for the realised `rate`, "
    "the mean probability of the same decisions.\n\n"
)
_DRIFT = (
    f"Score, reasons and the {MAX_FEATURES} features that moved most in a month, "
    "compared with the reference.\n\n"
)


@dataclass(frozen=True, slots=True)
class MonitorReport:
    """The content of a report.  Tables as :class:`training.release.monitor.monitor.Monitored`."""

    facts: Mapping[str, object]
    verdict: str
    notes: tuple[str, ...]
    breaches: tuple[Breach, ...]
    drift: pl.DataFrame
    performance: pl.DataFrame


def render_page(report: MonitorReport) -> str:
    """The page: the verdict, the broken bounds, the performance and the drift."""
    parts = [_HEAD.format(**report.facts, verdict=report.verdict)]
    parts += [f"- {note}\n" for note in report.notes]
    if report.breaches:
        breaches = pl.DataFrame([asdict(breach) for breach in report.breaches])
        parts += ["\n## Beyond bounds\n\n", markdown(breaches)]
    parts += ["\n## How well it does\n\n", _PERFORMANCE, markdown(report.performance)]
    parts += ["\n## What moved\n\n", _DRIFT, markdown(_largest(report.drift))]
    return "".join(parts)


def as_json(report: MonitorReport) -> str:
    """The report with every row.  ``status`` is the exit code; ``breaches`` are its cause."""
    content = {
        "status": 1 if report.breaches else 0,
        **report.facts,
        "verdict": report.verdict,
        "notes": list(report.notes),
        "breaches": [asdict(breach) for breach in report.breaches],
        "performance": report.performance.to_dicts(),
        "drift": report.drift.to_dicts(),
    }
    return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _largest(drift: pl.DataFrame) -> pl.DataFrame:
    rank = pl.col("psi").rank("ordinal", descending=True).over("month", "kind")
    kinds = pl.col("kind").replace_strict({"score": 0, "reason": 1, "feature": 2})
    shown = drift.filter((pl.col("kind") != "feature") | (rank <= MAX_FEATURES))
    return shown.sort("month", kinds, -pl.col("psi"))
