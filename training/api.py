"""The commands as functions, for a notebook: ``from training.api import fit, compare, promote``.

``python -m training`` calls these functions, and its options have the defaults of their signatures.
A command prints the result of its function, or the message of its error.  Paths may be text.
Keyword arguments beyond a signature are fields of the configs that the docstring names, as with
``--set``; an unknown name raises ValueError with the nearest one.

Each function imports its stage when it is called, so that importing this module stays fast.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.tracking.config import as_assignments, configure
from training.tracking.defaults import DATA, MODEL, STORE
from training.tracking.progress import CountProgress, StageProgress, ignore_stage

if TYPE_CHECKING:
    from training.compare.models.compare import ModelComparison
    from training.compare.peers.compare import PeerComparison
    from training.compare.policies.lab import LabFindings
    from training.data.ingest.ingest import Summary
    from training.evaluate.model_lookup import Model
    from training.examine.run import ExaminationResult
    from training.fit.run import FitReport
    from training.release.monitor.monitor import MonitorResult
    from training.release.promote import Promotion
    from training.release.report.report import ReportResult
    from training.tracking.store import Store
    from training.tune.tune import TuneProgress, TuneResult

AnyPath = str | Path


def simulate(
    out: AnyPath = DATA, *, progress: CountProgress | None = None, **settings: object
) -> dict[str, Any]:
    """Write synthetic accounts with known true causes.

    Returns the content of ``simulation.json``: the rows written and the config.  Settings are
    fields of :class:`training.data.simulate.config.SimulationConfig`.  Without ``first_month`` the
    months end with the one before today's, so that a service decides on these accounts.
    """
    from training.data.simulate.config import SimulationConfig, end_before
    from training.data.simulate.output import write

    (config,) = configure([SimulationConfig()], settings)
    if "first_month" not in settings:
        today = datetime.datetime.now(tz=datetime.UTC).date()
        config = end_before(today, config)
    return write(config, Path(out), progress)


def ingest(csv: AnyPath, mapping: AnyPath, out: AnyPath) -> Summary:
    """Convert foreign data by a mapping file; see :func:`training.data.ingest.ingest.ingest`."""
    from training.data.ingest.ingest import ingest

    return ingest(Path(csv), Path(mapping), Path(out))


def sample(
    data: AnyPath = DATA,
    out: AnyPath = "data/sample",
    share: float = 0.1,
    seed: int = 0,
    *,
    progress: CountProgress | None = None,
) -> dict[str, Any]:
    """Write a share of the accounts of a data folder; see :func:`training.data.sample.sample`."""
    from training.data.sample import sample

    return sample(Path(data), Path(out), share, seed, progress)


def fit(
    data: AnyPath = DATA,
    store: AnyPath = STORE,
    *,
    data_digest: str | None = None,
    progress: CountProgress | None = None,
    **settings: object,
) -> FitReport:
    """Fit, measure and register a model, recorded in one MLflow run.

    With ``data_digest``, data with another digest raise an error.  Settings are fields of
    :class:`training.data.config.DataConfig`, :class:`training.fit.config.FitConfig` and
    :class:`training.fit.bundle.BundleConfig`.

    >>> fit(leafs=8)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: no setting is named 'leafs' (did you mean 'leaves'?); there are [...]
    """
    from training.data.config import DataConfig
    from training.fit.bundle import BundleConfig
    from training.fit.config import FitConfig
    from training.fit.run import run_fit

    data_config, model, bundle = configure([DataConfig(), FitConfig(), BundleConfig()], settings)
    configs = data_config, model, bundle
    return run_fit(Path(data), _open(store), configs, progress, data_digest)


def tune(
    data: AnyPath = DATA,
    store: AnyPath = STORE,
    study: str = MODEL,
    *,
    progress: TuneProgress | None = None,
    **settings: object,
) -> TuneResult:
    """Search for the smallest model that is as good as the best, or resume a stopped study.

    The result's ``chosen`` is the config to fit with: ``fit(**settings_of(result))``.  Settings are
    fields of :class:`training.tune.search.TuneConfig` and of the configs of :func:`fit`.
    """
    from training.data.config import DataConfig
    from training.fit.bundle import BundleConfig
    from training.fit.config import FitConfig
    from training.tune.search import TuneConfig
    from training.tune.tune import tune

    search, data_config, base, bundle = configure(
        [TuneConfig(), DataConfig(), FitConfig(), BundleConfig()], settings
    )
    configs = data_config, base, bundle
    return tune(Path(data), Path(store), search, configs, study, progress)


def settings_of(found: TuneResult, **settings: object) -> dict[str, str]:
    """Return the settings of :func:`fit` for the model that a search chose.

    ``settings`` are those that the search was called with.
    """
    from training.data.config import DataConfig
    from training.fit.bundle import BundleConfig
    from training.fit.config import FitConfig
    from training.tune.search import TuneConfig

    _, _, data, bundle = configure(
        [TuneConfig(), FitConfig(), DataConfig(), BundleConfig()], settings
    )
    assignments = as_assignments([data, found.chosen, bundle])
    return dict(assignment.split("=", 1) for assignment in assignments)


def compare(
    *models: str | int,
    data: AnyPath = DATA,
    store: AnyPath = STORE,
    name: str = MODEL,
    shared: bool = False,
    progress: StageProgress = ignore_stage,
) -> ModelComparison:
    """Compare each model with the first, on accounts that none of them was fitted on.

    See :func:`training.compare.models.compare.compare`.
    """
    from training.compare.models.compare import compare

    names = [str(model) for model in models]
    return compare(names, Path(data), _open(store), name, shared, progress)


def promote(
    version: str | int | None = None,
    data: AnyPath = DATA,
    store: AnyPath = STORE,
    name: str = MODEL,
    gates: AnyPath | None = None,
    force: str | None = None,
    *,
    progress: StageProgress = ignore_stage,
) -> Promotion:
    """Make a version (default: the newest) the champion if every gate passes.

    ``gates`` is a file of bounds (default: the project's own).  ``force`` is the reason to promote
    the version even if gates refuse it.  See :func:`training.release.promote.promote`.

    >>> promote(4, force=True)
    Traceback (most recent call last):
    ...
    TypeError: force: expected the reason as text, got True
    """
    # A notebook may pass force=True, which mypy would refuse.
    if force is not None and not isinstance(force, str):
        raise TypeError(f"force: expected the reason as text, got {force!r}")
    from training.release.gate_config import load_gates
    from training.release.promote import PromotionConfig, promote

    config = PromotionConfig(
        name=name,
        version=None if version is None else str(version),
        gates=load_gates(None if gates is None else Path(gates)),
        force=force,
    )
    return promote(Path(data), _open(store), config, progress)


def nominate(version: str | int | None = None, store: AnyPath = STORE, name: str = MODEL) -> str:
    """Point the alias ``challenger`` at a version (default: the newest), and return the version."""
    from training.release.promote import nominate

    return nominate(_open(store), name, None if version is None else str(version))


def rollback(store: AnyPath = STORE, name: str = MODEL, why: str = "") -> str:
    """Make the previous champion the champion again, and return its version."""
    from training.release.promote import rollback

    return rollback(_open(store), name, why)


def policy(
    version: str | None = None,
    data: AnyPath = DATA,
    store: AnyPath = STORE,
    name: str = MODEL,
    *,
    cap: tuple[float, datetime.date] | None = None,
    progress: StageProgress = ignore_stage,
    **settings: object,
) -> LabFindings:
    """Apply other policies to the hold-out of a version (default: the champion).

    ``cap`` is a regulator's cap of every limit: a multiple of the monthly income, and its first
    month.  Settings are fields of :class:`training.compare.policies.lab.LabConfig`, such as
    ``max_good_cut=0.04``.
    """
    from training.compare.policies.lab import Cap, LabConfig, run_lab
    from training.evaluate.model_lookup import find_registered

    (config,) = configure([LabConfig()], settings)
    model = find_registered(_open(store), name, version)
    bounds = None if cap is None else Cap(*cap)
    return run_lab(Path(data), model, config, bounds, progress)


def peers(
    data: AnyPath = DATA, *, progress: CountProgress | None = None, **settings: object
) -> PeerComparison:
    """Compare our model with others on the same folds.

    The extra ``peers`` installs the other models.  Settings are fields of
    :class:`training.compare.peers.compare.PeersConfig`, :class:`training.data.config.DataConfig`
    and :class:`training.fit.config.FitConfig`.
    """
    from training.compare.peers.compare import PeersConfig, compare
    from training.data.config import DataConfig
    from training.fit.config import FitConfig

    others, data_config, config = configure([PeersConfig(), DataConfig(), FitConfig()], settings)
    return compare(Path(data), data_config, config, others, progress)


def monitor(
    records: AnyPath,
    version: str | None = None,
    data: AnyPath = DATA,
    store: AnyPath = STORE,
    name: str = MODEL,
    labels: AnyPath | None = None,
    bounds: AnyPath | None = None,
) -> MonitorResult:
    """Compare a period's decisions with the hold-out of a version (default: the champion).

    ``records`` is a file written by ``python -m serving export``, ``labels`` a file of the outcomes
    known so far, and ``bounds`` a file of bounds (default: the project's own).
    """
    from training.evaluate.model_lookup import find_registered
    from training.release.monitor.bounds import read_bounds
    from training.release.monitor.monitor import MonitorFiles, run_monitor

    model = find_registered(_open(store), name, version)
    files = MonitorFiles(Path(records), Path(data), None if labels is None else Path(labels))
    return run_monitor(files, model, read_bounds(None if bounds is None else Path(bounds)))


def examine(
    version: str | None = None,
    data: AnyPath = DATA,
    store: AnyPath = STORE,
    name: str = MODEL,
    *,
    progress: StageProgress = ignore_stage,
    **settings: object,
) -> ExaminationResult:
    """Check a version (default: the champion) on new simulated accounts, where the truth is known.

    The simulated customers follow its advice, and its reasons are compared with the true causes.
    Settings are fields of :class:`training.examine.truth.population.ExamineConfig`.
    """
    from training.evaluate.model_lookup import find_registered
    from training.examine.run import run_examination
    from training.examine.truth.population import ExamineConfig

    (config,) = configure([ExamineConfig()], settings)
    model = find_registered(_open(store), name, version)
    return run_examination(Path(data), model.store, model.name, model.version, config, progress)


def report(
    model: str = "champion",
    data: AnyPath = DATA,
    store: AnyPath = STORE,
    out: AnyPath = "report.html",
    name: str = MODEL,
    shared: bool = False,
    *,
    progress: StageProgress = ignore_stage,
) -> ReportResult:
    """Write the report on a model as one HTML file, with a copy in the model's run.

    See :func:`training.release.report.report.report`.
    """
    from training.release.report.report import ReportConfig, report

    return report(Path(data), _open(store), Path(out), ReportConfig(model, name, shared), progress)


def answers(
    version: str | None = None,
    data: AnyPath = DATA,
    store: AnyPath = STORE,
    name: str = MODEL,
    most: int = 30,
    out: AnyPath = "answers.md",
) -> str:
    """Write the answers to the first hold-out accounts that a model cuts, and return the page."""
    from training.release.answers import write_answers

    return write_answers(Path(data), _find(store, name, version, out), most, Path(out))


def request(
    version: str | None = None,
    data: AnyPath = DATA,
    store: AnyPath = STORE,
    name: str = MODEL,
    *,
    action: str = "reduce",
    number: int = 1,
    out: AnyPath = "data/request.json",
) -> dict[str, Any]:
    """Write the request of a hold-out account that gets an action, and return the request.

    ``version`` (default: the champion) decides the action.  ``number`` is 1 for the first such
    account, 2 for the second.
    """
    from training.data.dataset import load
    from training.data.sample_request import write_sample

    model = _find(store, name, version, out)
    return write_sample(load(Path(data)), model.config, model.bundle, (action, number), Path(out))


# In the order of the help text.
COMMANDS: Mapping[str, Callable[..., Any]] = {
    command.__name__: command
    for command in (
        simulate,
        ingest,
        sample,
        fit,
        tune,
        peers,
        compare,
        promote,
        rollback,
        report,
        examine,
        policy,
        monitor,
        answers,
        request,
    )
}


def __dir__() -> list[str]:
    """The commands and their helpers: what a notebook completes after ``training.api.``."""
    return sorted([*COMMANDS, "nominate", "settings_of"])


def _open(store: AnyPath) -> Store:
    from training.tracking.store import Store

    return Store(Path(store))


def _find(store: AnyPath, name: str, version: str | None, out: AnyPath) -> Model:
    from training.evaluate.model_lookup import find_model, find_registered
    from training.tracking.outputs import check_output

    check_output(Path(out))
    return find_model(find_registered(_open(store), name, version).version, _open(store), name)
