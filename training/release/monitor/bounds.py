"""bounds.toml: what the monitor calls too much, read strictly."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from serving.decision.config.strict_toml import Section, SectionError
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

    Raises :class:`serving.decision.config.strict_toml.SectionError`, naming the key, or ValueError
    for a number out of its range.

    >>> read_bounds().feature_psi
    0.25
    """
    text = (
        (files("training.release.monitor") / "bounds.toml").read_text("utf-8")
        if file is None
        else file.read_text("utf-8")
    )
    try:
        top = Section(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SectionError(f"{file}: not TOML: {error}") from error
    drift, performance = top.section("drift"), top.section("performance")
    numbers = {
        section: {name: section.number(name) for name in names}
        for section, names in (
            (drift, ("feature_psi", "score_psi", "reason_psi", "score_wasserstein", "false_alarm")),
            (performance, ("min_accounts", "auc_drop", "rate_gap")),
        )
    }
    bounds = Bounds(
        expected_to_move=drift.texts("expected_to_move"), **numbers[drift], **numbers[performance]
    )
    for section in (drift, performance, top):
        section.close()
    return bounds
