"""gates.toml: the bounds that a version must meet to be promoted, and their strict reader."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from serving.decision.config.strict_toml import SHARE, Interval, Section, read_toml
from training.evaluate.holdout import GROUPS


@dataclass(frozen=True, slots=True)
class HoldOutGate:
    """Bounds of the hold-out's outcomes, without which no gate means anything."""

    min_defaults: float
    max_share_censored: float


@dataclass(frozen=True, slots=True)
class DiscriminationGate:
    """Bounds of the AUC, and of the AUC lost to the champion."""

    min_auc: float
    max_auc_lost: float


@dataclass(frozen=True, slots=True)
class CalibrationGate:
    """Bounds of slope, intercept (log-odds) and expected calibration error."""

    min_slope: float
    max_slope: float
    max_intercept: float  # of its size: the intercept may have either sign
    max_ece: float


@dataclass(frozen=True, slots=True)
class StabilityGate:
    """Bounds of the PSI from the last training month to the hold-out's."""

    max_score_psi: float
    max_feature_psi: float


@dataclass(frozen=True, slots=True)
class FairnessGate:
    """Bounds of the adverse impact ratio, and of the gap of false-reduction rates."""

    attributes: tuple[str, ...]  # of GROUPS, compared by themselves and together
    max_attributes: int  # of an intersection; 1 = each attribute by itself
    min_impact_ratio: float
    max_reduction_gap: float


@dataclass(frozen=True, slots=True)
class ReasonsGate:
    """Bounds of the change of first reasons: the share that agrees, and the PSI of their mix."""

    min_same_first: float
    max_mix_psi: float


@dataclass(frozen=True, slots=True)
class NudgesGate:
    """Bound of the share of accounts near the cut-off that a nudge of 0.1 % moves."""

    max_moved: float


@dataclass(frozen=True, slots=True)
class CostGate:
    """Bounds of the cost of an explanation: lines of tables, and their ratio to the champion's."""

    max_lines: float
    max_times_champion: float


@dataclass(frozen=True, slots=True)
class Gates:
    """The content of gates.toml, checked."""

    hold_out: HoldOutGate
    discrimination: DiscriminationGate
    calibration: CalibrationGate
    stability: StabilityGate
    fairness: FairnessGate
    reasons: ReasonsGate
    nudges: NudgesGate
    cost: CostGate


# The keys that are shares; every other key may be any finite number.
_SHARES = dict.fromkeys(
    (
        "min_auc",
        "max_auc_lost",
        "max_share_censored",
        "max_ece",
        "min_same_first",
        "max_moved",
    ),
    SHARE,
)


def own_gates() -> str:
    """Return the text of the project's own gates.toml."""
    return files("training.release").joinpath("gates.toml").read_text("utf-8")


def load_gates(file: Path | None = None) -> Gates:
    """Return the gates of a file (default: the project's own).

    Raises :class:`~serving.decision.config.strict_toml.ConfigError` naming the file and the key.
    """
    if file is None:
        return read_gates(own_gates())
    return read_gates(file.read_text("utf-8"), str(file))


def read_gates(text: str, file: str = "gates.toml") -> Gates:
    """Return the gates in the text of a gates.toml; ``file`` is its name in error messages.

    Raises :class:`~serving.decision.config.strict_toml.ConfigError` naming the key that is missing,
    unknown or out of range.

    >>> read_gates(own_gates()).calibration.max_ece
    0.03
    """
    with read_toml(text, file) as top:
        return Gates(
            hold_out=top.section("hold_out").fill(HoldOutGate, _SHARES),
            discrimination=top.section("discrimination").fill(DiscriminationGate, _SHARES),
            calibration=_read_calibration(top.section("calibration")),
            stability=top.section("stability").fill(StabilityGate, _SHARES),
            fairness=_read_fairness(top.section("fairness")),
            reasons=top.section("reasons").fill(ReasonsGate, _SHARES),
            nudges=top.section("nudges").fill(NudgesGate, _SHARES),
            cost=top.section("cost").fill(CostGate, _SHARES),
        )


def _read_fairness(section: Section) -> FairnessGate:
    attributes = section.texts("attributes")
    unknown = sorted(set(attributes) - set(GROUPS))
    if unknown:
        raise section.error("attributes", f"some of {list(GROUPS)}", unknown)
    return FairnessGate(
        attributes=attributes,
        max_attributes=section.whole("max_attributes", Interval(1, len(GROUPS))),
        min_impact_ratio=section.number("min_impact_ratio", SHARE),
        max_reduction_gap=section.number("max_reduction_gap", SHARE),
    )


def _read_calibration(section: Section) -> CalibrationGate:
    gate = section.fill(CalibrationGate, _SHARES)
    if gate.min_slope > gate.max_slope:
        raise section.error("min_slope", f"at most max_slope, {gate.max_slope:g}", gate.min_slope)
    return gate
