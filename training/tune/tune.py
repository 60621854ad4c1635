"""A search for the smallest model that is as good as the best.  Read :func:`tune` first.

There are two objectives: AUC over folds of the training accounts, and leaves, which decide what it
costs to explain a decision.  The search selects the smallest model within one standard error of the
best (see :func:`training.tune.pareto.smallest_within_noise`).  It never looks at the hold-out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from features.display import notebook_display
from serving import PROJECT
from training.data.config import DataConfig
from training.data.dataset import Source, load
from training.data.labels import label_accounts
from training.fit.bundle import BundleConfig, check_texts, library_versions
from training.fit.config import FitConfig
from training.fit.reproduce import fit_command
from training.tracking.defaults import MODEL
from training.tracking.store import Store
from training.tune.folds import Fold, bin_folds, split_folds
from training.tune.mlflow_run import log_search
from training.tune.pareto import TrialScore, pareto_front, smallest_within_noise
from training.tune.search import TuneConfig, search
from training.tune.space import config_at, describe_space
from training.tune.study import Trial, open_study

__all__ = ["TuneConfig", "TuneResult", "tune"]

TuneProgress = Callable[
    [Sequence[Trial], int], None
]  # called with (finished trials, trials in all)
# The code that a trial's score depends on, with modules that are added later.
_CODE = (
    "features/**/*.py",
    "serving/decision/scoring/**/*.py",
    "training/data/**/*.py",
    "training/evaluate/**/*.py",
    "training/fit/**/*.py",
    "training/tune/**/*.py",
)


@notebook_display
@dataclass(frozen=True, slots=True)
class TuneResult:
    """The trials of a search, and the config that it selected."""

    run: str  # id of the MLflow run that shows the study
    trials: tuple[Trial, ...]
    front: tuple[TrialScore, ...]  # smallest first
    base: TrialScore  # of the config that the search started with
    best: TrialScore
    selected: TrialScore
    chosen: FitConfig  # the config of the selected trial
    command: str  # fits it


def tune(
    data_folder: Path,
    store: Path,
    config: TuneConfig | None = None,
    configs: tuple[DataConfig, FitConfig, BundleConfig] | None = None,
    study: str = MODEL,
    progress: TuneProgress | None = None,
) -> TuneResult:
    """Search until the study has ``config.trials`` trials; a study that exists is continued.

    Of ``configs``, the second is the first trial and holds the fields that are not searched; the
    third is used for the command only.

    Raises :class:`training.tune.study.StudyError` for a study that was started otherwise, and what
    reading and folding the data raise.
    """
    config = config or TuneConfig()
    data_config, base, bundle_config = configs or (DataConfig(), FitConfig(), BundleConfig())
    check_texts(bundle_config)
    source = load(data_folder)
    folds = prepare(source, data_config, config)
    key = comparability(source, data_config, base, config)
    with (
        open_study(
            store / "studies",
            study,
            key,
            config.search_seed,
            config.startup,
        ) as opened,
        log_search(Store(store), opened, (data_config, base, config), key) as log,
    ):
        for trials in search(opened, folds, base, config):
            log.add_trial(trials[-1])
            if progress is not None:
                progress(trials, config.trials)
        trials = opened.trials()
        whole = [trial.scored for trial in trials if trial.whole]
        selected = smallest_within_noise(whole)
        points = {trial.number: trial.point for trial in trials}
        chosen = config_at(points[selected.number], base)
        result = TuneResult(
            run=log.run,
            trials=tuple(trials),
            front=tuple(pareto_front(whole)),
            base=whole[0],
            best=max(whole, key=lambda score: score.mean_auc),
            selected=selected,
            chosen=chosen,
            command=fit_command(data_folder, store, (data_config, chosen, bundle_config)),
        )
        marked = (result.base, result.best, result.selected)
        log.add_result(trials, result.front, marked, result.command)
    return result


def prepare(source: Source, data_config: DataConfig, config: TuneConfig) -> list[Fold]:
    """Return the binned folds that every trial is scored on."""
    data = label_accounts(source, data_config)
    parts = list(split_folds(data, config.search_folds, data_config, config.search_seed))
    return bin_folds(data, parts)


def comparability(
    source: Source,
    data_config: DataConfig,
    base: FitConfig,
    config: TuneConfig,
) -> dict[str, str]:
    """Return, by name and as text, everything that comparable trials share."""
    fit_fields = asdict(base)
    del fit_fields["threads"]  # scores are the same for any number
    search_fields = asdict(config)
    del search_fields["trials"]  # a study may be given more
    versions = [f"{name} {version}" for name, version in library_versions().items()]
    return {
        "code": code_digest()[:12],
        "libraries": ", ".join(versions),
        "data": source.digest[:12],
        **{f"space {name}": text for name, text in describe_space().items()},
        "data config": json.dumps(asdict(data_config)),
        "fit config": json.dumps(fit_fields),
        "search": json.dumps(search_fields),
    }


def code_digest(project: Path = PROJECT) -> str:
    """Return the sha256 over the source files that a trial's score depends on."""
    total = hashlib.sha256()
    files = {file for pattern in _CODE for file in project.glob(pattern)}
    for file in sorted(files):
        name = file.relative_to(project).as_posix()
        total.update(f"{name}\n".encode() + file.read_bytes())
    return total.hexdigest()
