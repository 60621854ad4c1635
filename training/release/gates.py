"""The gates that a version must pass before it becomes champion.

Each gate measures something and compares it with the bounds of its table in gates.toml.  A bound
refuses only if the whole 95 % interval lies beyond it.  Gates that compare with the champion pass
if there is no champion.  Read :data:`CHECKS` and :func:`find` first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import norm

from training.evaluate import metrics, paired_tests
from training.evaluate.calibration import reliability
from training.evaluate.drift import SCHEMA, compare_reasons, drift_table, psi_noise
from training.evaluate.fairness import JOINT, LEAST_SHARE, group_table, impact
from training.evaluate.holdout import GROUPS, Evaluation
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
    """Evaluations of the version and of the champion.

    ``version`` and ``champion`` (null if there is none) are on the hold-out; ``earlier`` is the
    version on the same accounts in the last training month.
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
    """One measure of a gate, compared with its bound, which is given in words."""

    measure: str
    bound: str
    passed: bool
    estimate: Estimate = NOT_MEASURED
    note: str = ""


Findings = Mapping[str, Sequence[Finding]]  # by gate


def find(evidence: GateInput, gates: Gates) -> Findings:
    """What every gate of :data:`CHECKS` finds.  Loading the bundle is the gate ``golden``."""
    return {name: check(evidence, getattr(gates, name)) for name, check in CHECKS.items()}


def table(found: Findings) -> pl.DataFrame:
    """One row a finding.

    Columns: ``gate``, ``measure``, ``value``, ``low``, ``high``, ``bound``, ``outcome`` (passed or
    refused), ``note``.
    """
    rows = []
    for gate, findings in found.items():
        for f in findings:
            outcome = "passed" if f.passed else "refused"
            rows.append((gate, f.measure, *f.estimate, f.bound, outcome, f.note))
    return pl.DataFrame(rows, _COLUMNS, orient="row")


def refusing(found: Findings) -> tuple[str, ...]:
    """The gates of which at least one finding did not pass, in order."""
    return tuple(
        gate for gate, findings in found.items() if not all(finding.passed for finding in findings)
    )


def check_hold_out(evidence: GateInput, bounds: HoldOutGate) -> list[Finding]:
    """Whether the hold-out has enough defaults for the other gates to mean anything."""
    label = evidence.version.label
    defaults = Estimate(float(label.sum()))
    return [_at_least("defaults", defaults, bounds.min_defaults, f"of {len(label):,} accounts")]


def check_discrimination(evidence: GateInput, bounds: DiscriminationGate) -> list[Finding]:
    """The AUC, and how much of the champion's AUC is lost (DeLong, paired)."""
    version, champion = evidence.version, evidence.champion
    row = metrics.discrimination(version.label, version.probability).row(0, named=True)
    auc = Estimate(row["value"], row["low"], row["high"])
    found = [_at_least("auc", auc, bounds.min_auc)]
    if champion is None:
        return [*found, _at_most("auc_lost", NOT_MEASURED, bounds.max_auc_lost, NO_CHAMPION)]
    by = paired_tests.delong(version.label, champion.probability, version.probability)
    lost = Estimate(-by.difference, -by.high, -by.low)
    note = f"the champion's is {by.first:.4f}"
    return [*found, _at_most("auc_lost", lost, bounds.max_auc_lost, note)]


def check_calibration(evidence: GateInput, bounds: CalibrationGate) -> list[Finding]:
    """Slope, size of the intercept, and expected calibration error."""
    found = reliability(evidence.version.label, evidence.version.log_odds)
    slope, intercept, ece = found.select("value", "low", "high").rows()
    value, low, high = intercept
    # The interval of |intercept|: it begins at 0 where the intercept's own interval contains 0.
    size = Estimate(abs(value), max(low, -high, 0.0), max(high, -low))
    note = f"the intercept is {value:+.3f}"
    return [
        _at_least("slope", Estimate(*slope), bounds.min_slope),
        _at_most("slope", Estimate(*slope), bounds.max_slope),
        _at_most("intercept_size", size, bounds.max_intercept, note),
        _at_most("ece", Estimate(*ece), bounds.max_ece),
    ]


def check_stability(evidence: GateInput, bounds: StabilityGate) -> list[Finding]:
    """The PSI of the score and of the feature that moved most, less the noise of sampling."""
    was, now = evidence.earlier, evidence.version
    noise = psi_noise(len(was.label), len(now.label))
    drift = drift_table(was, now).sort("psi", descending=True)
    months = f"{was.hold_out.as_of:%Y-%m} to {now.hold_out.as_of:%Y-%m}"
    found = []
    for kind, bound in (("score", bounds.max_score_psi), ("feature", bounds.max_feature_psi)):
        name, psi = drift.filter(kind=kind).select("name", "psi").row(0)
        estimate = Estimate(psi, max(psi - noise, 0.0), psi)
        found.append(_at_most(f"{kind}_psi", estimate, bound, f"{name}, {months}"))
    return found


def check_fairness(evidence: GateInput, bounds: FairnessGate) -> list[Finding]:
    """Impact ratio and gap of false-reduction rates, for each attribute and intersection.

    Attributes that are unknown for all accounts are left out.
    """
    groups = group_table(evidence.version)
    people = evidence.version.hold_out.people
    unknown = {name for name in GROUPS if people[name].null_count() == people.height}
    found = []
    for row in impact(groups).iter_rows(named=True):
        attribute = row["attribute"]
        if unknown & set(attribute.split(JOINT)):
            continue
        ratio = Estimate(row["adverse_impact_ratio"], row["low"], row["high"])
        gap = measure_reduction_gap(groups.filter(attribute=attribute))
        worst = f"{attribute}: {row['worst_group']}"
        found += [
            _at_least(f"impact_ratio {attribute}", ratio, bounds.min_impact_ratio, worst),
            _at_most(f"reduction_gap {attribute}", gap, bounds.max_reduction_gap),
        ]
    if not found:
        bound = bounds.min_impact_ratio
        return [_at_least("impact_ratio", NOT_MEASURED, bound, "no group is known")]
    return found


def check_reasons(evidence: GateInput, bounds: ReasonsGate) -> list[Finding]:
    """How far the first reasons differ from the champion's.

    Only accounts that the model cuts count: a rule states the same reason under any model.
    """
    version, champion = evidence.version, evidence.champion
    if champion is None:
        return [
            _at_least("same_first", NOT_MEASURED, bounds.min_same_first, NO_CHAMPION),
            _at_most("mix_psi", NOT_MEASURED, bounds.max_mix_psi, NO_CHAMPION),
        ]
    by_champion, by_version = _cut_by_model(champion), _cut_by_model(version)
    return [
        _same_first_reason(version, champion, by_champion & by_version, bounds.min_same_first),
        _reason_mix(
            champion.first_reasons[by_champion],
            version.first_reasons[by_version],
            bounds.max_mix_psi,
        ),
    ]


def _same_first_reason(
    version: Evaluation, champion: Evaluation, both: NDArray[np.bool_], bound: float
) -> Finding:
    accounts = int(both.sum())
    if accounts == 0:
        return _at_least("same_first", NOT_MEASURED, bound, "no account is cut by both")
    same = float((champion.first_reasons == version.first_reasons)[both].mean())
    estimate = Estimate(same, *wilson(same, accounts))
    return _at_least("same_first", estimate, bound, f"of {accounts:,} accounts cut by both")


def _reason_mix(was: NDArray[np.str_], now: NDArray[np.str_], bound: float) -> Finding:
    if len(was) == 0 or len(now) == 0:
        return _at_most("mix_psi", NOT_MEASURED, bound, "one of the two cuts no account")
    rows = pl.DataFrame(compare_reasons(was.tolist(), now.tolist()), SCHEMA, orient="row")
    psi = rows["psi"].item(0)  # of the whole mix; a row for each reason follows
    noise = psi_noise(len(was), len(now), max(rows.height - 1, 2))
    return _at_most("mix_psi", Estimate(psi, max(psi - noise, 0.0), psi), bound)


def check_cost(evidence: GateInput, bounds: CostGate) -> list[Finding]:
    """The lines of the tables that explain a score, and their ratio to the champion's."""
    lines = count_table_lines(evidence.version)
    found = [_at_most("lines", Estimate(float(lines)), bounds.max_lines)]
    bound = bounds.max_times_champion
    if evidence.champion is None:
        return [*found, _at_most("times_champion", NOT_MEASURED, bound, NO_CHAMPION)]
    theirs = count_table_lines(evidence.champion)
    times = Estimate(lines / max(theirs, 1))
    return [*found, _at_most("times_champion", times, bound, f"the champion has {theirs:,}")]


# Each gate with a table in gates.toml, in order of the report.  Its name is its field of Gates.
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
    """Lines of the Shapley tables of one product, which explaining an account reads.

    See :mod:`serving.decision.scoring.shapley_tables`.
    """
    # the layout is the same for every product
    explainer = next(iter(evaluation.bundle.scorer.explainers.values()))
    return int(explainer.layout.starts[-1])


def _cut_by_model(evaluation: Evaluation) -> NDArray[np.bool_]:
    by_model: NDArray[np.bool_] = np.array([o.by_model for o in evaluation.stages.outcomes])
    return evaluation.cut & by_model


def measure_reduction_gap(groups: pl.DataFrame) -> Estimate:
    """The false-reduction rate of the worst group less that of the best, with its interval.

    The interval is made of those of the two rates (Newcombe 1998, method 10), widened for all pairs
    of groups (Bonferroni), because the worst and the best are picked after looking.  Small groups
    are left out, as :func:`training.evaluate.fairness.impact` does; null if fewer than two remain.
    """
    large = pl.col("accounts") >= LEAST_SHARE * pl.col("accounts").sum()
    known = groups.filter(large).drop_nulls("false_reduction_rate").sort("false_reduction_rate")
    if known.height < 2:
        return NOT_MEASURED
    ends = known.select(f"false_reduction_{end}" for end in ("rate", "low", "high"))
    best, best_low, best_high = ends.row(0)
    worst, worst_low, worst_high = ends.row(-1)
    pairs = known.height * (known.height - 1) / 2
    widening = float(norm.ppf(1 - 0.025 / pairs) / norm.ppf(0.975))
    gap = worst - best
    down = widening * float(np.hypot(worst - worst_low, best_high - best))
    up = widening * float(np.hypot(worst_high - worst, best - best_low))
    return Estimate(gap, gap - down, gap + up)


def _at_least(measure: str, estimate: Estimate, bound: float, note: str = "") -> Finding:
    furthest = estimate.value if estimate.high is None else estimate.high
    passed = furthest is None or furthest >= bound
    return Finding(measure, f">= {bound:,.10g}", passed, estimate, note)


def _at_most(measure: str, estimate: Estimate, bound: float, note: str = "") -> Finding:
    furthest = estimate.value if estimate.low is None else estimate.low
    passed = furthest is None or furthest <= bound
    return Finding(measure, f"<= {bound:,.10g}", passed, estimate, note)
