"""What a version must pass before it becomes champion: each gate is a function of the evidence to
findings.

A bound refuses only where the whole 95 % interval lies beyond it.  Gates that compare with the
champion pass where there is none. The bounds stand in gates.toml; read :func:`findings` first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import norm

from training.evaluate import metrics, paired_tests
from training.evaluate.calibration import reliability
from training.evaluate.drift import compare_reasons, drift_table, psi_noise
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

NAMES = (
    "golden",
    "hold_out",
    "discrimination",
    "calibration",
    "stability",
    "fairness",
    "reasons",
    "cost",
)
NO_CHAMPION = "there is no champion"
_SCHEMA = {
    "gate": pl.String, "measure": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64,
    "bound": pl.String, "outcome": pl.String, "note": pl.String,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GateInput:
    """The version on the hold-out and on its accounts in the last training month, and the champion
    on the hold-out.
    """

    version: Evaluation
    earlier: Evaluation
    champion: Evaluation | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One measure of a gate with its 95 % interval, null where there is none to measure; ``bound``
    in words.
    """

    gate: str
    measure: str
    value: float | None
    low: float | None
    high: float | None
    bound: str
    passed: bool
    note: str = ""


def findings(evidence: GateInput, gates: Gates) -> list[Finding]:
    """What every gate finds, in order of :data:`NAMES`; ``golden`` is found by loading the bundle
    and stands elsewhere.
    """
    return [
        *hold_out(evidence, gates.hold_out),
        *discrimination(evidence, gates.discrimination),
        *calibration(evidence, gates.calibration),
        *stability(evidence, gates.stability),
        *fairness(evidence, gates.fairness),
        *reasons(evidence, gates.reasons),
        *cost(evidence, gates.cost),
    ]


def table(found: Sequence[Finding]) -> pl.DataFrame:
    """One row a finding: ``gate``, ``measure``, ``value``, ``low``, ``high``, ``bound``,
    ``outcome`` (passed, refused), ``note``."""
    rows = [
        (
            f.gate,
            f.measure,
            f.value,
            f.low,
            f.high,
            f.bound,
            "passed" if f.passed else "refused",
            f.note,
        )
        for f in found
    ]
    return pl.DataFrame(rows, _SCHEMA, orient="row")


def refusing(found: Sequence[Finding]) -> tuple[str, ...]:
    """The gates that refuse, each once, in order."""
    return tuple(dict.fromkeys(f.gate for f in found if not f.passed))


def hold_out(evidence: GateInput, gate: HoldOutGate) -> list[Finding]:
    """Whether the hold-out can tell anything: its defaults."""
    label = evidence.version.label
    defaults = float(label.sum())
    return [
        _at_least(
            "hold_out",
            "defaults",
            defaults,
            None,
            None,
            gate.min_defaults,
            f"of {len(label):,} accounts",
        )
    ]


def discrimination(evidence: GateInput, gate: DiscriminationGate) -> list[Finding]:
    """The AUC, and what of the champion's is lost: DeLong's, paired."""
    version, champion = evidence.version, evidence.champion
    auc = metrics.discrimination(version.label, version.probability).row(0, named=True)
    found = [
        _at_least("discrimination", "auc", auc["value"], auc["low"], auc["high"], gate.min_auc)
    ]
    if champion is None:
        return [
            *found,
            _at_most(
                "discrimination", "auc_lost", None, None, None, gate.max_auc_lost, NO_CHAMPION
            ),
        ]
    by = paired_tests.delong(version.label, champion.probability, version.probability)
    said = f"the champion's is {by.first:.4f}"
    lost = _at_most(
        "discrimination", "auc_lost", -by.difference, -by.high, -by.low, gate.max_auc_lost, said
    )
    return [*found, lost]


def calibration(evidence: GateInput, gate: CalibrationGate) -> list[Finding]:
    """Slope, intercept and expected calibration error."""
    found = reliability(evidence.version.label, evidence.version.log_odds)
    slope, intercept, ece = (
        (row["value"], row["low"], row["high"]) for row in found.iter_rows(named=True)
    )
    value, low, high = intercept
    away = abs(value), max(low, -high, 0.0), max(high, -low)
    return [
        _at_least("calibration", "slope", *slope, gate.min_slope),
        _at_most("calibration", "slope", *slope, gate.max_slope),
        _at_most(
            "calibration",
            "intercept_size",
            *away,
            gate.max_intercept,
            f"the intercept is {value:+.3f}",
        ),
        _at_most("calibration", "ece", *ece, gate.max_ece),
    ]


def stability(evidence: GateInput, gate: StabilityGate) -> list[Finding]:
    """The PSI of the score and of the feature that moved most, less the noise of samples of that
    size.
    """
    was, now = evidence.earlier, evidence.version
    noise = psi_noise(len(was.label), len(now.label))
    drift = drift_table(was, now)
    months = f"{was.hold_out.as_of:%Y-%m} to {now.hold_out.as_of:%Y-%m}"
    found = []
    for kind, bound in (("score", gate.max_score_psi), ("feature", gate.max_feature_psi)):
        name, _, psi = (
            drift.filter(kind=kind)
            .sort("psi", descending=True)
            .select("name", "kind", "psi")
            .row(0)
        )
        found.append(
            _at_most(
                "stability",
                f"{kind}_psi",
                psi,
                max(psi - noise, 0.0),
                psi,
                bound,
                f"{name}, {months}",
            )
        )
    return found


def fairness(evidence: GateInput, gate: FairnessGate) -> list[Finding]:
    """Of each attribute and intersection of attributes that can be told: impact ratio and gap of
    false-reduction rates.
    """
    groups = group_table(evidence.version)
    people = evidence.version.hold_out.people
    unknown = {name for name in GROUPS if people[name].null_count() == people.height}
    found = []
    for row in impact(groups).iter_rows(named=True):
        if unknown & set(row["attribute"].split(JOINT)):
            continue
        where = f"{row['attribute']}: {row['worst_group']}"
        interval = row["adverse_impact_ratio"], row["low"], row["high"]
        found.append(
            _at_least(
                "fairness",
                f"impact_ratio {row['attribute']}",
                *interval,
                gate.min_impact_ratio,
                where,
            )
        )
        gap = reduction_gap(groups.filter(attribute=row["attribute"]))
        found.append(
            _at_most("fairness", f"reduction_gap {row['attribute']}", *gap, gate.max_reduction_gap)
        )
    return found or [
        _at_least(
            "fairness", "impact_ratio", None, None, None, gate.min_impact_ratio, "no group is known"
        )
    ]


def reasons(evidence: GateInput, gate: ReasonsGate) -> list[Finding]:
    """Whether customers are told the same as by the champion, of what the model cuts; rules say
    what they say under any model."""
    champion = evidence.champion
    if champion is None:
        return [
            _at_least("reasons", "same_first", None, None, None, gate.min_same_first, NO_CHAMPION),
            _at_most("reasons", "mix_psi", None, None, None, gate.max_mix_psi, NO_CHAMPION),
        ]
    one, other = _cut_by_model(champion), _cut_by_model(evidence.version)
    both = int((one & other).sum())
    found = [
        _at_least(
            "reasons",
            "same_first",
            None,
            None,
            None,
            gate.min_same_first,
            "no account is cut by both",
        )
    ]
    if both:
        same = float((champion.first_reasons == evidence.version.first_reasons)[one & other].mean())
        said = f"of {both:,} accounts cut by both"
        found = [
            _at_least("reasons", "same_first", same, *wilson(same, both), gate.min_same_first, said)
        ]
    if not (one.any() and other.any()):
        return [
            *found,
            _at_most(
                "reasons", "mix_psi", None, None, None, gate.max_mix_psi, "one of both cuts nobody"
            ),
        ]
    rows = compare_reasons(champion.first_reasons[one].tolist(), evidence.version.first_reasons[other].tolist())
    psi, noise = (
        float(str(rows[0][2])),
        psi_noise(int(one.sum()), int(other.sum()), max(len(rows) - 1, 2)),
    )
    return [
        *found,
        _at_most("reasons", "mix_psi", psi, max(psi - noise, 0.0), psi, gate.max_mix_psi),
    ]


def cost(evidence: GateInput, gate: CostGate) -> list[Finding]:
    """The lines of the tables that explain a score, and how many times the champion's they are."""
    lines = lines_of(evidence.version)
    found = [_at_most("cost", "lines", float(lines), None, None, gate.max_lines)]
    if evidence.champion is None:
        return [
            *found,
            _at_most(
                "cost", "times_champion", None, None, None, gate.max_times_champion, NO_CHAMPION
            ),
        ]
    theirs = lines_of(evidence.champion)
    times = lines / max(theirs, 1)
    said = f"the champion has {theirs:,}"
    return [
        *found,
        _at_most("cost", "times_champion", times, None, None, gate.max_times_champion, said),
    ]


def lines_of(evaluated: Evaluation) -> int:
    """Lines of the tables of one product: what explaining an account reads from
    (:mod:`serving.decision.scoring.shapley_tables`).
    """
    # the layout is the same for every product
    explainer = next(iter(evaluated.bundle.scorer.explainers.values()))
    return int(explainer.layout.starts[-1])


def _cut_by_model(evaluated: Evaluation) -> NDArray[np.bool_]:
    by_model: NDArray[np.bool_] = np.array(
        [outcome.by_model for outcome in evaluated.stages.outcomes]
    )
    return evaluated.cut & by_model


def reduction_gap(groups: pl.DataFrame) -> tuple[float | None, float | None, float | None]:
    """The false-reduction rate of the worst group less that of the best, with an interval that
    holds for the pair picked.

    The interval is made of those of the two rates (Newcombe 1998, method 10), widened for all pairs
    of groups (Bonferroni): the worst and the best are picked after looking.  Small groups are left
    out, as :func:`training.evaluate.fairness.impact` does.
    """
    large = groups.filter(pl.col("accounts") >= LEAST_SHARE * pl.col("accounts").sum()).drop_nulls(
        "false_reduction_rate"
    )
    if large.height < 2:
        return None, None, None
    rows = (
        large.sort("false_reduction_rate")
        .select(f"false_reduction_{end}" for end in ("rate", "low", "high"))
        .rows()
    )
    (best, best_low, best_high), (worst, worst_low, worst_high) = rows[0], rows[-1]
    pairs = large.height * (large.height - 1) / 2
    wider = float(norm.ppf(1 - 0.025 / pairs) / norm.ppf(0.975))
    gap = worst - best
    down = wider * float(np.hypot(worst - worst_low, best_high - best))
    up = wider * float(np.hypot(worst_high - worst, best - best_low))
    return gap, gap - down, gap + up


def _at_least(
    gate: str,
    name: str,
    value: float | None,
    low: float | None,
    high: float | None,
    bound: float,
    note: str = "",
) -> Finding:
    furthest = value if high is None else high
    return Finding(
        gate,
        name,
        value,
        low,
        high,
        f">= {bound:,.10g}",
        furthest is None or furthest >= bound,
        note,
    )


def _at_most(
    gate: str,
    name: str,
    value: float | None,
    low: float | None,
    high: float | None,
    bound: float,
    note: str = "",
) -> Finding:
    furthest = value if low is None else low
    return Finding(
        gate,
        name,
        value,
        low,
        high,
        f"<= {bound:,.10g}",
        furthest is None or furthest <= bound,
        note,
    )
