"""gates.toml: what it may say, and its reading.

Every bound of a promotion stands in that file, commented.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any


class GateError(ValueError):
    """A gates file that cannot be used: which key, what was expected and what stands there."""


@dataclass(frozen=True, slots=True)
class HoldOutGate:
    """Enough accounts to tell."""

    min_defaults: float


@dataclass(frozen=True, slots=True)
class DiscriminationGate:
    """Bounds of the AUC and of what it loses to the champion's."""

    min_auc: float
    max_auc_lost: float


@dataclass(frozen=True, slots=True)
class CalibrationGate:
    """Bounds of slope, intercept (log-odds) and expected calibration error."""

    min_slope: float
    max_slope: float
    max_intercept: float
    max_ece: float


@dataclass(frozen=True, slots=True)
class StabilityGate:
    """Bounds of the PSI from the last training month to the hold-out's."""

    max_score_psi: float
    max_feature_psi: float


@dataclass(frozen=True, slots=True)
class FairnessGate:
    """Bounds of the adverse impact ratio, and of the gap of false-reduction rates."""

    min_impact_ratio: float
    max_reduction_gap: float


@dataclass(frozen=True, slots=True)
class ReasonsGate:
    """Bounds of how far the first reasons are not the champion's: a share, and the PSI of the mix."""

    min_same_first: float
    max_mix_psi: float


@dataclass(frozen=True, slots=True)
class CostGate:
    """Bounds of what explaining an account costs: lines of tables, and times the champion's."""

    max_lines: float
    max_times_champion: float


@dataclass(frozen=True, slots=True)
class Gates:
    """gates.toml, read and checked."""

    hold_out: HoldOutGate
    discrimination: DiscriminationGate
    calibration: CalibrationGate
    stability: StabilityGate
    fairness: FairnessGate
    reasons: ReasonsGate
    cost: CostGate


_KINDS: Mapping[str, type] = {
    "hold_out": HoldOutGate,
    "discrimination": DiscriminationGate,
    "calibration": CalibrationGate,
    "stability": StabilityGate,
    "fairness": FairnessGate,
    "reasons": ReasonsGate,
    "cost": CostGate,
}
_SHARES = {
    "min_auc",
    "max_auc_lost",
    "max_ece",
    "min_impact_ratio",
    "max_reduction_gap",
    "min_same_first",
}


def own_gates() -> str:
    """The text of the project's own gates.toml."""
    return files("training.release").joinpath("gates.toml").read_text("utf-8")


def load_gates(file: Path | None = None) -> Gates:
    """The gates of a file, the project's own if none is given; :class:`GateError` names the file
    and the key.
    """
    if file is None:
        return read_gates(own_gates())
    try:
        return read_gates(file.read_text("utf-8"))
    except GateError as error:
        raise GateError(f"{file}: {error}") from error


def read_gates(text: str) -> Gates:
    """The gates that a TOML text states; :class:`GateError` names the key that is missing, unknown
    or out of range.

    >>> read_gates(own_gates().replace("max_ece", "max_ce"))
    Traceback (most recent call last):
    ...
    training.release.gate_config.GateError: gates.calibration: 'max_ce' is no key of it, did you mean 'max_ece'?
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise GateError(f"gates: not TOML: {error}") from error
    _keys("gates", raw, list(_KINDS))
    parts: dict[str, Any] = {
        name: _bounds(f"gates.{name}", kind, raw[name]) for name, kind in _KINDS.items()
    }
    gates = Gates(**parts)
    if gates.calibration.min_slope > gates.calibration.max_slope:
        raise GateError(
            f"gates.calibration: expected min_slope of at most max_slope, got {gates.calibration}"
        )
    return gates


def _bounds(where: str, kind: type, table: object) -> object:
    if not isinstance(table, dict):
        raise GateError(f"{where}: expected a table of bounds, got {table!r}")
    _keys(where, table, [field.name for field in fields(kind)])
    for key, value in table.items():
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 <= value < math.inf
        ):
            raise GateError(f"{where}.{key}: expected a number of at least 0, got {value!r}")
        if key in _SHARES and value > 1:
            raise GateError(f"{where}.{key}: expected at most 1, got {value!r}")
    return kind(**table)


def _keys(where: str, table: Mapping[str, object], known: list[str]) -> None:
    for key in table:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, 1)
            meant = f"did you mean {nearest[0]!r}?" if nearest else f"there are {known}"
            raise GateError(f"{where}: {key!r} is no key of it, {meant}")
    if missing := [key for key in known if key not in table]:
        raise GateError(f"{where}: missing {missing}")
