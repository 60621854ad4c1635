"""bounds.toml: the bounds of drift and decline, and their strict reader."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from serving.decision.config.strict_toml import read_toml
from training.tracking.config import check_ranges


@dataclass(frozen=True, slots=True)
class Bounds:
    """The content of bounds.toml, checked; its comments explain each number."""

    feature_psi: float
    score_psi: float
    reason_psi: float
    score_wasserstein: float
    false_alarm: float
    expected_to_move: tuple[str, ...]
    min_accounts: float
    auc_drop: float
    rate_gap: float

    def __post_init__(self) -> None:
        distances = ("feature_psi", "score_psi", "reason_psi", "score_wasserstein")
        shares = ("auc_drop", "rate_gap")
        check_ranges(
            self,
            **dict.fromkeys(distances, (0.0, 100.0)),
            **dict.fromkeys(shares, (0.0, 1.0)),
            # Above 0, because a level of 1 would need an infinite index.
            false_alarm=(1e-9, 0.5),
            min_accounts=(1, 1e9),
        )


def read_bounds(file: Path | None = None) -> Bounds:
    """Return the bounds of a file (default: the project's own).

    Raises :class:`~serving.decision.config.strict_toml.ConfigError` naming the key that is missing,
    unknown or not a number, or ValueError for a number out of its range.

    >>> read_bounds().feature_psi
    0.25
    """
    source = files("training.release.monitor") / "bounds.toml" if file is None else file
    with read_toml(source.read_text("utf-8"), str(file or "bounds.toml")) as top:
        drift, performance = top.section("drift"), top.section("performance")
        return Bounds(
            feature_psi=drift.number("feature_psi"),
            score_psi=drift.number("score_psi"),
            reason_psi=drift.number("reason_psi"),
            score_wasserstein=drift.number("score_wasserstein"),
            false_alarm=drift.number("false_alarm"),
            expected_to_move=drift.texts("expected_to_move"),
            min_accounts=performance.number("min_accounts"),
            auc_drop=performance.number("auc_drop"),
            rate_gap=performance.number("rate_gap"),
        )
