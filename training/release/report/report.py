"""The report on one model, written to a file and kept with the run that fitted it.

Read :func:`report` first.

    done = report(Path("data/simulated"), Store(Path("mlruns")), Path("report.html"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from training.data.dataset import Source, load
from training.evaluate.holdout import Evaluation, evaluate, select_hold_out
from training.evaluate.model_lookup import Model, find_model
from training.evaluate.unseen_accounts import select_unseen
from training.release.report.advice import advice_section
from training.release.report.drift import drift_section
from training.release.report.fairness import fairness_section
from training.release.report.feature_curves import feature_curves_section
from training.release.report.model_card import model_card_section, origin_section
from training.release.report.page import Section, page
from training.release.report.performance import calibration_section, performance_section
from training.release.report.policy import policy_section
from training.release.report.reasons import reasons_section
from training.tracking import runs
from training.tracking.defaults import MODEL
from training.tracking.progress import StageProgress
from training.tracking.store import Store, fetch_run_info

ARTIFACT = "report.html"  # of the run


class Stage(StrEnum):
    """The stages of a report, by the names that a progress bar shows."""

    MODEL = "the model"
    ACCOUNTS = "the accounts"
    CARD = "the card"
    PERFORMANCE = "performance"
    CALIBRATION = "calibration"
    FEATURES = "what features do"
    REASONS = "reasons"
    ADVICE = "the way back"
    FAIRNESS = "fairness"
    POLICY = "the policy"
    STABILITY = "stability"
    RUN = "the run"
    PAGE = "the page"


@dataclass(frozen=True, slots=True)
class ReportConfig:
    """Which model the report is on, and which accounts it may be evaluated on."""

    model: str = "champion"  # alias, version, run id or bundle folder
    name: str = MODEL  # the registered model whose aliases and versions are meant
    shared: bool = False  # other data than the fit's: only the accounts that the fit left out


@dataclass(frozen=True, slots=True)
class Reported:
    """Where the report is: the file, and the run that keeps it too; ``text`` is the HTML."""

    file: Path
    run: str
    text: str


def report(
    data: Path,
    store: Store,
    out: Path,
    config: ReportConfig | None = None,
    progress: StageProgress = lambda stage: None,
) -> Reported:
    """Write the report on a model, evaluated on accounts of the data that none of its trees saw.

    The run that fitted the model keeps the report too.  Data that bring their own labels have no
    hold-out; the report then says that the model has seen the accounts.

    Raises what finding the model (:func:`training.evaluate.model_lookup.find_model`) and selecting
    the accounts (:func:`training.evaluate.unseen_accounts.select_unseen`) raise, and OSError if
    ``out`` cannot be written; the run is then unchanged.
    """
    config = config or ReportConfig()
    progress(Stage.MODEL)
    model = find_model(config.model, store, config.name)
    progress(Stage.ACCOUNTS)
    source = load(data)
    now, earlier, notes = _evaluate(model, source, data, config.shared)
    sections = []
    for stage, section in _sections(model, now, earlier, store, seen=source.labels is not None):
        progress(stage)
        sections.append(section())
    progress(Stage.PAGE)
    provenance = model.bundle.provenance
    about = (
        f"Run {model.run}, bundle {model.bundle.digest}.",
        f"{len(now.label):,} accounts of {data.name} as of {now.hold_out.as_of:%B %Y}.",
        *(f"{note[:1].upper()}{note[1:]}." for note in notes),
    )
    title = f"{provenance.name}, version {provenance.version or '(none)'}"
    text = page(title, about, sections)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, "utf-8")
    runs.replace_text(store, model.run, text, ARTIFACT)
    return Reported(out, model.run, text)


def _evaluate(
    model: Model, source: Source, data: Path, shared: bool
) -> tuple[Evaluation, Evaluation | None, tuple[str, ...]]:
    if source.labels is not None:
        labelled = select_hold_out(source, model.config, data)
        return evaluate(model.selector, model.bundle, labelled), None, ()
    on = select_unseen(source, data, [model], shared)
    now = evaluate(model.selector, model.bundle, on.hold_out)
    earlier = evaluate(model.selector, model.bundle, on.earlier)
    return now, earlier, on.notes


def _sections(
    model: Model, now: Evaluation, earlier: Evaluation | None, store: Store, *, seen: bool
) -> Iterator[tuple[Stage, Callable[[], Section]]]:
    yield Stage.CARD, lambda: model_card_section(now, runs.fetch_table(store, model.run, "splits"))
    yield Stage.PERFORMANCE, lambda: performance_section(now, seen=seen)
    yield Stage.CALIBRATION, lambda: calibration_section(now, seen=seen)
    yield Stage.FEATURES, lambda: feature_curves_section(now)
    yield (
        Stage.REASONS,
        lambda: reasons_section(now, runs.fetch_table(store, model.run, "reason_agreement")),
    )
    yield Stage.ADVICE, lambda: advice_section(now)
    yield Stage.FAIRNESS, lambda: fairness_section(now)
    yield Stage.POLICY, lambda: policy_section(now)
    if earlier is not None:
        yield Stage.STABILITY, lambda: drift_section(earlier, now)
    told = fetch_run_info(store, model.run)
    yield Stage.RUN, lambda: origin_section({**told.parameters, **told.tags})
