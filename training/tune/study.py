"""A search that outlives its process: trials in a database of their own, beside MLflow's.

Every trial is written when it ends, so a search that is killed goes on where it was; the trial
under way is tried again.  What the sampler draws for the n-th trial depends on the seed, n and the
trials before it, and on nothing that dies with a process: a search that was killed and resumed
makes the same trials as one that was not.

A study belongs to the code, space, data and settings that it was begun with: trials of others
cannot be compared, and are refused.
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
from optuna.trial import FrozenTrial, TrialState

from training.tune.pareto import TrialScore
from training.tune.space import SPACE, Point

optuna.logging.set_verbosity(optuna.logging.WARNING)  # progress is told by whoever searches
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MADE_WITH, _FOLDS, _RUN = "made_with", "folds", "run"


class StudyError(ValueError):
    """A study that cannot be gone on with: which, and what differs or who is at it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial that ended: where in the space it lay, what it scored, and whether all folds were
    scored (``whole``).
    """

    number: int
    point: Point
    scored: TrialScore
    seconds: float
    whole: bool


@dataclass(frozen=True, slots=True)
class Study:
    """A study that is open; only one process has it open at a time."""

    name: str
    inner: optuna.Study
    seed: int
    startup: int

    def trials(self) -> list[Trial]:
        """Those that ended, in order; not the one that a killed process left."""
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        return [_read(trial) for trial in self.inner.get_trials(deepcopy=False, states=states)]

    def ask(self, beginnings: Sequence[Point]) -> tuple[optuna.Trial, Point]:
        """The next trial and its point: of ``beginnings`` for the first of the study, drawn by the
        sampler for any other.
        """
        done = len(self.trials())
        # Made anew for each: its state would die with the process.
        self.inner.sampler = _sampler(self.seed, done, self.startup)
        waiting = self.inner.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        # one waits where a process was killed just before it took it
        if done < len(beginnings) and not waiting:
            self.inner.enqueue_trial(dict(beginnings[done]))
        trial = self.inner.ask(dict(SPACE))
        return trial, trial.params

    def tell(self, trial: optuna.Trial, scored: TrialScore, seconds: float, whole: bool) -> Trial:
        """Keep what a trial scored, in one transaction with its end for the objectives and one
        before it for the folds.
        """
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
        """The MLflow run that shows the study; None before it has one."""
        found = self.inner.user_attrs.get(_RUN)
        return None if found is None else str(found)

    def shown_in(self, run: str) -> None:
        """Remember the MLflow run that shows the study."""
        self.inner.set_user_attr(_RUN, run)


def create_in_memory(seed: int, startup: int) -> Study:
    """A study that nobody will go on with."""
    with _quiet():
        return Study(
            "in memory", optuna.create_study(directions=["maximize", "minimize"]), seed, startup
        )


@contextmanager
def open_study(
    folder: Path, name: str, made_with: Mapping[str, str], seed: int, startup: int
) -> Iterator[Study]:
    """The study of that name in ``folder``, begun if it is not there.

    Raises :class:`StudyError` where it was begun with anything else than ``made_with``, or another
    process is searching in it.
    """
    if not _NAME.fullmatch(name):
        raise StudyError(
            f"--study: expected letters, digits, dots, dashes and underscores, got {name!r}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / f"{name}.lock", name), _quiet():
        storage = optuna.storages.RDBStorage(f"sqlite:///{folder.resolve() / name}.db")
        inner = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=["maximize", "minimize"],
            load_if_exists=True,
        )
        inner.set_metric_names(["auc", "leaves"])
        _same(inner, name, made_with)
        for left in inner.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            # the process that ran it is gone: the lock is ours
            inner.tell(left.number, state=TrialState.FAIL)
        try:
            yield Study(name, inner, seed, startup)
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _same(inner: optuna.Study, name: str, made_with: Mapping[str, str]) -> None:
    before = inner.user_attrs.get(_MADE_WITH)
    if before is None:
        inner.set_user_attr(_MADE_WITH, dict(made_with))
        return
    differing = [
        difference
        for what in sorted({*before, *made_with})
        for difference in _differences(
            what, before.get(what, "not there"), made_with.get(what, "not there")
        )
    ]
    if differing:
        raise StudyError(
            f"study {name!r} was begun otherwise: {'; '.join(differing)}; begin another one with --study NAME"
        )


def _differences(what: str, before: str, now: str) -> Iterator[str]:
    """In words; of a config its fields that differ."""
    try:
        was, is_ = json.loads(before), json.loads(now)
    except ValueError:
        was, is_ = before, now
    if not (isinstance(was, dict) and isinstance(is_, dict)):
        if before != now:
            yield f"{what} was {before}, is {now}"
        return
    for name in sorted({*was, *is_}):
        if was.get(name) != is_.get(name):
            yield f"{name} was {was.get(name, 'not there')}, is {is_.get(name, 'not there')}"


@contextmanager
def _alone(lock: Path, name: str) -> Iterator[None]:
    """Held while the process lives: the system lets go of it when the process is killed."""
    with lock.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyError(
                f"study {name!r}: another process is searching in it ({lock} is held)"
            ) from None
        yield


def _sampler(seed: int, done: int, startup: int) -> TPESampler:
    return TPESampler(
        n_startup_trials=startup, multivariate=True, seed=(seed * 1_000_003 + done) % 2**32
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Multivariate sampling and metric names are marked as experimental: said once here, not at
    every trial.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _read(trial: FrozenTrial) -> Trial:
    kept: dict[str, Any] = trial.user_attrs[_FOLDS]
    scored = TrialScore(trial.number, tuple(kept["auc"]), tuple(kept["leaves"]))
    return Trial(
        trial.number,
        trial.params,
        scored,
        float(kept["seconds"]),
        trial.state == TrialState.COMPLETE,
    )
