"""Promote a version to champion if every gate passes, and roll back.

Read :func:`promote` first.  A registered model has three aliases:

champion     the version that is packed and served
previous     the champion before it, to which ``rollback`` returns
challenger   a version to compare with the champion; it is not served, so it passes no gate

    done = promote(Path("data/simulated"), Store(Path("mlruns")))
    print(done.promoted, done.refused_by, done.summary)
    rollback(Store(Path("mlruns")), why="complaints in pay_later")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import polars as pl

from features.display import notebook_display
from serving.decision.bundle import BundleError
from training.compare.models.page import describe_models
from training.data.config import DataError
from training.data.dataset import Source, load
from training.evaluate.holdout import evaluate
from training.evaluate.model_lookup import Model, find_model, version_of
from training.evaluate.text_tables import columns, markdown, with_interval
from training.evaluate.unseen_accounts import select_unseen
from training.release.findings import (
    Finding,
    Findings,
    Outcome,
    make_table,
    not_decided,
    outcome_of,
    select_refusing,
)
from training.release.gate_config import Gates, load_gates
from training.release.gates import GOLDEN, GateInput, check_gates
from training.tracking import registry, runs
from training.tracking.config import check_model_name
from training.tracking.defaults import MODEL
from training.tracking.progress import StageProgress
from training.tracking.store import Store, TrackingError, fetch_run_info


class Stage(StrEnum):
    """The stages of a promotion, by the names that a progress bar shows."""

    DATA = "the data"
    GATES = "the gates"
    RUN = "the run"


@dataclass(frozen=True, slots=True)
class PromotionConfig:
    """The version to promote, and the bounds that it must meet."""

    name: str = MODEL  # the registered model
    version: str | None = None  # a number or alias; null = the newest with a bundle
    gates: Gates | None = None  # null = the project's own gates.toml
    force: str | None = None  # the reason to promote even if gates refuse; null = do not

    def __post_init__(self) -> None:
        check_model_name(self.name, "name")
        if self.force is not None and not self.force.strip():
            raise ValueError("expected a reason to force a promotion, got an empty text")


@notebook_display
@dataclass(frozen=True, slots=True)
class Promotion:
    """The result of a promotion.

    Attributes:
        run: The run that records it.
        before: The champion before, null if there was none.
        forced: Whether the version was promoted although the gates in ``refused_by`` refuse.
        refused_by: The gates that failed or decided nothing.
        outcomes: What each gate decided.
        table: One row a finding, as :func:`training.release.findings.make_table`
            returns.
        summary: The text for a terminal.
    """

    run: str
    version: str
    before: str | None
    promoted: bool
    forced: bool
    refused_by: tuple[str, ...]
    outcomes: Mapping[str, Outcome]
    table: pl.DataFrame
    summary: str


def promote(
    data: Path,
    store: Store,
    config: PromotionConfig | None = None,
    progress: StageProgress = lambda stage: None,
) -> Promotion:
    """Make a version champion if every gate passes on the hold-out of the data.

    A run and the version's tags record the findings, the outcome and the reason of a forced
    promotion.  The champion before becomes ``previous``.  A bundle that does not load is never
    promoted, even by force.

    Raises :class:`training.tracking.store.TrackingError` for a version that is not in the store or
    has no bundle, and what :func:`training.data.dataset.load` raises.
    """
    config = config or PromotionConfig()
    version = _resolve_version(store, config.name, config.version)
    before = registry.find_champion(store, config.name)
    progress(Stage.DATA)
    source = load(data)
    progress(Stage.GATES)
    candidate = _Candidate(store, config, version, before)
    findings, about = _run_gates(source, data, candidate)
    refused = select_refusing(findings)
    # Force does not help a bundle that cannot answer: the service could not start with it.
    may_force = config.force is not None and GOLDEN not in refused
    promoted = not refused or may_force
    done = Promotion(
        run="",
        version=version,
        before=before,
        promoted=promoted,
        forced=promoted and bool(refused),
        refused_by=refused,
        outcomes={gate: outcome_of(own) for gate, own in findings.items()},
        table=make_table(findings),
        summary=about,
    )
    progress(Stage.RUN)
    return _record(done, store, config, source.digest)


def rollback(store: Store, name: str = MODEL, why: str = "") -> str:
    """Swap ``champion`` and ``previous``, and return the new champion's version.

    A run records it with ``why``.  No gate is checked: the version was champion before, and a
    rollback is for emergencies.  Raises :class:`training.tracking.store.TrackingError` if there is
    no previous champion.
    """
    aliases = registry.aliases(store, name)
    if "previous" not in aliases or "champion" not in aliases:
        raise TrackingError(
            f"{name} has no previous champion to go back to; its aliases are {aliases or 'none'}"
        )
    left, restored = aliases["champion"], aliases["previous"]
    # Raises for a version without a bundle, before anything is changed.
    registry.find_run(store, name, restored)
    with runs.start_run(store, f"rollback {name} v{left} to v{restored}") as run:
        runs.log_tags({"kind": "rollback", "from": left, "to": restored, "why": why})
    info = fetch_run_info(store, run)
    registry.promote(store, name, restored)
    for version, outcome in ((left, "taken back"), (restored, "champion again")):
        words = [outcome, f"by {info.by} at {info.at}", f"run {run}"]
        if why:
            words.insert(1, f"because: {why}")
        registry.tag_version(store, name, version, {"rollback": ", ".join(words)})
    return restored


def nominate(store: Store, name: str = MODEL, version: str | None = None) -> str:
    """Point ``challenger`` at a version (default: the newest with a bundle), and return it.

    Raises :class:`training.tracking.store.TrackingError` for a version that is not in the store or
    has no bundle, and BundleError for a bundle that does not load.
    """
    chosen = _resolve_version(store, name, version)
    # Loads the bundle, to refuse a broken one.
    find_model(chosen, store, name)
    registry.set_alias(store, name, "challenger", chosen)
    return chosen


def _resolve_version(store: Store, name: str, version: str | None) -> str:
    if version is None:
        chosen = registry.newest_version(store, name)
    else:
        chosen = version_of(version, store, name) or version
    registry.find_run(store, name, chosen)
    return chosen


@dataclass(frozen=True, slots=True)
class _Candidate:
    """The version to promote and the champion before, loaded on demand."""

    store: Store
    config: PromotionConfig
    version: str
    before: str | None

    def load(self) -> Model:
        return find_model(self.version, self.store, self.config.name)

    def load_champion(self) -> Model | None:
        if self.before is None:
            return None
        return find_model(self.before, self.store, self.config.name)


def _run_gates(
    source: Source,
    data: Path,
    candidate: _Candidate,
) -> tuple[Findings, str]:
    """Return the findings of the gates, and a text that describes the accounts.

    A version that cannot be measured is refused by a finding, not by an error: the run records it.
    """
    version, before = candidate.version, candidate.before
    about = f"version {version} of {candidate.config.name}"
    try:
        model = candidate.load()
    except BundleError as error:
        finding = Finding(
            measure="loads",
            bound="answers as written",
            outcome=Outcome.FAILED,
            note=f"the bundle does not load: {error}",
        )
        return {GOLDEN: [finding]}, about
    loads = Finding(
        measure="loads",
        bound="answers as written",
        outcome=Outcome.PASSED,
        note=f"bundle {model.bundle.digest[:12]}",
    )
    try:
        evidence, about_accounts = _evaluate(
            source,
            data,
            model,
            candidate.load_champion(),
        )
    except (DataError, TrackingError, BundleError) as error:
        against = f" against champion {before}" if before else ""
        why = f"no fair measure of version {version}{against}: {error}"
        unmeasured = not_decided("measurable", "can be measured", why)
        return {GOLDEN: [loads], "hold_out": [unmeasured]}, about
    gates = candidate.config.gates or load_gates()
    findings = check_gates(evidence, gates)
    return {GOLDEN: [loads], **findings}, about_accounts


def _evaluate(
    source: Source,
    data: Path,
    model: Model,
    champion: Model | None,
) -> tuple[GateInput, str]:
    """Return the evaluations on accounts that both models left out, and a description."""
    models = [model] if champion is None else [model, champion]
    accounts = select_unseen(source, data, models, shared=True)
    name = f"version {model.version}"
    version = evaluate(name, model.bundle, accounts.hold_out)
    earlier = evaluate(name, model.bundle, accounts.earlier)
    served = None
    evaluated = [version]
    if champion is not None:
        served = evaluate(f"champion {champion.version}", champion.bundle, accounts.hold_out)
        evaluated.append(served)
    return GateInput(version, earlier, served), describe_models(evaluated, accounts.notes)


def _record(
    done: Promotion,
    store: Store,
    config: PromotionConfig,
    data: str,
) -> Promotion:
    """Write the run and the version's tags, move the aliases, and return the promotion."""
    name = config.name
    by_gate = {f"gate.{gate}": outcome.value for gate, outcome in done.outcomes.items()}
    tags = {
        "promotion.outcome": _outcome(done),
        "promotion.why": config.force or "",
        "promotion.refused_by": ", ".join(done.refused_by),
    }
    lines = _summary(done, config)
    with runs.start_run(store, f"promote {name} v{done.version}") as run:
        about_run = {
            "kind": "promotion",
            "version": f"{name} {done.version}",
            "champion.before": done.before or "",
            "data.digest": data,
            # `python -m serving pack` takes no other version and no other bundle on this verdict.
            "promotion.bundle": registry.bundle_digest(store, name, done.version),
        }
        runs.log_tags(about_run | by_gate | tags)
        runs.log_tables({"gates": done.table})
        runs.log_metrics(_metrics(done))
        runs.log_text(_page(done, name, lines[-1]), "promotion.md")
        if done.promoted:
            registry.promote(store, name, done.version)
            # The champion is no longer its own challenger.
            if registry.aliases(store, name).get("challenger") == done.version:
                registry.delete_alias(store, name, "challenger")
    # Read back from MLflow: the version's tags name the same user and time as the run.
    info = fetch_run_info(store, run)
    tags |= {
        "promotion.run": run,
        "promotion.by": info.by,
        "promotion.at": info.at,
    }
    registry.tag_version(store, name, done.version, tags)
    return replace(done, run=run, summary="\n".join(lines))


def _outcome(done: Promotion) -> str:
    if not done.promoted:
        return "refused"
    return "forced" if done.forced else "promoted"


def _name_refusing(done: Promotion) -> str:
    """The gates that refuse, with a word for those that decided nothing."""
    names = []
    for gate in done.refused_by:
        is_open = done.outcomes[gate] is Outcome.NOT_DECIDED
        names.append(f"{gate} (not decided)" if is_open else gate)
    return ", ".join(names)


def _metrics(done: Promotion) -> dict[str, float]:
    metrics = {}
    for gate, outcome in done.outcomes.items():
        # A gate that is not asked has no 0 and no 1.
        if outcome is not Outcome.NOT_ASKED:
            metrics[f"gate.{gate}"] = float(outcome is Outcome.PASSED)
    measured = done.table.drop_nulls("value").select("gate", "measure", "value")
    for gate, measure, value in measured.iter_rows():
        metrics[f"{gate}.{measure}"] = value
    return metrics


def _summary(done: Promotion, config: PromotionConfig) -> list[str]:
    """Return the lines of the summary: accounts, findings, and the outcome in the last line."""
    name, version = config.name, done.version
    refused_by = _name_refusing(done)
    table = columns(done.table.rename(with_interval("value")))
    lines = [done.summary, "", table, ""]
    if not done.promoted:
        stays = f"version {done.before} stays champion"
        instead = stays if done.before else f"{name} has no champion"
        return [*lines, f"version {version} of {name} is refused by {refused_by}: {instead}"]
    if done.forced:
        lines.append(f"promoted although refused by {refused_by}, because: {config.force}")
    return [*lines, f"champion of {name} is version {version}"]


def _page(done: Promotion, name: str, outcome: str) -> str:
    parts = (
        f"# Version {done.version} of {name}: the gates",
        done.summary,
        f"**{outcome}**",
        markdown(done.table.rename(with_interval("value"))),
    )
    return "\n\n".join(parts)
