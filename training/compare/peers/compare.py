"""Our model beside others, on the same folds of the same features: quality, time, and how sure the
differences are.

>>> from pathlib import Path
>>> from training.compare.peers.compare import PeersConfig, compare
>>> found = compare(Path("data/simulated"), peers=PeersConfig(tune_trials=0))  # doctest: +SKIP
>>> print(found.page())  # doctest: +SKIP

A peer that is not installed is named with how to install it, and the others still run.  Nobody is
given the hold-out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from features.catalogue import MODEL_FEATURES
from features.types import Matrix, Rows
from training.compare.peers import page
from training.compare.peers.fold_tests import difference, holm
from training.compare.peers.learners import CONTENDERS, OURS, PACKAGE, Contender, Model
from training.compare.peers.tuned import TUNED, tuned
from training.data.config import DataConfig
from training.data.dataset import load
from training.data.labels import Labelled, label_accounts
from training.evaluate.metrics import auc, brier
from training.fit.config import FitConfig
from training.tracking.config import check_ranges
from training.tracking.progress import CountProgress
from training.tune import folds

CALLS, MANY = 30, 1000  # one-row calls of which the median counts; rows that are explained at once


@dataclass(frozen=True, slots=True)
class PeersConfig:
    """How contenders are compared."""

    peer_folds: int = 5  # each fitted on the others
    peer_seed: int = 0  # of stratified folds
    # of a search inside each fold, on its training rows alone; 0 = ours is not tuned
    tune_trials: int = 30
    only: str = ""  # names on the page, by semicolons; all if empty

    def __post_init__(self) -> None:
        check_ranges(self, peer_folds=(2, 20), peer_seed=(0, 2**31 - 1), tune_trials=(0, 1000))
        unknown = set(self.names()) - {c.name for c in CONTENDERS} - {TUNED}
        if unknown:
            raise ValueError(
                f"only: expected some of {[c.name for c in CONTENDERS] + [TUNED]}, got {sorted(unknown)}"
            )

    def names(self) -> list[str]:
        """What ``only`` names."""
        return [name.strip() for name in self.only.split(";") if name.strip()]


@dataclass(frozen=True, slots=True)
class PeerComparison:
    """``scores``: one row a contender and fold (``contender``, ``fold``, ``auc``, ``brier``,
    ``log_loss``, ``fit_s``, ``one_s``, ``explain_one_s``, ``explain_many_s`` - null where it
    explains nothing).

    ``missing`` are those that are not installed, each with the command that installs it; ``told``
    how each was set; ``test_to_train`` rows scored to rows fitted on; ``rows`` of all folds
    together.
    """

    scores: pl.DataFrame
    missing: tuple[tuple[str, str], ...]
    told: tuple[tuple[str, str], ...]
    test_to_train: float
    rows: int

    def summary(self) -> pl.DataFrame:
        """One row a contender in the order run: means over folds, medians of times."""
        times = ("fit_s", "one_s", "explain_one_s", "explain_many_s")
        means = [pl.col(name).mean() for name in ("auc", "brier", "log_loss", "leaves")]
        return self.scores.group_by("contender", maintain_order=True).agg(
            *means, *(pl.col(name).median() for name in times)
        )

    def against(self, name: str = OURS) -> pl.DataFrame:
        """Every other contender less the named one, in AUC and log loss: ``contender``,
        ``measure``, ``difference``, ``low``, ``high``, ``p`` and ``p_holm``, raised for all tests
        of the measure."""
        by_name = {
            str(key[0]): part
            for key, part in self.scores.group_by("contender", maintain_order=True)
        }
        if name not in by_name:
            raise ValueError(f"expected one of {sorted(by_name)} to compare with, got {name!r}")
        tables = []
        for measure in ("auc", "log_loss"):
            own = by_name[name][measure].to_list()
            found = {
                n: difference(p[measure].to_list(), own, self.test_to_train)
                for n, p in by_name.items()
                if n != name
            }
            raised = holm([d.p for d in found.values()])
            tables += [
                {
                    "contender": n,
                    "measure": measure,
                    "difference": d.mean,
                    "low": d.low,
                    "high": d.high,
                    "p": d.p,
                    "p_holm": r,
                }
                for (n, d), r in zip(found.items(), raised, strict=True)
            ]
        return pl.DataFrame(tables)

    def page(self) -> str:
        """The tables in Markdown."""
        return page.section(
            self.summary(),
            self.against() if self.against_ours else None,
            self.missing,
            self.told,
            self.rows,
        )

    @property
    def against_ours(self) -> bool:
        """Whether ours ran, and another beside it."""
        names = self.scores["contender"].unique().to_list()
        return OURS in names and len(names) > 1


def compare(
    folder: Path,
    data: DataConfig | None = None,
    config: FitConfig | None = None,
    peers: PeersConfig | None = None,
    progress: CountProgress | None = None,
) -> PeerComparison:
    """Every contender that is installed, fitted and scored on each fold.

    Folds are those of a search (:func:`training.tune.folds.split_folds`): by account where accounts repeat,
    else stratified; of the training rows only.  Raises what reading and folding the data raise.
    """
    data_config, fit_config, peers_config = (
        data or DataConfig(),
        config or FitConfig(),
        peers or PeersConfig(),
    )
    frame = label_accounts(load(folder), data_config)
    parts = list(
        folds.split_folds(frame, peers_config.peer_folds, data_config, peers_config.peer_seed)
    )
    asked = _asked(peers_config, data_config)
    here = [contender for contender in asked if contender.installed]
    rows, done = [], 0
    for contender in here:
        for number, (fitted, held) in enumerate(parts, start=1):
            rows.append(
                {"contender": contender.name, "fold": number}
                | _scored(contender, frame, fitted, held, fit_config)
            )
            done += 1
            if progress is not None:
                progress(done, len(here) * len(parts))
    missing = tuple(
        (c.name, f"pip install {PACKAGE.get(c.package, c.package)}")
        for c in asked
        if c.package and c not in here
    )
    share = float(np.mean([len(held) / len(fitted) for fitted, held in parts]))
    return PeerComparison(
        pl.DataFrame(rows, infer_schema_length=None),
        missing,
        tuple((c.name, c.told) for c in here),
        share,
        len(frame.rows("train")),
    )


def _asked(config: PeersConfig, data_config: DataConfig) -> list[Contender]:
    named = config.names()
    every = [*CONTENDERS, *([tuned(config.tune_trials, data_config)] if config.tune_trials else [])]
    return [contender for contender in every if not named or contender.name in named]


def _scored(
    contender: Contender, frame: Labelled, fitted: Rows, held: Rows, config: FitConfig
) -> dict[str, float | None]:
    matrix = frame.features.matrix(MODEL_FEATURES)
    begun = time.perf_counter()
    model = contender.fit(frame.take(fitted), config)
    seconds = time.perf_counter() - begun
    label, probability = frame.label[held], model.probability(matrix[held])
    inside = np.clip(probability, 1e-15, 1.0 - 1e-15)
    return {
        "auc": auc(label, probability),
        "brier": brier(label, probability),
        "log_loss": float(-np.mean(label * np.log(inside) + (1.0 - label) * np.log(1.0 - inside))),
        "leaves": model.leaves,
        "fit_s": seconds,
        "one_s": _one(model.probability, matrix[held]),
        "explain_one_s": None
        if model.explain(matrix[held[:1]]) is None
        else _one(model.explain, matrix[held]),
        "explain_many_s": _many(model, matrix[held[:MANY]]),
    }


def _one(call: Callable[[Matrix], object], matrix: Matrix) -> float:
    """Seconds of a call with one row, another each time: the median."""
    times = []
    for number in range(min(CALLS, len(matrix))):
        begun = time.perf_counter()
        call(matrix[number : number + 1])
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


def _many(model: Model, matrix: Matrix) -> float | None:
    """Seconds a row, of explaining many."""
    begun = time.perf_counter()
    explained = model.explain(matrix)
    return None if explained is None else (time.perf_counter() - begun) / len(matrix)


__all__ = ["PeerComparison", "PeersConfig", "compare"]
