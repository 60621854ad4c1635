"""Sentences of drawn accounts, and what they are compared with."""

from __future__ import annotations

import numpy as np
import polars as pl

from features.build import values_of
from features.catalogue import BY_NAME, CATALOGUE, MODEL_FEATURES
from features.catalogue.amounts import AMOUNTS, AS_OF
from features.months import month_index
from features.schema import check
from features.window import lay_out
from serving.decision.config.reasons import Text, read_wording
from serving.decision.reasons.comparison import make_comparison
from serving.decision.reasons.ranking import Evidence
from serving.decision.reasons.sentence import say
from tests.support.slow_sentences import REASONS

WORDING = read_wording(REASONS)
_CHANGES = ("utilization_rise_6", "balance_growth_6", "external_debt_growth_6")
_NEVER_FALLS = {name for name in MODEL_FEATURES if BY_NAME[name].direction > 0} - {*_CHANGES}


def evidence_of(statements: pl.DataFrame, reference: dict[str, list[float | None]]) -> Evidence:
    """The evidence of one account, compared with accounts that have these values."""
    checked = check(statements)
    laid_out = lay_out(checked)
    values = values_of(laid_out, CATALOGUE)[0].tolist()
    amounts = values_of(laid_out, AMOUNTS)[0].tolist()
    rows = pl.DataFrame(reference, schema=dict.fromkeys(reference, pl.Float64))
    return Evidence(
        contributions={},
        values=dict(zip([feature.name for feature in CATALOGUE], values, strict=True)),
        comparison=make_comparison("pay_later", rows, ""),
        amounts=dict(zip([amount.name for amount in AMOUNTS], amounts, strict=True))
        | {AS_OF: month_index(checked["month"][-1])},
    )


def drawn_reference(seed: int) -> dict[str, list[float | None]]:
    """Six accounts to compare with: zeros, whole numbers, shares and unknown values."""
    random = np.random.default_rng(seed)
    choices = [None, 0.0, 1.0, 2.0, 0.34, 0.36, -0.08, 12.0, 950.2]
    drawn = {name: [choices[k] for k in random.integers(0, 9, 6)] for name in MODEL_FEATURES}
    # Who drew no cash has a share of it that is zero, whatever it is of.
    of_income = drawn["cash_to_income_6"]
    drawn["cash_to_limit_6"] = [0.34 if share is None else share for share in of_income]
    return drawn


def sentences_of(
    statements: pl.DataFrame, reference: dict[str, list[float | None]]
) -> dict[str, Text]:
    """By feature the sentence of each that could be named."""
    evidence = evidence_of(statements, reference)
    product = statements["product"][0]
    sentences = {}
    for name in MODEL_FEATURES:
        declared, value = BY_NAME[name], evidence.values[name]
        if declared.products and product not in declared.products:
            continue
        # The best value is never a reason: no late payment, an income that is known or at its peak.
        is_best = value <= 0 if declared.direction > 0 else value >= 1
        if is_best and (name in _NEVER_FALLS or name in ("income_known", "income_change_12")):
            continue
        if name == "established_limit" and value == 0:  # there is nothing to cut
            continue
        sentences[name] = say(declared.group, name, evidence, WORDING)
    return sentences
