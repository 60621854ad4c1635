"""Our model and other learners on the same folds of the same features: quality, time, differences.

>>> from pathlib import Path
>>> from training.compare.peers.compare import PeersConfig, compare
>>> comparison = compare(Path("data/simulated"), peers=PeersConfig(tune_trials=0))  # doctest: +SKIP
>>> print(comparison.page())  # doctest: +SKIP

A peer that is not installed is listed with the command that installs it, and the others still run.
No learner sees the hold-out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from features.catalogue import MODEL_FEATURES
from features.display import notebook_display
from features.types import Matrix, Rows
from training.compare.peers import page
from training.compare.peers.fold_tests import difference, holm
from training.compare.peers.learners import CONTENDERS, OURS, Contender
from training.compare.peers.tuned import TUNED, tuned
from training.data.config import DataConfig
from training.data.dataset import load
from training.data.labels import Labelled, label_accounts
from training.evaluate.metrics import auc, brier
from training.fit.config import FitConfig
from training.tracking.config import check_ranges
from training.tracking.progress import CountProgress
from training.tune import folds

CALLS = 30  # one-row calls, of which the median counts
MANY = 1000  # rows that are explained in one call


@dataclass(frozen=True, slots=True)
class PeersConfig:
    """How contenders are compared."""

    peer_folds: int = 5  # each is scored by models fitted on the others
    peer_seed: int = 0  # of stratified folds
    # trials of a search inside each fold, on its training rows alone; 0 = ours is not tuned
    tune_trials: int = 30
    only: str = ""  # names on the page, separated by semicolons; empty = all

    def __post_init__(self) -> None:
        check_ranges(
            self,
            peer_folds=(2, 20),
            peer_seed=(0, 2**31 - 1),
            tune_trials=(0, 1000),
        )
        known = [contender.name for contender in CONTENDERS]
        known.append(TUNED)
        unknown = set(self.names()) - set(known)
        if unknown:
            raise ValueError(f"only: expected some of {known}, got {sorted(unknown)}")

    def names(self) -> list[str]:
        """Return the names in ``only``."""
        names = [name.strip() for name in self.only.split(";")]
        return [name for name in names if name]


@notebook_display
@dataclass(frozen=True, slots=True)
class PeerComparison:
    """The scores of every contender on every fold.

    ``scores`` has one row for each contender and fold: ``contender``, ``fold``, ``auc``, ``brier``,
    ``log_loss``, ``leaves`` (null where not counted), ``fit_s``, ``one_s``, ``explain_one_s`` and
    ``explain_many_s`` (null where the learner has no explanation).  ``missing`` are the contenders
    that are not installed, each with the command that installs it; ``settings`` describe the
    others.  ``test_to_train`` is rows scored to rows fitted on; ``rows`` counts those of all folds.
    """

    scores: pl.DataFrame
    missing: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    test_to_train: float
    rows: int

    def summary(self) -> pl.DataFrame:
        """Return one row for each contender, in the order run: means over folds, median times."""
        measures = pl.col("auc", "brier", "log_loss", "leaves")
        # Medians of times: one pause of the machine would move a mean.
        times = pl.col("fit_s", "one_s", "explain_one_s", "explain_many_s")
        by_contender = self.scores.group_by("contender", maintain_order=True)
        return by_contender.agg(measures.mean(), times.median())

    def against(self, name: str = OURS) -> pl.DataFrame:
        """Return the difference of every other contender to one, in AUC and log loss.

        Columns: ``contender``, ``measure``, ``difference``, ``low``, ``high``, ``p`` and
        ``p_holm``, adjusted for all tests of the measure.  Raises ValueError for an unknown name.
        """
        parts = self.scores.partition_by("contender", maintain_order=True)
        by_name = {str(part["contender"][0]): part for part in parts}
        if name not in by_name:
            raise ValueError(f"expected one of {sorted(by_name)} to compare with, got {name!r}")
        own = by_name.pop(name)
        rows: list[dict[str, object]] = []
        for measure in ("auc", "log_loss"):
            rows += _test_measure(measure, by_name, own, self.test_to_train)
        return pl.DataFrame(rows)

    def page(self) -> str:
        """Return the tables in Markdown."""
        against = self.against() if self.against_ours else None
        return page.section(
            self.summary(),
            against,
            self.missing,
            self.settings,
            self.rows,
        )

    @property
    def against_ours(self) -> bool:
        """Whether our model ran, and at least one other."""
        names = self.scores["contender"].unique().to_list()
        return OURS in names and len(names) > 1


def _test_measure(
    measure: str,
    others: Mapping[str, pl.DataFrame],
    own: pl.DataFrame,
    test_to_train: float,
) -> list[dict[str, object]]:
    own_values = own[measure].to_list()
    tests = []
    for other in others.values():
        values = other[measure].to_list()
        tests.append(difference(values, own_values, test_to_train))
    adjusted = holm([test.p for test in tests])
    return [
        {
            "contender": name,
            "measure": measure,
            "difference": test.mean,
            "low": test.low,
            "high": test.high,
            "p": test.p,
            "p_holm": p_holm,
        }
        for name, test, p_holm in zip(others, tests, adjusted, strict=True)
    ]


def compare(
    folder: Path,
    data: DataConfig | None = None,
    config: FitConfig | None = None,
    peers: PeersConfig | None = None,
    progress: CountProgress | None = None,
) -> PeerComparison:
    """Fit and score every installed contender on each fold.

    Folds are those of a search (:func:`training.tune.folds.split_folds`): by account where accounts
    repeat, else stratified; of the training rows only.  Raises the errors of reading and folding
    the data.
    """
    data_config = data or DataConfig()
    fit_config = config or FitConfig()
    peers_config = peers or PeersConfig()
    frame = label_accounts(load(folder), data_config)
    # Folds of the training rows: a hold-out that chose a learner would no longer be one.
    split = folds.split_folds(
        frame,
        peers_config.peer_folds,
        data_config,
        peers_config.peer_seed,
    )
    parts = list(split)
    contenders = _select_contenders(peers_config, data_config)
    installed = [contender for contender in contenders if contender.installed]
    missing = [contender for contender in contenders if not contender.installed]
    steps = len(installed) * len(parts)
    rows: list[dict[str, object]] = []
    for contender in installed:
        for number, (fitted, held) in enumerate(parts, start=1):
            scores = _score(contender, frame, fitted, held, fit_config)
            rows.append({"contender": contender.name, "fold": number, **scores})
            if progress is not None:
                progress(len(rows), steps)
    test_to_train = np.mean([len(held) / len(fitted) for fitted, held in parts])
    return PeerComparison(
        scores=pl.DataFrame(rows, infer_schema_length=None),
        missing=tuple((contender.name, contender.install_command) for contender in missing),
        settings=tuple((contender.name, contender.setting) for contender in installed),
        test_to_train=float(test_to_train),
        rows=len(frame.rows("train")),
    )


def _select_contenders(config: PeersConfig, data_config: DataConfig) -> list[Contender]:
    contenders = list(CONTENDERS)
    if config.tune_trials:
        contenders.append(tuned(config.tune_trials, data_config))
    names = config.names()
    if not names:
        return contenders
    return [contender for contender in contenders if contender.name in names]


def _score(
    contender: Contender,
    frame: Labelled,
    fitted: Rows,
    held: Rows,
    config: FitConfig,
) -> dict[str, float | None]:
    matrix = frame.features.matrix(MODEL_FEATURES)[held]
    label = frame.label[held]
    start = time.perf_counter()
    model = contender.fit(frame.take(fitted), config)
    fit_seconds = time.perf_counter() - start
    probability = model.probability(matrix)
    # A peer may answer exactly 0 or 1, whose log loss is infinite where it is wrong.
    inside = np.clip(probability, 1e-15, 1.0 - 1e-15)
    of_defaults = label * np.log(inside)
    of_good = (1.0 - label) * np.log(1.0 - inside)
    log_loss = -np.mean(of_defaults + of_good)
    explains = model.explain(matrix[:1]) is not None
    return {
        "auc": auc(label, probability),
        "brier": brier(label, probability),
        "log_loss": float(log_loss),
        "leaves": model.leaves,
        "fit_s": fit_seconds,
        "one_s": _time_one_row(model.probability, matrix),
        "explain_one_s": _time_one_row(model.explain, matrix) if explains else None,
        "explain_many_s": _time_many_rows(model.explain, matrix[:MANY]) if explains else None,
    }


def _time_one_row(call: Callable[[Matrix], object], matrix: Matrix) -> float:
    """The median seconds of a call with one row."""
    # Another row each time: a learner that caches its last answer must not profit.
    times = []
    for number in range(min(CALLS, len(matrix))):
        start = time.perf_counter()
        call(matrix[number : number + 1])
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _time_many_rows(call: Callable[[Matrix], object], matrix: Matrix) -> float:
    """Seconds a row, of one call with many."""
    start = time.perf_counter()
    call(matrix)
    return (time.perf_counter() - start) / len(matrix)


__all__ = ["PeerComparison", "PeersConfig", "compare"]
