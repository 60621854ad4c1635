"""The commands as functions, for a notebook: ``from training.api import fit, compare, promote``.

Each does what ``python -m training`` of the same name does, with the same defaults, takes paths as
text too, and gives back what was found instead of printing it.  A setting is named as after
``--set``.  They raise what the command would say.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.tracking.config import override

if TYPE_CHECKING:
    from training.compare.models.compare import ModelComparison
    from training.compare.peers.compare import PeerComparison
    from training.compare.policies.lab import LabFindings
    from training.data.ingest.ingest import Summary
    from training.examine.run import Findings
    from training.fit.run import FitReport
    from training.release.monitor.monitor import Monitored
    from training.release.promote import Promotion
    from training.release.report.report import Reported
    from training.tune.tune import TuneResult

DATA, STORE, NAME = "data/simulated", "mlruns", "limit-reduction"
AnyPath = str | Path


def simulate(out: AnyPath = DATA, **settings: object) -> dict[str, Any]:
    """Write synthetic accounts whose true causes are known; the rows written and the config, as
    ``simulation.json`` has them.

    Settings are fields of :class:`training.data.simulate.SimulationConfig`.
    """
    from training.data.simulate.config import SimulationConfig
    from training.data.simulate.output import write

    (config,) = _configs([SimulationConfig()], settings)
    return write(config, Path(out))


def ingest(csv: AnyPath, mapping: AnyPath, out: AnyPath) -> Summary:
    """Read foreign data by a mapping file; see :func:`training.data.ingest.ingest.ingest`."""
    from training.data.ingest.ingest import ingest

    return ingest(Path(csv), Path(mapping), Path(out))


def fit(data: AnyPath = DATA, store: AnyPath = STORE, **settings: object) -> FitReport:
    """Fit, measure, register and keep everything in one run; the run, version, digest and measures
    with intervals.

    Settings are fields of :class:`training.data.config.DataConfig`,
    :class:`training.fit.config.FitConfig` and :class:`training.fit.bundle.BundleConfig`.

    >>> fit(leafs=8)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: --set: no field is named 'leafs' (did you mean 'leaves'?); there are [...]
    """
    from training.data.config import DataConfig
    from training.fit.bundle import BundleConfig
    from training.fit.config import FitConfig
    from training.fit.run import run_fit
    from training.tracking.store import Store

    data_config, model, bundle = _configs([DataConfig(), FitConfig(), BundleConfig()], settings)
    return run_fit(Path(data), Store(Path(store)), (data_config, model, bundle))


def tune(
    data: AnyPath = DATA, store: AnyPath = STORE, study: str = NAME, **settings: object
) -> TuneResult:
    """Search for the smallest model that is as good as the best; a study that was stopped goes on.

    Settings are fields of :class:`training.tune.search.TuneConfig` and of the configs of
    :func:`fit`; ``chosen`` is the one to fit with.
    """
    from training.data.config import DataConfig
    from training.fit.bundle import BundleConfig
    from training.fit.config import FitConfig
    from training.tune.search import TuneConfig
    from training.tune.tune import tune

    search, data_config, base, bundle = _configs(
        [TuneConfig(), DataConfig(), FitConfig(), BundleConfig()], settings
    )
    return tune(Path(data), Path(store), search, (data_config, base, bundle), study)


def compare(
    *models: str | int,
    data: AnyPath = DATA,
    store: AnyPath = STORE,
    name: str = NAME,
    shared: bool = False,
) -> ModelComparison:
    """Each model against the first, on accounts that none has seen; see
    :func:`training.compare.models.compare.compare`.
    """
    from training.compare.models.compare import compare
    from training.tracking.store import Store

    return compare([str(model) for model in models], Path(data), Store(Path(store)), name, shared)


def promote(
    version: str | int | None = None,
    data: AnyPath = DATA,
    store: AnyPath = STORE,
    name: str = NAME,
    gates: AnyPath | None = None,
    force: str | None = None,
) -> Promotion:
    """Make a version (the newest unless named) champion if every gate passes; ``force`` is a reason
    to do it whatever they say.

    See :func:`training.release.promote.promote`; ``gates`` is a file of bounds.

    >>> promote(4, force=True)
    Traceback (most recent call last):
    ...
    TypeError: force: expected the reason as text, which the record keeps, got True
    """
    if force is not None and not isinstance(force, str):
        raise TypeError(
            f"force: expected the reason as text, which the record keeps, got {force!r}"
        )
    from training.release.gate_config import load_gates
    from training.release.promote import promote
    from training.tracking.store import Store

    bounds = load_gates(None if gates is None else Path(gates))
    return promote(
        Path(data),
        Store(Path(store)),
        name,
        None if version is None else str(version),
        bounds,
        force,
    )


def rollback(store: AnyPath = STORE, name: str = NAME, why: str = "") -> str:
    """Make the previous champion champion again; its version."""
    from training.release.promote import rollback
    from training.tracking.store import Store

    return rollback(Store(Path(store)), name, why)


def policy(
    version: str | None = None,
    data: AnyPath = DATA,
    store: AnyPath = STORE,
    name: str = NAME,
    **settings: object,
) -> LabFindings:
    """What other numbers in policy.toml would do to the hold-out of a version (the champion unless
    named).

    Settings are fields of :class:`training.compare.policies.lab.LabConfig`, such as
    ``max_good_cut=0.04``.
    """
    from training.compare.policies.lab import LabConfig, run_lab
    from training.evaluate.model_lookup import RegisteredVersion
    from training.tracking import registry
    from training.tracking.store import Store

    (config,) = _configs([LabConfig()], settings)
    kept = Store(Path(store))
    resolved = registry.resolve_version(kept, name, version)
    return run_lab(Path(data), RegisteredVersion(kept, name, resolved), config)


def peers(data: AnyPath = DATA, **settings: object) -> PeerComparison:
    """Our model beside others on the same folds; the extra ``peers`` has them.

    Settings are fields of :class:`training.compare.peers.compare.PeersConfig` and of the configs of
    :func:`fit`.
    """
    from training.compare.peers.compare import PeersConfig, compare
    from training.data.config import DataConfig
    from training.fit.config import FitConfig

    others, data_config, config = _configs([PeersConfig(), DataConfig(), FitConfig()], settings)
    return compare(Path(data), data_config, config, others)


def monitor(
    records: AnyPath,
    version: str | None = None,
    data: AnyPath = DATA,
    store: AnyPath = STORE,
    name: str = NAME,
    labels: AnyPath | None = None,
    bounds: AnyPath | None = None,
) -> Monitored:
    """A period's decision records, as ``python -m serving export`` writes them, against what the
    version was fitted on.

    ``version`` is the champion's unless named; ``labels`` what became of them, as far as known;
    ``bounds`` a file of bounds.
    """
    from training.release.monitor.bounds import read_bounds
    from training.release.monitor.monitor import run_monitor
    from training.tracking import registry
    from training.tracking.store import Store

    kept = Store(Path(store))
    known = None if labels is None else Path(labels)
    limits = None if bounds is None else read_bounds(Path(bounds))
    return run_monitor(
        Path(records),
        Path(data),
        kept,
        name,
        registry.resolve_version(kept, name, version),
        known,
        limits,
    )


def examine(
    version: str | None = None,
    data: AnyPath = DATA,
    store: AnyPath = STORE,
    name: str = NAME,
    **settings: object,
) -> Findings:
    """Follow a version's advice and check its reasons where the truth is known: on simulated
    accounts that it never saw.

    Settings are fields of :class:`training.examine.truth.population.ExamineConfig`.
    """
    from training.examine.run import run_examination
    from training.examine.truth.population import ExamineConfig
    from training.tracking import registry
    from training.tracking.store import Store

    (config,) = _configs([ExamineConfig()], settings)
    kept = Store(Path(store))
    return run_examination(
        Path(data),
        kept,
        name,
        registry.resolve_version(kept, name, version),
        config,
        lambda _: None,
    )


def report(
    model: str = "champion",
    data: AnyPath = DATA,
    store: AnyPath = STORE,
    out: AnyPath = "report.html",
    name: str = NAME,
    shared: bool = False,
) -> Reported:
    """Write the report on a model, one HTML file, and keep it with its run; see
    :func:`training.release.report.report.report`.
    """
    from training.release.report.report import report
    from training.tracking.store import Store

    return report(model, Path(data), Store(Path(store)), Path(out), name, shared)


VERBS: dict[str, Callable[..., Any]] = {
    verb.__name__: verb
    for verb in (
        simulate,
        ingest,
        fit,
        tune,
        compare,
        promote,
        rollback,
        policy,
        monitor,
        peers,
        examine,
        report,
    )
}


def _configs(configs: list[Any], settings: dict[str, object]) -> list[Any]:
    return override(configs, [f"{name}={value}" for name, value in settings.items()])
