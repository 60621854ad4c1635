"""Bundles between two: the parts that decide are replaced one after the other.

The order is that in which a decision uses them:

    model      the trees, their calibration, the features, and which of them were never missing
    reference  the reference populations, against which contributions and comparisons are measured
    policy     policy.toml with the economics that the fit learnt: rules, cut-offs, limits, dates
    wording    reasons.toml: texts, and when a reason is told; advice.toml, with the last step

A step whose part is the same in both bundles changes nothing.  The last step that changes something
is the whole new bundle, so the steps lead from one bundle to the other and nothing is left over.

Shapley values over the four parts were rejected: they need 16 bundles instead of 5, and give an
action in fractions; each step here is a decision that could have been answered.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

import polars as pl

from serving.decision.bundle import Bundle, content_errors
from serving.decision.reasons.comparison import Comparison, make_comparison
from serving.decision.scoring.score import Scorer
from serving.decision.scoring.shapley import make_explainer

Part: TypeAlias = Literal["model", "reference", "policy", "wording"]
PARTS: tuple[Part, ...] = get_args(Part)


def bundles_between(old: Bundle, new: Bundle) -> dict[Part, Bundle]:
    """The bundle after each step that changes something, in order; empty for one bundle twice.

    A model with features that the old reference populations lack cannot be explained by them: the
    reference is then replaced together with the model, as the step ``model``.

    Raises:
        BundleError: The parts of the two do not fit together.
    """
    if old.digest == new.digest:
        return {}
    changed = changed_parts(old, new)
    # Advice and golden rows alone differ: no part that decides, so any step may be the last.
    steps = list(changed) or ["wording"]
    lacks_features = not set(new.features) <= set(old.reference.columns)
    if "model" in steps and "reference" in steps and lacks_features:
        steps.remove("reference")
    *before_last, last = steps
    between: dict[Part, Bundle] = {}
    for part in before_last:
        taken = set(PARTS[: PARTS.index(part) + 1])
        if "reference" not in steps:
            # It is the same in both, or goes with the model.
            taken.add("reference")
        between[part] = mix(old, new, taken)
    between[last] = new
    return between


def changed_parts(old: Bundle, new: Bundle) -> tuple[Part, ...]:
    """The parts in which two bundles differ, in the order of the steps."""
    before = _identify_parts(old)
    after = _identify_parts(new)
    return tuple(part for part in PARTS if before[part] != after[part])


def mix(old: Bundle, new: Bundle, taken: Collection[Part]) -> Bundle:
    """The old bundle with these parts of the new one; digest and provenance are the old one's.

    Raises:
        BundleError: The policy has no economics for a product of the reference, or the reference
            lacks a feature of the model.
    """
    sources = dict.fromkeys(PARTS, old)
    for part in taken:
        sources[part] = new
    model = sources["model"]
    reference = sources["reference"]
    policy = sources["policy"]
    wording = sources["wording"]
    with content_errors(f"parts of the bundles {old.digest} and {new.digest}"):
        policy.policy.cut_offs(reference.comparisons)
        return replace(
            old,
            features=model.features,
            never_missing=model.never_missing,
            scorer=_mix_scorer(model, reference),
            reference=reference.reference,
            reference_digest=reference.reference_digest,
            comparisons=_mix_comparisons(model, reference),
            policy=policy.policy,
            economics=policy.economics,
            wording=wording.wording,
        )


def _identify_parts(bundle: Bundle) -> dict[Part, object]:
    """What is equal if, and only if, the part is the same."""
    model = (
        bundle.scorer.model.model_to_string(),
        bundle.scorer.calibration,
        bundle.features,
        bundle.never_missing,
    )
    rules = {}
    for product, comparison in bundle.comparisons.items():
        rules[product] = comparison.chosen
    return {
        "model": model,
        "reference": (bundle.reference_digest, rules),
        "policy": bundle.policy,
        "wording": bundle.wording,
    }


def _mix_scorer(model: Bundle, reference: Bundle) -> Scorer:
    """The scorer of a model, explained against the reference populations of a bundle."""
    if model is reference:
        return model.scorer
    own_explainers = iter(model.scorer.explainers.values())
    layout = next(own_explainers).layout
    explainers = {}
    for product in reference.comparisons:
        rows = _reference_rows(model, reference, product)
        matrix = rows.fill_null(math.nan).to_numpy()
        explainers[product] = make_explainer(layout, matrix)
    return replace(
        model.scorer,
        explainers=explainers,
    )


def _mix_comparisons(model: Bundle, reference: Bundle) -> Mapping[str, Comparison]:
    """The comparisons with a bundle's reference populations, in the features of a model."""
    if model.features == reference.features:
        return reference.comparisons
    mixed = {}
    for product, own in reference.comparisons.items():
        mixed[product] = make_comparison(
            product,
            _reference_rows(model, reference, product),
            own.chosen,
        )
    return mixed


def _reference_rows(
    model: Bundle,
    reference: Bundle,
    product: str,
) -> pl.DataFrame:
    """A product's reference population, with the features of a model."""
    population = reference.reference.filter(product=product)
    return population.select(model.features)
