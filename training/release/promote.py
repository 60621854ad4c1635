"""Make a version the champion if every gate passes, and go back.  Read :func:`promote` first.

A registered model has three aliases:

champion     the version that is packed and served
previous     the champion before it, which ``rollback`` returns to
challenger   a version to compare with the champion; it decides nothing, so no gate guards it

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

from serving.decision.bundle import BundleError
from training.compare.models.page import describe_models
from training.data.config import DataError
from training.data.dataset import Source, load
from training.evaluate.holdout import evaluate
from training.evaluate.model_lookup import Model, find_model, version_of
from training.evaluate.text_tables import columns, markdown, with_interval
from training.evaluate.unseen_accounts import select_unseen
from training.release import gates as rules
from training.release.gate_config import Gates, load_gates
from training.release.gates import GOLDEN, Finding, Findings, GateInput
from training.tracking import registry, runs
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
    """What to promote, and by which bounds."""

    name: str = MODEL  # the registered model
    version: str | None = None  # a number or alias; null = the newest with a bundle
    gates: Gates | None = None  # null = the project's own gates.toml
    force: str | None = None  # a reason to promote whatever the gates find

    def __post_init__(self) -> None:
        if self.force is not None and not self.force.strip():
            raise ValueError("expected a reason to force a promotion, got none; say why")


@dataclass(frozen=True, slots=True)
class Promotion:
    """The result of a promotion.

    ``before`` is the champion before it, null if there was none.  ``forced``: promoted although the
    gates in ``refused_by`` refuse.  ``table`` has one row a finding (:func:`gates.table`), and
    ``summary`` is the text for a terminal.
    """

    run: str
    version: str
    before: str | None
    promoted: bool
    forced: bool
    refused_by: tuple[str, ...]
    table: pl.DataFrame
    summary: str


def promote(
    data: Path,
    store: Store,
    config: PromotionConfig | None = None,
    progress: StageProgress = lambda stage: None,
) -> Promotion:
    """Make a version champion if every gate passes on the test accounts of the data in a folder.

    The findings, the outcome and the reason to force it are kept in a run and in the version's
    tags.  The champion before becomes ``previous``.  A bundle that does not load is not promoted
    even by force.

    Raises :class:`training.tracking.store.TrackingError` for a version that is not in the store or
    has no bundle, and what reading the data raises.
    """
    config = config or PromotionConfig()
    version = _resolve_version(store, config.name, config.version)
    before = registry.find_champion(store, config.name)
    progress(Stage.DATA)
    source = load(data)
    progress(Stage.GATES)
    found, about = _measure(source, data, _Candidate(store, config, version, before))
    refused = rules.refusing(found)
    promoted = not refused or (config.force is not None and GOLDEN not in refused)
    done = Promotion(
        run="",
        version=version,
        before=before,
        promoted=promoted,
        forced=promoted and bool(refused),
        refused_by=refused,
        table=rules.table(found),
        summary=about,
    )
    progress(Stage.RUN)
    return _record(done, store, config, source.digest)


def rollback(store: Store, name: str = MODEL, why: str = "") -> str:
    """Swap ``champion`` and ``previous``, recorded in a run; returns the new champion's version.

    No gate is checked: that version was champion before, and a rollback is for emergencies.
    Raises :class:`training.tracking.store.TrackingError` if there is no previous champion.
    """
    aliases = registry.aliases(store, name)
    if "previous" not in aliases or "champion" not in aliases:
        raise TrackingError(
            f"{name} has no previous champion to go back to; its aliases are {aliases or 'none'}"
        )
    left, restored = aliases["champion"], aliases["previous"]
    registry.find_run(store, name, restored)  # raises for a version without a bundle
    with runs.start_run(store, f"rollback {name} v{left} to v{restored}") as run:
        runs.log_tags({"kind": "rollback", "from": left, "to": restored, "why": why})
    info = fetch_run_info(store, run)
    registry.promote(store, name, restored)
    tags = {
        "rollback.run": run,
        "rollback.by": info.by,
        "rollback.at": info.at,
        "rollback.why": why,
    }
    registry.tag_version(store, name, left, tags | {"rollback.outcome": "taken back"})
    registry.tag_version(store, name, restored, tags | {"rollback.outcome": "champion again"})
    return restored


def nominate(store: Store, name: str = MODEL, version: str | None = None) -> str:
    """Point ``challenger`` at a version (default: the newest with a bundle); returns the version.

    Raises :class:`training.tracking.store.TrackingError` for a version that is not in the store or
    has no bundle, BundleError for a bundle that does not load.
    """
    chosen = _resolve_version(store, name, version)
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


def _measure(source: Source, data: Path, candidate: _Candidate) -> tuple[Findings, str]:
    """What the gates find, and a text that says on which accounts."""
    version, before = candidate.version, candidate.before
    about = f"version {version} of {candidate.config.name}"
    try:
        model = candidate.load()
    except BundleError as error:
        return {GOLDEN: [_unmeasurable(f"the bundle does not load: {error}")]}, about
    loads = Finding(
        measure="loads",
        bound="answers as written",
        passed=True,
        note=f"bundle {model.bundle.digest[:12]}",
    )
    try:
        evidence, about_accounts = _evidence(source, data, model, candidate.load_champion())
    except (DataError, TrackingError, BundleError) as error:
        against = f" against champion {before}" if before else ""
        why = f"no fair measure of version {version}{against}: {error}"
        return {GOLDEN: [loads], "hold_out": [_unmeasurable(why)]}, about
    gates = candidate.config.gates or load_gates()
    return {GOLDEN: [loads], **rules.find(evidence, gates)}, about_accounts


def _evidence(
    source: Source, data: Path, model: Model, champion: Model | None
) -> tuple[GateInput, str]:
    models = [model] if champion is None else [model, champion]
    accounts = select_unseen(source, data, models, shared=True)
    version = evaluate(f"version {model.version}", model.bundle, accounts.hold_out)
    earlier = evaluate(f"version {model.version}", model.bundle, accounts.earlier)
    if champion is None:
        return GateInput(version, earlier, None), describe_models([version], accounts.notes)
    theirs = evaluate(f"champion {champion.version}", champion.bundle, accounts.hold_out)
    return GateInput(version, earlier, theirs), describe_models([version, theirs], accounts.notes)


def _unmeasurable(why: str) -> Finding:
    return Finding(measure="measurable", bound="can be measured", passed=False, note=why)


def _record(done: Promotion, store: Store, config: PromotionConfig, data: str) -> Promotion:
    """The promotion with its run: sets the aliases, writes the run and the version's tags."""
    name = config.name
    outcomes = _outcomes(done)
    tags = {f"gate.{gate}": outcome for gate, outcome in outcomes.items()}
    tags |= {
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
        }
        runs.log_tags(about_run | tags)
        runs.log_tables({"gates": done.table})
        runs.log_metrics(_metrics(done.table, outcomes))
        runs.log_text(_page(done, name, lines[-1]), "promotion.md")
        if done.promoted:
            registry.promote(store, name, done.version)
            if registry.aliases(store, name).get("challenger") == done.version:
                registry.delete_alias(store, name, "challenger")
    info = fetch_run_info(store, run)
    tags |= {"promotion.run": run, "promotion.by": info.by, "promotion.at": info.at}
    registry.tag_version(store, name, done.version, tags)
    return replace(done, run=run, summary="\n".join(lines))


def _outcome(done: Promotion) -> str:
    if not done.promoted:
        return "refused"
    return "forced" if done.forced else "promoted"


def _outcomes(done: Promotion) -> dict[str, str]:
    return {
        gate: "refused" if gate in done.refused_by else "passed"
        for gate in done.table["gate"].unique(maintain_order=True)
    }


def _metrics(table: pl.DataFrame, outcomes: Mapping[str, str]) -> dict[str, float]:
    metrics = {f"gate.{gate}": float(outcome == "passed") for gate, outcome in outcomes.items()}
    measured = table.drop_nulls("value").select("gate", "measure", "value")
    for gate, measure, value in measured.iter_rows():
        metrics[f"{gate}.{measure}"] = value
    return metrics


def _summary(done: Promotion, config: PromotionConfig) -> list[str]:
    """The accounts, the findings, and the outcome in the last line."""
    name, version = config.name, done.version
    refused_by = ", ".join(done.refused_by)
    shown = done.table.rename(with_interval("value")).select(
        "gate", "measure", "value", "value_low", "value_high", "bound", "outcome", "note"
    )
    lines = [done.summary, "", columns(shown), ""]
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
