"""A search for the smallest model that is as good as the best.  Read :func:`tune` first.

Two objectives: AUC over folds of the training accounts, and leaves, which are what explaining a
decision costs.  What is taken is the smallest model within one standard error of the best (see
:func:`training.tune.pareto.smallest_within_noise`).  The hold-out is never looked at.

>>> from pathlib import Path
>>> from training.tune.tune import TuneConfig, tune
>>> found = tune(Path("data/simulated"), Path("mlruns"), TuneConfig(trials=50))  # doctest: +SKIP
>>> found.chosen  # doctest: +SKIP
FitConfig(trees=107, leaves=6, depth=3, ...)
>>> print(found.command)  # doctest: +SKIP
python -m training fit --data data/simulated --set trees=107 --set leaves=6 --set depth=3 ...
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from serving import PROJECT
from training.data.config import DataConfig
from training.data.dataset import Source, load
from training.data.labels import label_accounts
from training.fit.bundle import BundleConfig, library_versions
from training.fit.config import FitConfig
from training.fit.reproduce import fit_command
from training.tracking.store import Store
from training.tune import folds
from training.tune.folds import Fold
from training.tune.mlflow_run import log_search
from training.tune.pareto import TrialScore, pareto_front, smallest_within_noise
from training.tune.search import TuneConfig, search
from training.tune.space import config_at, describe_space
from training.tune.study import Trial, open_study

Shown = Callable[[Sequence[Trial], int], None]  # the trials that ended, and how many are wanted
# What a trial's score depends on.
_CODE = (
    "features/**/*.py",
    "serving/decision/scoring/*.py",
    *(f"training/{part}/*.py" for part in ("data", "evaluate", "fit", "tune")),
)


@dataclass(frozen=True, slots=True)
class TuneResult:
    """What a search found: the trials, the front (smallest first), the config taken with its score,
    and how to fit it.

    ``base`` is the score of the config that the search began with.  ``run`` is the MLflow run that
    shows the study.
    """

    run: str
    trials: tuple[Trial, ...]
    front: tuple[TrialScore, ...]
    base: TrialScore
    best: TrialScore
    selected: TrialScore
    chosen: FitConfig
    command: str


def tune(
    data_folder: Path,
    store: Path,
    config: TuneConfig | None = None,
    *,
    study: str = "limit-reduction",
    data: DataConfig | None = None,
    base: FitConfig | None = None,
    bundle: BundleConfig | None = None,
    shown: Shown | None = None,
) -> TuneResult:
    """Search until the study has ``config.trials`` trials; one that was stopped goes on where it
    was.

    ``base`` is the first trial, and holds the fields that are not searched; ``bundle`` is for the
    command only.  Raises :class:`training.tune.study.StudyError` for a study begun otherwise, and
    what reading and folding the data raise.
    """
    config, data_config, start = config or TuneConfig(), data or DataConfig(), base or FitConfig()
    source = load(data_folder)
    prepared = prepare(source, data_config, start, config)
    began_with = comparability(source, data_config, start, config)
    with (
        open_study(
            store / "studies", study, began_with, config.search_seed, config.startup
        ) as opened_study,
        log_search(Store(store), opened_study, (data_config, start, config), began_with) as kept,
    ):
        for trials in search(opened_study, prepared, start, config):
            kept.trial(trials[-1])
            if shown is not None:
                shown(trials, config.trials)
        found = _found(kept.run, opened_study.trials(), start)
        command = fit_command(
            data_folder, store, (data_config, found.chosen, bundle or BundleConfig())
        )
        found = replace(found, command=command)
        kept.found(found.trials, found.front, (found.base, found.best, found.selected), command)
    return found


def prepare(
    source: Source, data_config: DataConfig, base: FitConfig, config: TuneConfig
) -> list[Fold]:
    """The binned folds of a source that every trial is scored on."""
    data = label_accounts(source, data_config)
    return folds.bin_folds(
        data, list(folds.split_folds(data, config.search_folds, data_config, config.search_seed))
    )


def comparability(
    source: Source, data_config: DataConfig, base: FitConfig, config: TuneConfig
) -> dict[str, str]:
    """What trials must share to be compared, by name, as text."""
    fixed = {name: value for name, value in asdict(base).items() if name != "threads"}
    return {
        "code": code_digest()[:12],
        "libraries": ", ".join(f"{name} {version}" for name, version in library_versions().items()),
        "data": source.digest[:12],
        **{f"space {name}": text for name, text in describe_space().items()},
        "data config": json.dumps(asdict(data_config)),
        "fit config": json.dumps(fixed),
        "search": json.dumps(
            {name: value for name, value in asdict(config).items() if name != "trials"}
        ),
    }


def code_digest() -> str:
    """sha256 over the sources that a trial's score depends on."""
    total = hashlib.sha256()
    for file in sorted(file for pattern in _CODE for file in PROJECT.glob(pattern)):
        total.update(f"{file.relative_to(PROJECT).as_posix()}\n".encode() + file.read_bytes())
    return total.hexdigest()


def _found(run: str, trials: Sequence[Trial], base: FitConfig) -> TuneResult:
    whole = [trial.scored for trial in trials if trial.whole]
    taken, points = smallest_within_noise(whole), {trial.number: trial.point for trial in trials}
    best = max(whole, key=lambda s: s.mean_auc)
    config = config_at(points[taken.number], base)
    return TuneResult(
        run, tuple(trials), tuple(pareto_front(whole)), whole[0], best, taken, config, ""
    )


__all__ = ["TuneConfig", "TuneResult", "tune"]
