"""The model card: purpose, training data, limits of use, and the rules that apply.

After Mitchell et al. 2019, *Model Cards for Model Reporting*, and the documentation that SR 11-7
asks of a model in use.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from features.catalogue import BY_NAME
from serving.decision.bundle import Bundle
from training.evaluate.holdout import Evaluation
from training.release.report.page import Section, Shown

_PURPOSE = (
    "It says how probable it is that an account becomes 60 days past due or worse within six "
    "months if nothing is done (or what the data's own label says, below), so that a lender can "
    "decide whose revolving limit is reduced and by how much. The policy, not the model, "
    "decides; each decision states its principal reasons, and a person reconsiders it on "
    "request.",
    "It is not for granting credit to applicants, for pricing, for collections, for accounts of "
    "other products than those of its reference populations, or for deciding without a person "
    "where the answer is `review`.",
)
_LIMITS = (
    (
        "What is asked",
        (
            "Most labelled accounts kept their limit. The label of an account that a lender cut "
            "shows what became of it after the cut; the fit's setting `treated` says whether and "
            "how such accounts are used."
        ),
    ),
    (
        "Who is not seen",
        "Accounts already 60 days past due, closed accounts, and people who never got a limit.",
    ),
    (
        "When it ages",
        (
            "Months after the data end are another economy: watch drift and the label-free "
            "estimate, and fit again."
        ),
    ),
    (
        "Simulated data",
        (
            "Where the data are simulated, figures tell whether the method works. They say nothing "
            "of any portfolio."
        ),
    ),
    (
        "Reasons",
        (
            "A reason is what distinguishes the account from accounts just inside the cut-off, in "
            "the model's eyes. It is evidence of a cause, not proof of one."
        ),
    ),
)
_RULES = (
    (
        "12 CFR 1002.9 (Regulation B)",
        (
            "A cut of one account's limit is adverse action: the specific principal reasons, "
            "within 30 days."
        ),
        "At most four reasons from exact contributions and effects; `notice.send_by`; the list of "
        "notices due and overdue.",
    ),
    (
        "CFPB Circular 2022-03",
        "A complex model does not excuse from specific reasons.",
        "Reasons name the behaviour and its value.",
    ),
    (
        "PIPL article 24",
        "Transparent, fair results; explanation; a decision not by automation alone on request.",
        "Reasons in Chinese and English; review and appeal on request; fairness is measured and "
        "gated.",
    ),
    (
        "PIPL articles 55, 56",
        "Impact assessment and its records kept three years.",
        "The record keeps three years and longer by choice.",
    ),
    (
        "SR 11-7",
        "Sound development, outcomes analysis, ongoing monitoring, effective challenge.",
        "This report; paired comparison and gates before promotion; `python -m training monitor`.",
    ),
    (
        "Regulation (EU) 2024/1689, annex III 5(b)",
        "Evaluating creditworthiness of natural persons is high-risk: logging, oversight.",
        "An append-only record of every decision; human review.",
    ),
)


def model_card_section(evaluated: Evaluation, splits: pl.DataFrame | None = None) -> Section:
    """What the model is, over the accounts that the report looks at; ``splits``: what its run says
    it was fitted on.
    """
    fitted_on = (
        ()
        if splits is None
        else (
            Shown(
                "What it was fitted on (train), stopped and calibrated on (valid), and measured "
                "on (test).",
                splits,
            ),
        )
    )
    return Section(
        "The model",
        _PURPOSE,
        (
            Shown("What is served.", _facts(evaluated.bundle)),
            *fitted_on,
            Shown("The accounts that this report looks at.", _accounts(evaluated)),
            Shown(
                "What it does not know.",
                pl.DataFrame(_LIMITS, schema=["limit", "what it means"], orient="row"),
            ),
            Shown(
                "Rules that such a model is under, and what answers them here. Not legal advice.",
                pl.DataFrame(
                    _RULES, schema=["rule", "what it asks", "what answers it"], orient="row"
                ),
            ),
        ),
    )


def _facts(bundle: Bundle) -> pl.DataFrame:
    made = bundle.provenance
    constrained = sum(BY_NAME[name].direction != 0 for name in bundle.features)
    booster = bundle.scorer.model
    trees = booster.trees_to_dataframe()
    leaves = int(trees["left_child"].isna().sum())
    facts = {
        "name and version": f"{made.name} {made.version or '(not registered)'}",
        "bundle": bundle.digest,
        "training data": made.training_data,
        "label": made.label,
        "features": (
            f"{len(bundle.features)}, of which {constrained} have a declared direction; none is a "
            "protected attribute"
        ),
        "trees": f"{booster.num_trees()} with {leaves:,} leaves",
        "calibration": (
            f"log-odds = {bundle.scorer.calibration.slope:.4f} x score "
            f"{bundle.scorer.calibration.intercept:+.4f}"
        ),
        "policy": (
            f"version {bundle.policy.version}, cut-off at a probability of "
            f"{bundle.policy.cut_off:.4f}"
        ),
        "reference populations": ", ".join(sorted(bundle.medians))
        + f"; digest {bundle.reference_digest[:16]}",
        "libraries": ", ".join(f"{name} {version}" for name, version in made.libraries.items()),
    }
    return pl.DataFrame({"what": list(facts), "value": list(facts.values())})


def _accounts(evaluated: Evaluation) -> pl.DataFrame:
    people = evaluated.hold_out.people.with_columns(
        label=pl.Series(evaluated.label), cut=pl.Series(evaluated.cut)
    )
    counted = people.group_by("product").agg(
        accounts=pl.len(),
        bad=pl.col("label").sum().cast(pl.Int64),
        rate=pl.col("label").mean(),
        cut=pl.col("cut").mean(),
    )
    whole = people.select(
        product=pl.lit("all"),
        accounts=pl.len(),
        bad=pl.col("label").sum().cast(pl.Int64),
        rate=pl.col("label").mean(),
        cut=pl.col("cut").mean(),
    )
    return pl.concat([counted.sort("product"), whole], how="vertical_relaxed")


def origin_section(run: Mapping[str, str]) -> Section:
    """``run``: parameters and tags of the run that fitted it."""
    shown = {
        name: value
        for name, value in sorted(run.items())
        if not name.startswith("mlflow.") and value != ""
    }
    table = pl.DataFrame({"what": list(shown), "value": [str(value) for value in shown.values()]})
    return Section(
        "How it was fitted", ("As its run tells.",), (Shown("Parameters and tags.", table),)
    )


def importance(evaluated: Evaluation) -> pl.DataFrame:
    """Each feature's mean absolute contribution in log-odds over the accounts, largest first."""
    mean = np.abs(evaluated.stages.scores.contributions).mean(axis=0)
    return pl.DataFrame({"feature": evaluated.bundle.features, "importance": mean}).sort(
        "importance", descending=True
    )
