"""Versions to champion, through gates; and back.  Read :func:`promote` first.

champion     what is packed and served
previous     the champion before it: where ``rollback`` goes
challenger   a version that is to be compared with the champion; it decides nothing, so no gate stands before it

from pathlib import Path
from training.release.promote import promote, rollback
from training.tracking.runs import Store

done = promote(Path("data/simulated"), Store(Path("mlruns")))
done.promoted, done.refused_by, print(done.summary)
rollback(Store(Path("mlruns")), why="complaints in pay_later")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import polars as pl

from serving.decision.bundle import BundleError
from training.compare.models.page import describe_models
from training.data.config import DataError
from training.data.dataset import Source, load
from training.evaluate.holdout import Evaluation, evaluate
from training.evaluate.model_lookup import Model, find_model, version_of
from training.evaluate.text_tables import columns, markdown, with_interval
from training.evaluate.unseen_accounts import select_unseen
from training.release import gates as rules
from training.release.gate_config import Gates, load_gates
from training.release.gates import Finding, GateInput
from training.tracking import registry, runs
from training.tracking.progress import StageProgress
from training.tracking.store import Store, TrackingError, fetch_run_info

NAME = "limit-reduction"


class Stage(StrEnum):
    """The stages of a promotion, by the names that a progress bar shows."""

    DATA = "the data"
    GATES = "the gates"
    RUN = "the run"


@dataclass(frozen=True, slots=True)
class Promotion:
    """What became of a promotion: its run, the version, the champion before (null if none), what
    each gate found, as ``table`` too.

    ``forced``: promoted although ``refused_by`` names gates.  ``summary`` is what a terminal shows.
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
    name: str = NAME,
    version: str | None = None,
    gates: Gates | None = None,
    force: str | None = None,
    progress: StageProgress = lambda stage: None,
) -> Promotion:
    """Make a version champion if every gate passes on the test accounts of the data in folder
    ``data``; all kept in a run.

    ``version`` is a number or alias, the newest with a bundle unless named; ``gates`` the project's
    own unless given. ``force`` is a reason to promote whatever the gates say, kept with the
    version; a bundle that does not load is not promoted even so. The champion before becomes
    ``previous``.  Raises :class:`training.tracking.store.TrackingError` for a version that is not
    there or has no bundle, ValueError for an empty reason, and what reading the data raises.
    """
    if force is not None and not force.strip():
        raise ValueError("expected a reason to force a promotion, got none; say why")
    chosen, bounds = _chosen(store, name, version), gates or load_gates()
    before = registry.find_champion(store, name)
    progress(Stage.DATA)
    source = load(data)
    progress(Stage.GATES)
    found, about = _measured(source, data, store, name, chosen, before, bounds)
    refused = rules.refusing(found)
    promoted = not refused or (force is not None and "golden" not in refused)
    done = Promotion(
        "", chosen, before, promoted, promoted and bool(refused), refused, rules.table(found), about
    )
    progress(Stage.RUN)
    return _kept(done, store, name, force, source.digest)


def rollback(store: Store, name: str = NAME, why: str = "") -> str:
    """Make ``previous`` champion again and the champion ``previous``, recorded in a run; returns
    the version that is champion now.

    No gate is asked: it was champion before, and this is for when something is wrong.
    TrackingError where there is no previous one.
    """
    there = registry.aliases(store, name)
    if "previous" not in there or "champion" not in there:
        raise TrackingError(
            f"{name} has no previous champion to go back to; its aliases are {there or 'none'}"
        )
    registry.find_run(store, name, there["previous"])  # refuses one without a bundle
    with runs.start_run(
        store, f"rollback {name} v{there['champion']} to v{there['previous']}"
    ) as run:
        runs.log_tags(
            {"kind": "rollback", "from": there["champion"], "to": there["previous"], "why": why}
        )
    told = fetch_run_info(store, run)
    registry.promote(store, name, there["previous"])
    tags = {
        "rollback.run": run,
        "rollback.by": told.by,
        "rollback.at": told.at,
        "rollback.why": why,
    }
    for version, outcome in (
        (there["champion"], "taken back"),
        (there["previous"], "champion again"),
    ):
        registry.tag_version(store, name, version, tags | {"rollback.outcome": outcome})
    return there["previous"]


def nominate(store: Store, name: str = NAME, version: str | None = None) -> str:
    """Point ``challenger`` at a version (the newest with a bundle, unless named) whose bundle
    loads; returns it.

    TrackingError for a version that is not there or has no bundle, BundleError for one that must
    not be served.
    """
    chosen = _chosen(store, name, version)
    find_model(chosen, store, name)
    registry.set_alias(store, name, "challenger", chosen)
    return chosen


def _chosen(store: Store, name: str, version: str | None) -> str:
    chosen = (
        registry.newest_version(store, name)
        if version is None
        else version_of(version, store, name) or version
    )
    registry.find_run(store, name, chosen)
    return chosen


def _measured(
    source: Source,
    data: Path,
    store: Store,
    name: str,
    version: str,
    before: str | None,
    bounds: Gates,
) -> tuple[list[Finding], str]:
    """What the gates find, and on what they were measured."""
    try:
        model = find_model(version, store, name)
    except BundleError as error:
        return [
            _unmeasured("golden", f"the bundle does not load: {error}")
        ], f"version {version} of {name}"
    golden = Finding(
        "golden",
        "loads",
        None,
        None,
        None,
        "answers as written",
        True,
        f"bundle {model.bundle.digest[:12]}",
    )
    try:
        evidence, about = _evidence(
            source, data, model, None if before is None else find_model(before, store, name)
        )
    except (DataError, TrackingError, BundleError) as error:
        said = f"no fair measure of version {version}" + (
            f" against champion {before}" if before else ""
        )
        return [golden, _unmeasured("hold_out", f"{said}: {error}")], f"version {version} of {name}"
    return [golden, *rules.findings(evidence, bounds)], about


def _evidence(
    source: Source, data: Path, model: Model, champion: Model | None
) -> tuple[GateInput, str]:
    found = select_unseen(source, data, [model] if champion is None else [model, champion], shared=True)
    version = evaluate(f"version {model.version}", model.bundle, found.hold_out)
    theirs: Evaluation | None = None
    if champion is not None:
        theirs = evaluate(f"champion {champion.version}", champion.bundle, found.hold_out)
    earlier = evaluate(f"version {model.version}", model.bundle, found.earlier)
    return GateInput(version, earlier, theirs), describe_models(
        [version] if theirs is None else [version, theirs], found.notes
    )


def _unmeasured(gate: str, why: str) -> Finding:
    return Finding(gate, "measurable", None, None, None, "can be measured", False, why)


def _kept(done: Promotion, store: Store, name: str, force: str | None, data: str) -> Promotion:
    """The promotion, done and recorded: aliases, the run, and the version's tags."""
    outcome = ("forced" if done.forced else "promoted") if done.promoted else "refused"
    gates = {
        f"gate.{gate}": "refused" if gate in done.refused_by else "passed"
        for gate in done.table["gate"].unique().to_list()
    }
    facts = {
        "promotion.outcome": outcome,
        "promotion.why": force or "",
        "promotion.refused_by": ", ".join(done.refused_by),
    }
    with runs.start_run(store, f"promote {name} v{done.version}") as run:
        tags = {
            "kind": "promotion",
            "version": f"{name} {done.version}",
            "champion.before": done.before or "",
            "data.digest": data,
        }
        runs.log_tags(tags | facts | gates)
        runs.log_tables({"gates": done.table})
        runs.log_metrics(_metrics(done.table))
        summary = _summary(done, name, force)
        runs.log_text(_page(done, name, summary[-1]), "promotion.md")
        if done.promoted:
            registry.promote(store, name, done.version)
            if registry.aliases(store, name).get("challenger") == done.version:
                registry.delete_alias(store, name, "challenger")
    told = fetch_run_info(store, run)
    registry.tag_version(
        store,
        name,
        done.version,
        facts | gates | {"promotion.run": run, "promotion.by": told.by, "promotion.at": told.at},
    )
    said = "\n".join(summary)
    return Promotion(
        run,
        done.version,
        done.before,
        done.promoted,
        done.forced,
        done.refused_by,
        done.table,
        said,
    )


def _metrics(table: pl.DataFrame) -> dict[str, float]:
    measured = table.drop_nulls("value").select("gate", "measure", "value").iter_rows()
    outcomes = {f"gate.{gate}": 1.0 for gate in table["gate"]} | {
        f"gate.{gate}": 0.0 for gate in _refused(table)
    }
    return outcomes | {f"{gate}.{measure}": value for gate, measure, value in measured}


def _refused(table: pl.DataFrame) -> Sequence[str]:
    refused: list[str] = table.filter(outcome="refused")["gate"].to_list()
    return refused


def _summary(done: Promotion, name: str, force: str | None) -> list[str]:
    """What was measured on, the findings, those that refuse with their numbers and bounds, and what
    became of it.
    """
    shown = done.table.rename(with_interval("value")).select(
        "gate", "measure", "value", "value_low", "value_high", "bound", "outcome", "note"
    )
    lines = [done.summary, "", columns(shown), ""]
    if not done.promoted:
        stays = (
            f"version {done.before} stays champion" if done.before else f"{name} has no champion"
        )
        return [
            *lines,
            f"version {done.version} of {name} is refused by {', '.join(done.refused_by)}: {stays}",
        ]
    if done.forced:
        lines.append(f"promoted although refused by {', '.join(done.refused_by)}, because: {force}")
    return [*lines, f"champion of {name} is version {done.version}"]


def _page(done: Promotion, name: str, said: str) -> str:
    shown = done.table.rename(with_interval("value"))
    return f"# Version {done.version} of {name}: the gates\n\n{done.summary}\n\n**{said}**\n\n{markdown(shown)}"
