"""Findings of gates: a measure, its interval and its bound, and what they decide.

A finding has one of four outcomes (:class:`Outcome`).  It passes only if the *whole* 95 % interval
keeps the bound, and fails only if the whole interval is beyond it.  In between nothing is decided,
and neither is it where nothing was measured: the finding then says how many accounts would decide.
So less data can never help a version: an interval that keeps the bound on a small book would keep
it on a larger one that is alike.

Rejected: to refuse only what is beyond the bound with its whole interval.  The smaller the book,
the wider the intervals and the more such gates pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import polars as pl

_COLUMNS = {
    "gate": pl.String,
    "measure": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "bound": pl.String,
    "outcome": pl.String,
    "note": pl.String,
}


class Outcome(StrEnum):
    """What a finding, or a gate, decided.  Only ``FAILED`` and ``NOT_DECIDED`` refuse a version."""

    PASSED = "passed"  # the whole interval keeps the bound
    FAILED = "failed"  # the whole interval is beyond the bound
    NOT_DECIDED = "not decided"  # nothing was measured, or too little
    NOT_ASKED = "not asked"  # of this version the measure is not asked: there is no champion


class Estimate(NamedTuple):
    """A value with its 95 % interval; null if nothing could be measured or there is no interval."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


NOT_MEASURED = Estimate()


@dataclass(frozen=True, slots=True)
class Finding:
    """One measure of a gate, compared with its bound."""

    measure: str
    bound: str  # as text, such as ">= 0.65"
    outcome: Outcome
    estimate: Estimate = NOT_MEASURED
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the outcome refuses no version."""
        return self.outcome in (Outcome.PASSED, Outcome.NOT_ASKED)


Findings = Mapping[str, Sequence[Finding]]  # by gate


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure before it is compared with its bound; ``accounts`` are those it was measured on."""

    measure: str
    estimate: Estimate
    accounts: int
    note: str = ""


def at_least(measured: Measured, bound: float) -> Finding:
    """Compare a measure with the least value that it may have."""
    value, low, high = measured.estimate
    mirrored = Estimate(_negative(value), _negative(high), _negative(low))
    outcome, decides = _decide(mirrored, -bound, measured)
    return _finding(measured, f">= {bound:,.10g}", outcome, decides)


def at_most(measured: Measured, bound: float) -> Finding:
    """Compare a measure with the largest value that it may have."""
    outcome, decides = _decide(measured.estimate, bound, measured)
    return _finding(measured, f"<= {bound:,.10g}", outcome, decides)


def not_decided(measure: str, bound: str, why: str, estimate: Estimate = NOT_MEASURED) -> Finding:
    """Return the finding of a measure that could not be taken; ``why`` says what would decide."""
    return Finding(measure, bound, Outcome.NOT_DECIDED, estimate, why)


def not_asked(measure: str, bound: str, why: str) -> Finding:
    """Return the finding of a measure that does not apply to this version."""
    return Finding(measure, bound, Outcome.NOT_ASKED, note=why)


def outcome_of(findings: Sequence[Finding]) -> Outcome:
    """Return the outcome of a gate: that of its worst finding; not decided without a finding."""
    outcomes = {finding.outcome for finding in findings}
    for outcome in (Outcome.FAILED, Outcome.NOT_DECIDED, Outcome.PASSED, Outcome.NOT_ASKED):
        if outcome in outcomes:
            return outcome
    return Outcome.NOT_DECIDED


def select_refusing(findings: Findings) -> tuple[str, ...]:
    """Return the gates that failed or decided nothing, in order."""
    refuses = (Outcome.FAILED, Outcome.NOT_DECIDED)
    return tuple(gate for gate, own in findings.items() if outcome_of(own) in refuses)


def make_table(findings: Findings) -> pl.DataFrame:
    """Return one row a finding.

    Columns: ``gate``, ``measure``, ``value``, ``low``, ``high``, ``bound``, ``outcome`` (the value
    of an :class:`Outcome`), ``note``.
    """
    rows = []
    for gate, of_gate in findings.items():
        for finding in of_gate:
            measured = (finding.measure, *finding.estimate)
            row = (gate, *measured, finding.bound, finding.outcome.value, finding.note)
            rows.append(row)
    return pl.DataFrame(rows, _COLUMNS, orient="row")


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _decide(estimate: Estimate, bound: float, measured: Measured) -> tuple[Outcome, str]:
    """The outcome of a value that may be ``bound`` at most, and what would decide it."""
    value, low, high = estimate
    if value is None or not math.isfinite(value):
        return Outcome.NOT_DECIDED, "nothing was measured"
    # Counts have no interval.
    low = value if low is None else low
    high = value if high is None else high
    if not (math.isfinite(low) and math.isfinite(high)):
        return Outcome.NOT_DECIDED, "nothing was measured"
    if high <= bound:
        return Outcome.PASSED, ""
    if low > bound:
        return Outcome.FAILED, ""
    reach = high - value if value <= bound else value - low
    return Outcome.NOT_DECIDED, _say_what_decides(reach, abs(bound - value), measured)


def _say_what_decides(reach: float, distance: float, measured: Measured) -> str:
    here = f"{measured.accounts:,} are here"
    # A million times as many accounts, or more.
    if distance <= reach / 1000:
        return f"no book is large enough to decide a value so near its bound, {here}"
    # Intervals shrink with the root of the accounts.
    times = (reach / distance) ** 2
    # Strictly more, so that the interval ends before the bound.
    needed = max(measured.accounts * times, measured.accounts + 1.0)
    digits = 2 - math.ceil(math.log10(needed))
    rounded = math.ceil(needed * 10.0**digits) / 10.0**digits
    return f"about {rounded:,.0f} accounts would decide, {here}"


def _finding(measured: Measured, bound: str, outcome: Outcome, decides: str) -> Finding:
    notes = [note for note in (decides, measured.note) if note]
    return Finding(
        measure=measured.measure,
        bound=bound,
        outcome=outcome,
        estimate=measured.estimate,
        note="; ".join(notes),
    )
