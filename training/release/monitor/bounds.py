"""bounds.toml: what the monitor calls too much, read strictly."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from serving.decision.config.strict_toml import read_toml
from training.tracking.config import check_ranges


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is too much; see the comments in bounds.toml."""

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
        psis = dict.fromkeys(
            ("feature_psi", "score_psi", "reason_psi", "score_wasserstein"), (0.0, 100.0)
        )
        shares = dict.fromkeys(("auc_drop", "rate_gap"), (0.0, 1.0))
        check_ranges(self, **psis, **shares, false_alarm=(1e-9, 0.5), min_accounts=(1, 1e9))


def read_bounds(file: Path | None = None) -> Bounds:
    """The bounds of a file, of the project's own where none is given.

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
