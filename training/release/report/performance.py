"""How well it ranks accounts, and whether its probabilities come true."""

from __future__ import annotations

from training.evaluate import figures, metrics
from training.evaluate.holdout import Evaluation
from training.release.report.page import Section, Shown

_SEEN = (
    "The model was fitted on these very accounts, because the data bring labels of their own and "
    "are too few to set some aside. The figures of this section flatter it; its run has those "
    "out of fold."
)


def performance_section(evaluated: Evaluation, *, seen: bool) -> Section:
    """``seen``: the model's trees saw these accounts, which is said."""
    label, probability = evaluated.label, evaluated.probability
    table = metrics.discrimination(label, probability)
    lift = metrics.lift(label, probability)
    text = (
        "Intervals are of 95 %, by resampling accounts within each outcome. AUC: the chance that "
        "an account that went bad ranks above one that did not. KS: the largest gap between "
        "their distributions. Brier: mean squared error of the probability.",
    )
    return Section(
        "Performance",
        (_SEEN, *text) if seen else text,
        (
            Shown("Measures with 95 % intervals.", table),
            Shown(
                "Each point is a cut-off.",
                figures.roc(label, probability, metrics.auc(label, probability)),
            ),
            Shown(
                "How many of those flagged went bad, against how many of the bad are flagged.",
                figures.precision_recall(label, probability),
            ),
            Shown(
                "Where the two outcomes lie, with the policy's cut-off.",
                figures.scores(label, probability, evaluated.bundle.policy.cut_off),
            ),
            Shown("The riskiest tenth first.", lift),
        ),
    )


def calibration_section(evaluated: Evaluation, *, seen: bool) -> Section:
    """Whether one of a hundred with a probability of 1 % goes bad."""
    label, probability = evaluated.label, evaluated.probability
    table = metrics.calibration(label, probability)
    outside = table.filter(
        (table["probability"] < table["low"]) | (table["probability"] > table["high"])
    ).height
    text = (
        f"{outside} of {table.height} bins have a mean probability outside the interval of their "
        "rate; by chance one in twenty would.",
    )
    return Section(
        "Calibration",
        (_SEEN, *text) if seen else text,
        (
            Shown("Points on the line are right on average.", figures.calibration(table)),
            Shown("Bins of equally many accounts, the safest first.", table),
            Shown("Murphy's parts of the Brier score.", metrics.brier_parts(label, probability)),
        ),
    )
