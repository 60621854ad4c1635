"""The gates that a version must pass before it becomes champion.

A gate takes measures and compares them with the bounds in its table of gates.toml.  A bound refuses
only if the whole 95 % interval is beyond it.  Gates that compare with the champion pass if there is
no champion.  Read :func:`check_gates` and :data:`CHECKS` first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import norm

from training.data.outcome_counts import describe_censored, share_censored
from training.evaluate import metrics, paired_tests
from training.evaluate.calibration import reliability
from training.evaluate.drift import SCHEMA, compare_reasons, drift_table, psi_noise
from training.evaluate.fairness import JOINT, LEAST_SHARE, group_table, impact
from training.evaluate.holdout import GROUPS, Evaluation, HoldOut
from training.evaluate.metrics import wilson
from training.release.gate_config import (
    CalibrationGate,
    CostGate,
    DiscriminationGate,
    FairnessGate,
    Gates,
    HoldOutGate,
    ReasonsGate,
    StabilityGate,
)

NO_CHAMPION = "there is no champion"
GOLDEN = "golden"  # the one gate without a bound: the bundle loads and answers its golden rows
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


@dataclass(frozen=True, slots=True)
class GateInput:
    """The evaluations that the gates compare.

    Attributes:
        version: The version on the hold-out.
        earlier: The version on the same accounts in the last training month.
        champion: The champion on the hold-out, null if there is no champion.
    """

    version: Evaluation
    earlier: Evaluation
    champion: Evaluation | None


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
    passed: bool
    estimate: Estimate = NOT_MEASURED
    note: str = ""


Findings = Mapping[str, Sequence[Finding]]  # by gate


def check_gates(evidence: GateInput, gates: Gates) -> Findings:
    """Return the findings of every gate of :data:`CHECKS`.

    The gate ``golden`` is not among them: the bundle was loaded before.
    """
    return {name: check(evidence, getattr(gates, name)) for name, check in CHECKS.items()}


def make_table(findings: Findings) -> pl.DataFrame:
    """Return one row a finding.

    Columns: ``gate``, ``measure``, ``value``, ``low``, ``high``, ``bound``, ``outcome`` (passed or
    refused), ``note``.
    """
    rows = []
    for gate, of_gate in findings.items():
        for finding in of_gate:
            outcome = "passed" if finding.passed else "refused"
            measured = (finding.measure, *finding.estimate)
            rows.append((gate, *measured, finding.bound, outcome, finding.note))
    return pl.DataFrame(rows, _COLUMNS, orient="row")


def select_refusing(findings: Findings) -> tuple[str, ...]:
    """Return the gates with a finding that did not pass, in order."""
    refusing = []
    for gate, of_gate in findings.items():
        if not all(finding.passed for finding in of_gate):
            refusing.append(gate)
    return tuple(refusing)


def check_hold_out(evidence: GateInput, bounds: HoldOutGate) -> list[Finding]:
    """Check that the hold-out has enough defaults, and known outcomes, for the other gates."""
    label = evidence.version.label
    defaults = Estimate(float(label.sum()))
    note = f"of {len(label):,} accounts"
    return [
        _at_least("defaults", defaults, bounds.min_defaults, note),
        check_censored(evidence.version.hold_out, bounds.max_share_censored),
    ]


def check_censored(on: HoldOut, bound: float) -> Finding:
    """Check how many outcomes of the hold-out were not observed.

    The note says what the default rate could be: if none of these accounts defaulted, and if all
    did (Manski 1989, Journal of Human Resources 24).
    """
    share = Estimate(share_censored(on.outcomes))
    known = 1.0 - (share.value or 0.0)
    low = float(on.label.mean()) * known
    high = low + (share.value or 0.0)
    note = f"{describe_censored(on.outcomes)}; default rate {low:.2%} to {high:.2%}"
    return _at_most("share_censored", share, bound, note)


def check_discrimination(evidence: GateInput, bounds: DiscriminationGate) -> list[Finding]:
    """Check the AUC, and the part of the champion's AUC that is lost (DeLong, paired)."""
    version, champion = evidence.version, evidence.champion
    row = metrics.discrimination(version.label, version.probability).row(0, named=True)
    auc = Estimate(row["value"], row["low"], row["high"])
    finding = _at_least("auc", auc, bounds.min_auc)
    max_lost = bounds.max_auc_lost
    if champion is None:
        return [finding, _at_most("auc_lost", NOT_MEASURED, max_lost, NO_CHAMPION)]
    by = paired_tests.delong(version.label, champion.probability, version.probability)
    # A loss is the negative of the difference, so the ends of the interval change places.
    lost = Estimate(-by.difference, -by.high, -by.low)
    note = f"the champion's is {by.first:.4f}"
    return [finding, _at_most("auc_lost", lost, max_lost, note)]


def check_calibration(evidence: GateInput, bounds: CalibrationGate) -> list[Finding]:
    """Check the slope, the size of the intercept, and the expected calibration error."""
    measures = reliability(evidence.version.label, evidence.version.log_odds)
    rows = measures.select("value", "low", "high").rows()
    slope = Estimate(*rows[0])
    value, low, high = rows[1]
    ece = Estimate(*rows[2])
    # The interval of the size begins at 0 if the intercept's own interval contains 0.
    size_low = max(low, -high, 0.0)
    size_high = max(high, -low)
    size = Estimate(abs(value), size_low, size_high)
    note = f"the intercept is {value:+.3f}"
    return [
        _at_least("slope", slope, bounds.min_slope),
        _at_most("slope", slope, bounds.max_slope),
        _at_most("intercept_size", size, bounds.max_intercept, note),
        _at_most("ece", ece, bounds.max_ece),
    ]


def check_stability(evidence: GateInput, bounds: StabilityGate) -> list[Finding]:
    """Check the PSI of the score and of the most drifted feature, less the noise of sampling."""
    was, now = evidence.earlier, evidence.version
    noise = psi_noise(len(was.label), len(now.label))
    drift = drift_table(was, now).sort("psi", descending=True)
    months = f"{was.hold_out.as_of:%Y-%m} to {now.hold_out.as_of:%Y-%m}"
    max_psi = {"score": bounds.max_score_psi, "feature": bounds.max_feature_psi}
    findings = []
    for kind, bound in max_psi.items():
        name, psi = drift.filter(kind=kind).select("name", "psi").row(0)
        # Sampling can only raise an index, so the interval extends downwards alone.
        estimate = Estimate(psi, max(psi - noise, 0.0), psi)
        findings.append(_at_most(f"{kind}_psi", estimate, bound, f"{name}, {months}"))
    return findings


def check_fairness(evidence: GateInput, bounds: FairnessGate) -> list[Finding]:
    """Check the impact ratio and the gap of false-reduction rates.

    Each attribute and each intersection has both measures.  Attributes that are unknown for all
    accounts are left out.
    """
    groups = group_table(evidence.version)
    people = evidence.version.hold_out.people
    unknown = {name for name in GROUPS if people[name].null_count() == people.height}
    findings = []
    for row in impact(groups).iter_rows(named=True):
        attribute = row["attribute"]
        # An intersection has the names of its attributes.
        if unknown & set(attribute.split(JOINT)):
            continue
        ratio = Estimate(row["adverse_impact_ratio"], row["low"], row["high"])
        gap = measure_reduction_gap(groups.filter(attribute=attribute))
        worst = f"{attribute}: {row['worst_group']}"
        findings += [
            _at_least(f"impact_ratio {attribute}", ratio, bounds.min_impact_ratio, worst),
            _at_most(f"reduction_gap {attribute}", gap, bounds.max_reduction_gap),
        ]
    if not findings:
        bound = bounds.min_impact_ratio
        return [_at_least("impact_ratio", NOT_MEASURED, bound, "no group is known")]
    return findings


def check_reasons(evidence: GateInput, bounds: ReasonsGate) -> list[Finding]:
    """Check how far the first reasons differ from the champion's.

    Only accounts that the model cuts count: a hard rule states the same reason under any model.
    """
    version, champion = evidence.version, evidence.champion
    if champion is None:
        return [
            _at_least("same_first", NOT_MEASURED, bounds.min_same_first, NO_CHAMPION),
            _at_most("mix_psi", NOT_MEASURED, bounds.max_mix_psi, NO_CHAMPION),
        ]
    by_champion, by_version = _cut_by_model(champion), _cut_by_model(version)
    both = by_champion & by_version
    same = (champion.first_reasons == version.first_reasons)[both]
    was = champion.first_reasons[by_champion]
    now = version.first_reasons[by_version]
    return [
        _check_same_first(same, bounds.min_same_first),
        _check_reason_mix(was, now, bounds.max_mix_psi),
    ]


def _check_same_first(same: NDArray[np.bool_], bound: float) -> Finding:
    accounts = len(same)
    if accounts == 0:
        return _at_least("same_first", NOT_MEASURED, bound, "no account is cut by both")
    share = float(same.mean())
    estimate = Estimate(share, *wilson(share, accounts))
    return _at_least("same_first", estimate, bound, f"of {accounts:,} accounts cut by both")


def _check_reason_mix(
    was: NDArray[np.str_],
    now: NDArray[np.str_],
    bound: float,
) -> Finding:
    if len(was) == 0 or len(now) == 0:
        return _at_most("mix_psi", NOT_MEASURED, bound, "one of the two cuts no account")
    compared = compare_reasons(was.tolist(), now.tolist())
    rows = pl.DataFrame(compared, SCHEMA, orient="row")
    # The first row is the whole mix; a row for each reason follows.
    psi = rows["psi"].item(0)
    codes = rows.height - 1
    noise = psi_noise(len(was), len(now), max(codes, 2))
    estimate = Estimate(psi, max(psi - noise, 0.0), psi)
    return _at_most("mix_psi", estimate, bound)


def check_cost(evidence: GateInput, bounds: CostGate) -> list[Finding]:
    """Check the length of the tables that explain a score, and its ratio to the champion's."""
    lines = count_table_lines(evidence.version)
    finding = _at_most("lines", Estimate(float(lines)), bounds.max_lines)
    bound = bounds.max_times_champion
    if evidence.champion is None:
        return [finding, _at_most("times_champion", NOT_MEASURED, bound, NO_CHAMPION)]
    champion_lines = count_table_lines(evidence.champion)
    # At least 1, because a champion whose trees have no split has no lines.
    times = Estimate(lines / max(champion_lines, 1))
    note = f"the champion has {champion_lines:,}"
    return [finding, _at_most("times_champion", times, bound, note)]


# Each gate with a table in gates.toml, in order of the summary.  Its name is its field of Gates.
CHECKS: Mapping[str, Callable[[GateInput, Any], list[Finding]]] = {
    "hold_out": check_hold_out,
    "discrimination": check_discrimination,
    "calibration": check_calibration,
    "stability": check_stability,
    "fairness": check_fairness,
    "reasons": check_reasons,
    "cost": check_cost,
}


def count_table_lines(evaluation: Evaluation) -> int:
    """Return the lines of the Shapley tables of one product, which an explanation reads.

    See :mod:`serving.decision.scoring.shapley_tables`.
    """
    # The layout is the same for every product.
    explainer = next(iter(evaluation.bundle.scorer.explainers.values()))
    return int(explainer.layout.starts[-1])


def _cut_by_model(evaluation: Evaluation) -> NDArray[np.bool_]:
    outcomes = evaluation.stages.outcomes
    by_model: NDArray[np.bool_] = np.array([outcome.by_model for outcome in outcomes])
    return evaluation.cut & by_model


def measure_reduction_gap(groups: pl.DataFrame) -> Estimate:
    """Return the false-reduction rate of the worst group less that of the best.

    ``groups`` are rows of :func:`training.evaluate.fairness.group_table`.  Small groups are left
    out, as in :func:`training.evaluate.fairness.impact`; null if fewer than two remain.  The
    interval combines those of the two rates (Newcombe 1998, method 10) and is widened for all pairs
    of groups (Bonferroni).
    """
    large = pl.col("accounts") >= LEAST_SHARE * pl.col("accounts").sum()
    known = groups.filter(large).drop_nulls("false_reduction_rate").sort("false_reduction_rate")
    if known.height < 2:
        return NOT_MEASURED
    columns = [f"false_reduction_{end}" for end in ("rate", "low", "high")]
    ends = known.select(columns)
    best, best_low, best_high = ends.row(0)
    worst, worst_low, worst_high = ends.row(-1)
    # The worst and the best are chosen after looking at all groups: each pair is a comparison.
    pairs = known.height * (known.height - 1) / 2
    level = 1 - 0.025 / pairs
    widening = float(norm.ppf(level)) / metrics.Z_95
    gap = worst - best
    down = widening * float(np.hypot(worst - worst_low, best_high - best))
    up = widening * float(np.hypot(worst_high - worst, best - best_low))
    return Estimate(gap, gap - down, gap + up)


def _at_least(
    measure: str,
    estimate: Estimate,
    bound: float,
    note: str = "",
) -> Finding:
    # The favourable end of the interval: noise alone must not refuse a version.
    best = estimate.value if estimate.high is None else estimate.high
    passed = best is None or best >= bound
    return Finding(
        measure=measure,
        bound=f">= {bound:,.10g}",
        passed=passed,
        estimate=estimate,
        note=note,
    )


def _at_most(
    measure: str,
    estimate: Estimate,
    bound: float,
    note: str = "",
) -> Finding:
    best = estimate.value if estimate.low is None else estimate.low
    passed = best is None or best <= bound
    return Finding(
        measure=measure,
        bound=f"<= {bound:,.10g}",
        passed=passed,
        estimate=estimate,
        note=note,
    )
