"""The gates that a version must pass before it becomes champion.

A gate takes measures and compares them with the bounds in its table of gates.toml.  It passes only
if the whole 95 % interval keeps the bound, see :mod:`training.release.findings`.  Without a
champion, what compares with it is not asked.  Read :func:`check_gates` and :data:`CHECKS` first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import norm

from features.types import Rows, Vector
from training.data.outcome_counts import describe_censored, share_censored
from training.evaluate import metrics, paired_tests
from training.evaluate.bootstrap import LEAST_OF_A_LABEL, interval_above_zero, resample_rows
from training.evaluate.calibration import reliability
from training.evaluate.drift import drift_table, psi_interval, psi_of_counts
from training.evaluate.fairness import JOINT, LEAST_SHARE, group_table, impact
from training.evaluate.holdout import Evaluation, HoldOut
from training.evaluate.metrics import wilson
from training.release.findings import (
    NOT_MEASURED,
    Estimate,
    Finding,
    Findings,
    Measured,
    Outcome,
    at_least,
    at_most,
    not_asked,
    not_decided,
)
from training.release.gate_config import (
    CalibrationGate,
    CostGate,
    DiscriminationGate,
    FairnessGate,
    Gates,
    HoldOutGate,
    NudgesGate,
    ReasonsGate,
    StabilityGate,
)
from training.release.knife_edges import check_knife_edges

NO_CHAMPION = "there is no champion"
_Interval = tuple[float | None, float | None]
GOLDEN = "golden"  # the one gate without a bound: the bundle loads and answers its golden rows
MIN_CUT = 30  # accounts that a model has to cut before its reasons can be compared


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


def check_gates(evidence: GateInput, gates: Gates) -> Findings:
    """Return the findings of every gate of :data:`CHECKS`.

    The gate ``golden`` is not among them: the bundle was loaded before.
    """
    label = evidence.version.label
    too_few = _find_too_few(label, gates.hold_out.min_defaults)
    findings: dict[str, list[Finding]] = {}
    for name, check in CHECKS.items():
        if too_few and name in _NEED_DEFAULTS:
            findings[name] = too_few
        else:
            findings[name] = check(evidence, getattr(gates, name))
    return findings


def check_hold_out(evidence: GateInput, bounds: HoldOutGate) -> list[Finding]:
    """Check that the hold-out has enough defaults, and known outcomes, for the other gates."""
    return [
        _check_defaults(evidence.version.label, bounds.min_defaults),
        check_censored(evidence.version.hold_out, bounds.max_share_censored),
    ]


def _check_defaults(label: Vector, bound: float) -> Finding:
    defaults, accounts = int(label.sum()), len(label)
    note = f"of {accounts:,} accounts"
    text = f">= {bound:,.10g}"
    found = Estimate(float(defaults))
    if defaults >= bound:
        return Finding("defaults", text, Outcome.PASSED, found, note)
    # Too few defaults are no fault of the version: nothing about it was decided.
    needed = f"{bound:,.10g} defaults would decide, {defaults:,} are here"
    return not_decided("defaults", text, f"{needed}; {note}", found)


def _find_too_few(label: Vector, min_defaults: float) -> list[Finding]:
    """The finding that defaults, or accounts without one, are too few; empty where they are not."""
    # Fewer than LEAST_OF_A_LABEL have no interval, whatever gates.toml says.
    least = max(min_defaults, LEAST_OF_A_LABEL)
    if label.sum() < least:
        return [_check_defaults(label, least)]
    good = int(len(label) - label.sum())
    if good >= LEAST_OF_A_LABEL:
        return []
    why = f"{LEAST_OF_A_LABEL} accounts without a default would decide, {good:,} are here"
    return [not_decided("good_accounts", f">= {LEAST_OF_A_LABEL}", why)]


def check_censored(on: HoldOut, bound: float) -> Finding:
    """Check how many outcomes of the hold-out were not observed.

    The note says what the default rate could be: if none of these accounts defaulted, and if all
    did (Manski 1989, Journal of Human Resources 24).
    """
    share = share_censored(on.outcomes)
    low = float(on.label.mean()) * (1.0 - share)
    high = low + share
    note = f"{describe_censored(on.outcomes)}; default rate {low:.2%} to {high:.2%}"
    accounts = round(len(on.label) / max(1.0 - share, 1e-9))
    estimate = Estimate(share, *wilson(share, accounts))
    return at_most(Measured("share_censored", estimate, accounts, note), bound)


def _estimate(value: float, low: float | None, high: float | None) -> Estimate:
    """A value that an interval alone can decide: nothing is measured where it has none."""
    if low is None or high is None:
        return NOT_MEASURED
    return Estimate(value, low, high)


def check_discrimination(evidence: GateInput, bounds: DiscriminationGate) -> list[Finding]:
    """Check the AUC, and the part of the champion's AUC that is lost (DeLong, paired)."""
    version, champion = evidence.version, evidence.champion
    row = metrics.discrimination(version.label, version.probability).row(0, named=True)
    auc = _estimate(row["value"], row["low"], row["high"])
    accounts = len(version.label)
    finding = at_least(Measured("auc", auc, accounts), bounds.min_auc)
    max_lost = bounds.max_auc_lost
    if champion is None:
        return [finding, _without_champion("auc_lost", max_lost)]
    by = paired_tests.delong(version.label, champion.probability, version.probability)
    # A loss is the negative of the difference, so the ends of the interval change places.
    lost = Estimate(-by.difference, -by.high, -by.low)
    note = f"the champion's is {by.first:.4f}"
    return [finding, at_most(Measured("auc_lost", lost, accounts, note), max_lost)]


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
    accounts = len(evidence.version.label)
    measured_slope = Measured("slope", slope, accounts)
    return [
        at_least(measured_slope, bounds.min_slope),
        at_most(measured_slope, bounds.max_slope),
        at_most(Measured("intercept_size", size, accounts, note), bounds.max_intercept),
        at_most(Measured("ece", ece, accounts), bounds.max_ece),
    ]


def check_stability(evidence: GateInput, bounds: StabilityGate) -> list[Finding]:
    """Check the PSI of the score and of the most drifted feature, by bootstrap over accounts."""
    was, now = evidence.earlier, evidence.version
    drift = drift_table(was, now).sort("psi", descending=True)
    months = f"{was.hold_out.as_of:%Y-%m} to {now.hold_out.as_of:%Y-%m}"
    max_psi = {"score": bounds.max_score_psi, "feature": bounds.max_feature_psi}
    findings = []
    for kind, bound in max_psi.items():
        name, psi = drift.filter(kind=kind).select("name", "psi").row(0)
        interval = _interval_of_drift(was, now, "" if kind == "score" else name)
        estimate = _estimate(psi, *interval)
        note = f"{name}, {months}"
        measured = Measured(f"{kind}_psi", estimate, len(now.label), note)
        findings.append(at_most(measured, bound))
    return findings


def _interval_of_drift(was: Evaluation, now: Evaluation, feature: str) -> _Interval:
    """The interval of the PSI of a feature, or of the log-odds for ""."""
    values = [month.log_odds for month in (was, now)]
    if feature:
        values = [month.stages.features.matrix([feature])[:, 0] for month in (was, now)]
    accounts = (was.hold_out.people["account_id"], now.hold_out.people["account_id"])
    return psi_interval(values[0], values[1], accounts)


def check_fairness(evidence: GateInput, bounds: FairnessGate) -> list[Finding]:
    """Check the impact ratio and the gap of false-reduction rates.

    Both for each attribute of ``bounds.attributes``, and for their intersections of up to
    ``bounds.max_attributes`` attributes.
    """
    groups = group_table(evidence.version)
    people = evidence.version.hold_out.people
    accounts = people.height
    ratio_bound = f">= {bounds.min_impact_ratio:,.10g}"
    if not bounds.attributes:
        why = "attributes in gates.toml names none"
        return [not_asked("impact_ratio", ratio_bound, why)]
    findings = []
    for name in bounds.attributes:
        if people[name].null_count() == accounts:
            why = f"nothing was measured: {name} is unknown for all accounts; bring it in "
            why += "accounts/, or take it out of attributes in gates.toml"
            findings.append(not_decided(f"impact_ratio {name}", ratio_bound, why))
    for row in impact(groups).iter_rows(named=True):
        attribute = row["attribute"]
        # An intersection has the names of its attributes.
        names = attribute.split(JOINT)
        is_known = all(people[name].null_count() < accounts for name in names)
        is_asked = set(names) <= set(bounds.attributes) and len(names) <= bounds.max_attributes
        if not (is_known and is_asked):
            continue
        ratio = Estimate(row["adverse_impact_ratio"], row["low"], row["high"])
        gap = measure_reduction_gap(groups.filter(attribute=attribute))
        worst = f"{attribute}: {row['worst_group']}"
        measured_ratio = Measured(f"impact_ratio {attribute}", ratio, accounts, worst)
        measured_gap = Measured(f"reduction_gap {attribute}", gap, accounts)
        findings += [
            at_least(measured_ratio, bounds.min_impact_ratio),
            at_most(measured_gap, bounds.max_reduction_gap),
        ]
    return findings


def check_reasons(evidence: GateInput, bounds: ReasonsGate) -> list[Finding]:
    """Check how far the first reasons differ from the champion's.

    Only accounts that the model cuts count: a hard rule states the same reason under any model.
    Fewer than :data:`MIN_CUT` of them decide nothing.
    """
    version, champion = evidence.version, evidence.champion
    if champion is None:
        return [
            _without_champion("same_first", bounds.min_same_first, ">="),
            _without_champion("mix_psi", bounds.max_mix_psi),
        ]
    return [
        _check_same_first(version, champion, bounds.min_same_first),
        _check_reason_mix(version, champion, bounds.max_mix_psi),
    ]


def _check_same_first(version: Evaluation, champion: Evaluation, bound: float) -> Finding:
    both = _cut_by_model(champion) & _cut_by_model(version)
    same = (champion.first_reasons == version.first_reasons)[both]
    accounts = len(same)
    note = f"of {accounts:,} accounts cut by both"
    if accounts < MIN_CUT:
        return not_decided("same_first", f">= {bound:,.10g}", f"{_few_cut(accounts)}; {note}")
    share = float(same.mean())
    estimate = Estimate(share, *wilson(share, accounts))
    return at_least(Measured("same_first", estimate, accounts, note), bound)


def _check_reason_mix(version: Evaluation, champion: Evaluation, bound: float) -> Finding:
    by_champion, by_version = _cut_by_model(champion), _cut_by_model(version)
    fewest = int((by_champion & by_version).sum())
    if fewest < MIN_CUT:
        return not_decided("mix_psi", f"<= {bound:,.10g}", _few_cut(fewest))
    either = by_champion | by_version
    codes = np.unique(np.concatenate([champion.first_reasons, version.first_reasons]))
    was = _encode_reasons(champion, by_champion, codes)[either]
    now = _encode_reasons(version, by_version, codes)[either]
    psi = _psi_of_codes(was, now, len(codes))
    # Resampled together: both models cut mostly the same accounts, and agree on most of them.
    draws = [
        _psi_of_codes(was[rows], now[rows], len(codes)) for rows in resample_rows(int(either.sum()))
    ]
    estimate = Estimate(psi, *interval_above_zero(psi, draws))
    note = f"of {by_champion.sum():,} and {by_version.sum():,} accounts cut"
    return at_most(Measured("mix_psi", estimate, fewest, note), bound)


def _encode_reasons(
    evaluation: Evaluation,
    is_cut: NDArray[np.bool_],
    codes: NDArray[np.str_],
) -> Rows:
    """The place of each account's first reason among ``codes``; -1 where the model cuts nothing."""
    places = np.searchsorted(codes, evaluation.first_reasons)
    return np.where(is_cut, places, -1)


def _psi_of_codes(was: Rows, now: Rows, codes: int) -> float:
    expected = np.bincount(was[was >= 0], minlength=codes)
    actual = np.bincount(now[now >= 0], minlength=codes)
    return psi_of_counts(expected.astype(np.float64), actual.astype(np.float64))


def _few_cut(accounts: int) -> str:
    return f"{MIN_CUT} accounts that both models cut would decide, {accounts:,} are here"


def _without_champion(measure: str, bound: float, sign: str = "<=") -> Finding:
    return not_asked(measure, f"{sign} {bound:,.10g}", NO_CHAMPION)


def check_nudges(evidence: GateInput, bounds: NudgesGate) -> list[Finding]:
    """Check the share of accounts near the cut-off that 0.1 % of one amount moves."""
    return [check_knife_edges(evidence.version, bounds.max_moved)]


def check_cost(evidence: GateInput, bounds: CostGate) -> list[Finding]:
    """Check the length of the tables that explain a score, and its ratio to the champion's."""
    lines = count_table_lines(evidence.version)
    accounts = len(evidence.version.label)
    finding = at_most(Measured("lines", Estimate(float(lines)), accounts), bounds.max_lines)
    bound = bounds.max_times_champion
    if evidence.champion is None:
        return [finding, _without_champion("times_champion", bound)]
    champion_lines = count_table_lines(evidence.champion)
    # At least 1, because a champion whose trees have no split has no lines.
    times = Estimate(lines / max(champion_lines, 1))
    note = f"the champion has {champion_lines:,}"
    return [finding, at_most(Measured("times_champion", times, accounts, note), bound)]


# With too few defaults their intervals do not hold what they say: two defaults that rank highest
# would have an AUC near 1 with a narrow interval.
_NEED_DEFAULTS = ("discrimination", "calibration")

# Each gate with a table in gates.toml, in order of the summary.  Its name is its field of Gates.
CHECKS: Mapping[str, Callable[[GateInput, Any], list[Finding]]] = {
    "hold_out": check_hold_out,
    "discrimination": check_discrimination,
    "calibration": check_calibration,
    "stability": check_stability,
    "fairness": check_fairness,
    "reasons": check_reasons,
    "nudges": check_nudges,
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
