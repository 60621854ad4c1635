"""A study: the trials of a search in a database of their own, which survives the process.

Every trial is written when it ends, so a killed search continues where it was; the trial that was
running is tried again.  What the sampler draws for the n-th trial depends on the seed, n and the
trials before it, and on no state of a process: a search that was killed and resumed makes the same
trials as one that was not.

A study belongs to the code, space, data and settings that it was started with.  Trials of others
cannot be compared with them, and are refused.
"""

from __future__ import annotations

import fcntl
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from training.tracking.store import sqlite_uri
from training.tune.pareto import TrialScore
from training.tune.space import SPACE, Point

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DIRECTIONS = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)  # AUC, leaves
# User attributes in the database; renaming one would orphan the studies that exist.
_MADE_WITH, _FOLDS, _RUN = "made_with", "folds", "run"


class StudyError(ValueError):
    """A study cannot be continued: the message says which, and what differs or who holds it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial that ended."""

    number: int
    point: Point
    scored: TrialScore
    seconds: float
    whole: bool  # all folds were scored: it was not pruned


@dataclass(frozen=True, slots=True)
class Study:
    """An open study.  Only one process at a time can have it open."""

    name: str
    inner: optuna.Study
    seed: int
    startup: int

    def trials(self) -> list[Trial]:
        """Return the trials that ended, in order; without one that a killed process left."""
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        return [_read(trial) for trial in self.inner.get_trials(deepcopy=False, states=states)]

    def ask(self, starting_points: Sequence[Point]) -> tuple[optuna.Trial, Point]:
        """Return the next trial and its point.

        The first trials of a study are the starting points; the sampler draws all others.
        """
        done = len(self.trials())
        # A new sampler for each trial: the state of one would be lost with the process.
        self.inner.sampler = _sampler(self.seed, done, self.startup)
        waiting = self.inner.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        # A process that was killed between enqueue and ask leaves a waiting trial.
        if done < len(starting_points) and not waiting:
            self.inner.enqueue_trial(dict(starting_points[done]))
        trial = self.inner.ask(dict(SPACE))
        return trial, trial.params

    def tell(
        self,
        trial: optuna.Trial,
        scored: TrialScore,
        seconds: float,
        whole: bool,
    ) -> Trial:
        """Write the score and the end of a trial; return it."""
        # First the folds, then the end: a trial that has ended always has its folds.
        trial.set_user_attr(
            _FOLDS, {"auc": scored.auc, "leaves": scored.leaves, "seconds": seconds}
        )
        if whole:
            self.inner.tell(trial, (scored.mean_auc, scored.mean_leaves))
        else:
            self.inner.tell(trial, state=TrialState.PRUNED)
        return Trial(trial.number, trial.params, scored, seconds, whole)

    @property
    def run(self) -> str | None:
        """The id of the MLflow run that shows the study; None before there is one."""
        run = self.inner.user_attrs.get(_RUN)
        return None if run is None else str(run)

    def set_run(self, run: str) -> None:
        """Remember the MLflow run that shows the study."""
        self.inner.set_user_attr(_RUN, run)


def create_in_memory(seed: int, startup: int) -> Study:
    """Return a new study that is lost with the process."""
    with _quiet_optuna():
        inner = optuna.create_study(directions=_DIRECTIONS)
        return Study("in memory", inner, seed, startup)


@contextmanager
def open_study(
    folder: Path,
    name: str,
    made_with: Mapping[str, str],
    seed: int,
    startup: int,
) -> Iterator[Study]:
    """Open the study of this name in ``folder``; creates it if necessary.

    Raises :class:`StudyError` if it was started with anything else than ``made_with``, or if
    another process has it open.
    """
    if not _NAME.fullmatch(name):
        raise StudyError(
            f"--study: expected letters, digits, dots, dashes and underscores, got {name!r}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / f"{name}.lock", name), _quiet_optuna():
        storage = optuna.storages.RDBStorage(sqlite_uri(folder.resolve() / f"{name}.db"))
        inner = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=_DIRECTIONS,
            load_if_exists=True,
        )
        inner.set_metric_names(["auc", "leaves"])
        _check_made_with(inner, name, made_with)
        # The process that ran them is gone, for this one has the lock.
        for left in inner.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            inner.tell(left.number, state=TrialState.FAIL)
        try:
            yield Study(name, inner, seed, startup)
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _check_made_with(inner: optuna.Study, name: str, made_with: Mapping[str, str]) -> None:
    before = inner.user_attrs.get(_MADE_WITH)
    if before is None:
        inner.set_user_attr(_MADE_WITH, dict(made_with))
        return
    differences: list[str] = []
    for what in sorted({*before, *made_with}):
        was, now = before.get(what, "not there"), made_with.get(what, "not there")
        differences += _differences(what, was, now)
    if differences:
        raise StudyError(
            f"study {name!r} was begun otherwise: {'; '.join(differences)}; "
            "begin another one with --study NAME"
        )


def _differences(what: str, before: str, now: str) -> list[str]:
    """Return the differences in words; of two configs in JSON, those of their fields."""
    if before == now:
        return []
    old, new = _fields(before), _fields(now)
    if old is None or new is None:
        return [f"{what} was {before}, is {now}"]
    return [
        f"{name} was {old.get(name, 'not there')}, is {new.get(name, 'not there')}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _fields(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


@contextmanager
def _locked(file: Path, name: str) -> Iterator[None]:
    """Hold a lock that the kernel releases even if the process is killed."""
    with file.open("a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyError(
                f"study {name!r}: another process is searching in it ({file} is held)"
            ) from None
        yield


def _sampler(seed: int, done: int, startup: int) -> TPESampler:
    trial_seed = (seed * 1_000_003 + done) % 2**32
    return TPESampler(n_startup_trials=startup, multivariate=True, seed=trial_seed)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Silence Optuna's log, and its warning that multivariate sampling is experimental.

    The caller reports the progress.  Both are as before after the block.
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(verbosity, optuna.logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _read(trial: FrozenTrial) -> Trial:
    folds: dict[str, Any] = trial.user_attrs[_FOLDS]
    return Trial(
        number=trial.number,
        point=trial.params,
        scored=TrialScore(trial.number, tuple(folds["auc"]), tuple(folds["leaves"])),
        seconds=float(folds["seconds"]),
        whole=trial.state == TrialState.COMPLETE,
    )
