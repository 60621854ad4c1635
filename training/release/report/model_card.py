"""The model card: purpose, training data, limits of use, and the rules that apply.

After Mitchell et al. 2019, *Model Cards for Model Reporting*, and what SR 26-2, the guidance of the
Federal Reserve on model risk, expects to be documented of a model in use.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from features.catalogue import BY_NAME
from serving.decision.bundle import Bundle
from training.evaluate.holdout import Evaluation
from training.release.report.page import Exhibit, Section
from training.tracking.lightgbm_import import lgb

_PURPOSE = (
    "The model predicts the probability that an account becomes 60 days past due or worse within "
    "six months if nothing is done. (Data with labels of their own define another outcome; see "
    "`label` below.) A lender uses it to decide which revolving limits are reduced, and by how "
    "much. The policy decides, not the model; each decision states its principal reasons, and a "
    "person reconsiders it on request.",
    "The model is not for granting credit to applicants, for pricing, for collections, for "
    "products without a reference population, or for decisions without a person where the action "
    "is `review`.",
)
_LIMITS = (
    (
        "Labels after a cut",
        "Most labelled accounts kept their limit. The label of an account whose limit was cut is "
        "its outcome after the cut; the setting `treated` of the fit states whether and how such "
        "accounts are used.",
    ),
    (
        "Outcomes not observed",
        "Accounts that left before the end of their six months (sold, or without a feed) are left "
        "out or represented by weights; the setting `unobserved` of the fit states which, and the "
        "table of splits counts them. An account that left owing nothing counts as closed.",
    ),
    (
        "Accounts not in the data",
        "Accounts already 60 days past due, closed accounts, and people who never got a limit.",
    ),
    (
        "Age of the data",
        "The economy changes after the last month of the data: monitor the drift and the "
        "estimated performance, and fit again.",
    ),
    (
        "Simulated data",
        "Figures on simulated data show whether the method works. They are no evidence about a "
        "real portfolio.",
    ),
    (
        "Reasons",
        "A reason is a difference, as the model sees it, between the account and accounts just "
        "inside the cut-off. It is evidence of a cause and not proof.",
    ),
)
_RULES = (
    (
        "12 CFR 1002.9(a) (Regulation B)",
        "A cut of one account's limit is adverse action: the customer is told within 30 days.",
        "A notice of every cut, due before the cut takes effect (`notice.send_by`); the list of "
        "notices due and overdue.",
    ),
    (
        "12 CFR 1002.9(b)(2) and its official comments 1, 2, 4 and 5",
        "The specific principal reasons: the factors actually scored, none of the principal ones "
        "left out, also of a complex model. More than four are not likely to help.",
        "At most four reasons, ranked by exact contributions; each names the behaviour and its "
        "value.",
    ),
    (
        "12 CFR 1002.12(b)(2) (Regulation B)",
        "The records of an adverse action are kept 25 months after the notice.",
        "`python -m serving erase` refuses before, unless a person says why; the audit log "
        "records it.",
    ),
    (
        "PIPL article 24",
        "Transparent, fair results; an explanation on request; the right to refuse a decision by "
        "automation alone.",
        "Reasons in Chinese and English; a person reviews a decision on request; fairness is "
        "measured and is a gate of promotion.",
    ),
    (
        "PIPL articles 55, 56",
        "Impact assessment; it and the records of the handling are kept three years.",
        "The audit log has a retention of three years, or longer if configured. The lender makes "
        "the assessment.",
    ),
    (
        "SR 26-2 (Federal Reserve, 17 April 2026)",
        "Sound development, validation, ongoing monitoring and governance, in proportion to the "
        "model's risk.",
        "This report; paired comparison and gates before promotion; `python -m training monitor`.",
    ),
    (
        "GDPR articles 15(1)(h) and 22 (C-203/22)",
        "The procedure actually applied, explained; a person on request.",
        "Exact contributions, the policy's version and the bundle of every decision; human review.",
    ),
    (
        "Regulation (EU) 2024/1689 (AI Act), annex III 5(b), articles 12, 14 and 86",
        "Evaluating creditworthiness of natural persons is high-risk: logging, oversight, "
        "explanation.",
        "An append-only audit log of every decision; human review; reasons.",
    ),
)


def model_card_section(evaluation: Evaluation, splits: pl.DataFrame | None = None) -> Section:
    """Return the model card over the accounts of the report.

    ``splits`` is the table of that name of the model's run, null if the run has none.
    """
    limits = pl.DataFrame(_LIMITS, schema=["limit", "meaning"], orient="row")
    rules = pl.DataFrame(_RULES, schema=["rule", "requirement", "how it is met"], orient="row")
    exhibits = [Exhibit("The served model.", _bundle_table(evaluation.bundle))]
    if splits is not None:
        caption = "Accounts for the trees (train), for stopping and calibration (valid), and test."
        exhibits.append(Exhibit(caption, splits))
    exhibits += [
        Exhibit("The accounts of this report.", _count_accounts(evaluation)),
        Exhibit("Limits of the model.", limits),
        Exhibit("Rules for such a model, and how they are met. This is not legal advice.", rules),
    ]
    return Section("The model", _PURPOSE, tuple(exhibits))


def origin_section(run: Mapping[str, str]) -> Section:
    """Return the parameters and tags of the run that fitted the model."""
    # Tags with the prefix are MLflow's own: the source file, the user, the note of the UI.
    rows = [
        (name, str(value))
        for name, value in sorted(run.items())
        if not name.startswith("mlflow.") and value != ""
    ]
    table = pl.DataFrame(rows, {"name": pl.String, "value": pl.String}, orient="row")
    exhibit = Exhibit("Parameters and tags.", table)
    return Section("How it was fitted", ("As recorded in the model's run.",), (exhibit,))


def measure_importance(evaluation: Evaluation) -> pl.DataFrame:
    """Return each feature's mean absolute contribution over the accounts, the largest first.

    Columns: ``feature``, ``importance`` (log-odds).
    """
    mean = np.abs(evaluation.stages.scores.contributions).mean(axis=0)
    table = pl.DataFrame({"feature": evaluation.bundle.features, "importance": mean})
    return table.sort("importance", descending=True)


def describe_cut_offs(bundle: Bundle) -> str:
    """Return the cut-offs in words: ``0.1279 (cash_loan), 0.1279 (pay_later)``."""
    cut_offs = bundle.policy.cut_offs(bundle.comparisons)
    return ", ".join(f"{cut_off:.4f} ({product})" for product, cut_off in cut_offs.items())


def count_leaves(booster: lgb.Booster) -> int:
    """Return the leaves of all trees, also where LightGBM was loaded without pandas."""
    return sum(tree["num_leaves"] for tree in booster.dump_model()["tree_info"])


def _bundle_table(bundle: Bundle) -> pl.DataFrame:
    provenance, policy = bundle.provenance, bundle.policy
    calibration = bundle.scorer.calibration
    booster = bundle.scorer.model
    leaves = count_leaves(booster)
    constrained = sum(BY_NAME[name].direction != 0 for name in bundle.features)
    products = ", ".join(sorted(bundle.comparisons))
    versions = [f"{name} {version}" for name, version in provenance.libraries.items()]
    cut_offs = describe_cut_offs(bundle)
    facts = {
        "name and version": f"{provenance.name} {provenance.version or '(not registered)'}",
        "bundle": bundle.digest,
        "training data": provenance.training_data,
        "label": provenance.label,
        "features": (
            f"{len(bundle.features)}, of which {constrained} have a declared direction; none is a "
            "protected attribute"
        ),
        "trees": f"{booster.num_trees()} with {leaves:,} leaves",
        "calibration": f"log-odds = {calibration.slope:.4f} x score {calibration.intercept:+.4f}",
        "policy": f"version {policy.version}, cut-offs at a probability of {cut_offs}",
        "reference populations": f"{products}; digest {bundle.reference_digest[:16]}",
        "libraries": ", ".join(versions),
    }
    return pl.DataFrame({"name": list(facts), "value": list(facts.values())})


def _count_accounts(evaluation: Evaluation) -> pl.DataFrame:
    accounts = evaluation.hold_out.people.with_columns(
        label=pl.Series(evaluation.label),
        cut=pl.Series(evaluation.cut),
    )
    measures = {
        "accounts": pl.len(),
        "bad": pl.col("label").sum().cast(pl.Int64),
        "rate": pl.col("label").mean(),
        "cut": pl.col("cut").mean(),
    }
    by_product = accounts.group_by("product").agg(**measures).sort("product")
    total = accounts.select(product=pl.lit("all"), **measures)
    return pl.concat([by_product, total], how="vertical_relaxed")
