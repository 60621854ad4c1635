"""The report on one model, written to a file and kept with the run that fitted it.

Read :func:`report` first.

    done = report(Path("data/simulated"), Store(Path("mlruns")), Path("report.html"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from features.display import notebook_display
from training.data.dataset import Source, load
from training.evaluate.holdout import Evaluation, evaluate, select_hold_out
from training.evaluate.model_lookup import Model, find_model
from training.evaluate.unseen_accounts import select_unseen
from training.release.report.advice import advice_section
from training.release.report.drift import drift_section
from training.release.report.fairness import fairness_section
from training.release.report.feature_curves import feature_curves_section
from training.release.report.model_card import model_card_section, origin_section
from training.release.report.page import Section, render_page
from training.release.report.performance import calibration_section, performance_section
from training.release.report.policy import policy_section
from training.release.report.reason_quality import fetch_reason_quality
from training.release.report.reasons import reasons_section
from training.tracking import runs
from training.tracking.defaults import MODEL
from training.tracking.outputs import check_output
from training.tracking.progress import StageProgress
from training.tracking.store import Store, fetch_run_info

ARTIFACT = "report.html"  # of the run


class Stage(StrEnum):
    """The stages of a report, by the names that a progress bar shows."""

    MODEL = "the model"
    ACCOUNTS = "the accounts"
    CARD = "the model card"
    PERFORMANCE = "performance"
    CALIBRATION = "calibration"
    FEATURES = "the features"
    REASONS = "reasons"
    ADVICE = "the advice"
    FAIRNESS = "fairness"
    POLICY = "the policy"
    STABILITY = "stability"
    RUN = "the run"
    PAGE = "the page"


@dataclass(frozen=True, slots=True)
class ReportConfig:
    """Which model the report is on, and which accounts it may be evaluated on."""

    model: str = "champion"  # alias, version, run id or bundle folder
    name: str = MODEL  # the registered model that aliases and versions belong to
    shared: bool = False  # with other data than the fit's: use the accounts that the fit left out


@notebook_display
@dataclass(frozen=True, slots=True)
class ReportResult:
    """The file of the report, the run that keeps a copy, and the HTML text."""

    file: Path
    run: str
    text: str


def report(
    data: Path,
    store: Store,
    out: Path,
    config: ReportConfig | None = None,
    progress: StageProgress = lambda stage: None,
) -> ReportResult:
    """Write the report on a model, evaluated on accounts that none of its trees was fitted on.

    The run that fitted the model gets a copy.  Data with labels of their own have no hold-out; the
    report then states that the model was fitted on its accounts.

    Raises what finding the model (:func:`training.evaluate.model_lookup.find_model`) and selecting
    the accounts (:func:`training.evaluate.unseen_accounts.select_unseen`) raise, and OSError if
    ``out`` cannot be written; the run is then unchanged.
    """
    config = config or ReportConfig()
    check_output(out)
    progress(Stage.MODEL)
    model = find_model(config.model, store, config.name)
    progress(Stage.ACCOUNTS)
    source = load(data)
    now, earlier, notes = _evaluate(model, source, data, config.shared)
    seen = source.labels is not None
    sections = []
    to_make = _sections(model, now, earlier, store, seen=seen)
    for stage, make_section in to_make:
        progress(stage)
        sections.append(make_section())
    progress(Stage.PAGE)
    text = _render(model, now, data, notes, sections)
    # The file before the run: if the file cannot be written, the run has no new report.
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, "utf-8")
    runs.replace_text(store, model.run, text, ARTIFACT)
    return ReportResult(out, model.run, text)


def _evaluate(
    model: Model,
    source: Source,
    data: Path,
    shared: bool,
) -> tuple[Evaluation, Evaluation | None, tuple[str, ...]]:
    if source.labels is not None:
        labelled = select_hold_out(source, model.config, data)
        return evaluate(model.selector, model.bundle, labelled), None, ()
    unseen = select_unseen(source, data, [model], shared)
    now = evaluate(model.selector, model.bundle, unseen.hold_out)
    earlier = evaluate(model.selector, model.bundle, unseen.earlier)
    return now, earlier, unseen.notes


def _render(
    model: Model,
    now: Evaluation,
    data: Path,
    notes: Sequence[str],
    sections: Sequence[Section],
) -> str:
    provenance = model.bundle.provenance
    title = f"{provenance.name}, version {provenance.version or '(none)'}"
    about = [
        f"Run {model.run}, bundle {model.bundle.digest}.",
        f"{len(now.label):,} accounts of the data `{data.name}`, as of {now.hold_out.as_of:%B %Y}.",
    ]
    # Notes are written as clauses; a page has sentences.
    about += [f"{note[:1].upper()}{note[1:]}." for note in notes]
    return render_page(title, about, sections)


def _sections(
    model: Model,
    now: Evaluation,
    earlier: Evaluation | None,
    store: Store,
    *,
    seen: bool,
) -> Iterator[tuple[Stage, Callable[[], Section]]]:
    """Yield each stage with the function that makes its section, in order of the page."""
    # Functions, so that the caller reports the stage before its work begins.
    splits = runs.fetch_table(store, model.run, "splits")
    agreement = runs.fetch_table(store, model.run, "reason_agreement")
    quality = fetch_reason_quality(store, model.run, model.bundle.digest)
    yield Stage.CARD, lambda: model_card_section(now, splits)
    yield Stage.PERFORMANCE, lambda: performance_section(now, seen=seen)
    yield Stage.CALIBRATION, lambda: calibration_section(now, seen=seen)
    yield Stage.FEATURES, lambda: feature_curves_section(now)
    yield Stage.REASONS, lambda: reasons_section(now, agreement, quality)
    yield Stage.ADVICE, lambda: advice_section(now)
    yield Stage.FAIRNESS, lambda: fairness_section(now)
    yield Stage.POLICY, lambda: policy_section(now)
    if earlier is not None:
        yield Stage.STABILITY, lambda: drift_section(earlier, now)
    info = fetch_run_info(store, model.run)
    yield Stage.RUN, lambda: origin_section({**info.parameters, **info.tags})
