"""How well the model ranks accounts, and how well its probabilities match the outcomes."""

from __future__ import annotations

import polars as pl

from training.evaluate import figures, metrics
from training.evaluate.holdout import Evaluation
from training.release.report.page import Exhibit, Section

_SEEN = (
    "The model was fitted on these very accounts: the data have labels of their own and are too "
    "few for a hold-out. The figures of this section are therefore too good. The run has the "
    "out-of-fold figures."
)
_MEASURES = (
    "Intervals are 95 % intervals from resampling accounts. AUC: the probability that an account "
    "that went bad ranks above one that did not. KS: the largest gap between the two "
    "distributions. Brier: the mean squared error of the probability. Log loss: the mean negative "
    "logarithm of the probability of what happened."
)
_MURPHY = (
    "Murphy's decomposition of the Brier score: reliability - resolution + uncertainty + within. "
    "The last part is what remains because probabilities differ within a bin."
)


def performance_section(evaluation: Evaluation, *, seen: bool) -> Section:
    """Return how well the model ranks; ``seen`` adds that it was fitted on these accounts."""
    label, probability = evaluation.label, evaluation.probability
    auc = metrics.auc(label, probability)
    cut_offs = evaluation.bundle.policy.cut_offs(evaluation.bundle.comparisons)
    exhibits = (
        Exhibit("Measures with 95 % intervals.", metrics.discrimination(label, probability)),
        Exhibit("ROC: each point is a cut-off.", figures.roc(label, probability, auc)),
        Exhibit(
            "Share of the selected accounts that went bad, against the share of the bad selected.",
            figures.precision_recall(label, probability),
        ),
        Exhibit(
            "Distribution of the two outcomes, with the policy's cut-offs.",
            figures.scores(label, probability, cut_offs),
        ),
        Exhibit("Lift by tenth, the riskiest first.", metrics.lift(label, probability)),
    )
    return Section("Performance", _with_caveat(_MEASURES, seen), exhibits)


def calibration_section(evaluation: Evaluation, *, seen: bool) -> Section:
    """Return how well probabilities match rates; ``seen`` as in :func:`performance_section`."""
    label, probability = evaluation.label, evaluation.probability
    table = metrics.calibration(label, probability)
    inside = pl.col("probability").is_between("low", "high")
    outside = table.filter(~inside).height
    text = (
        f"The mean probability of {outside} of {table.height} bins is outside the interval of "
        "the observed rate. By chance one in twenty would be."
    )
    parts = metrics.brier_parts(label, probability)
    exhibits = (
        Exhibit("Points on the line are right on average.", figures.calibration(table)),
        Exhibit("Bins of equally many accounts, the safest first.", table),
        Exhibit(_MURPHY, parts),
    )
    return Section("Calibration", _with_caveat(text, seen), exhibits)


def _with_caveat(text: str, seen: bool) -> tuple[str, ...]:
    return (_SEEN, text) if seen else (text,)
