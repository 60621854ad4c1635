"""Bundles that differ from the golden one in the parts that are named, and from each other."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Collection
from pathlib import Path

import lightgbm as lgb
import polars as pl

from features import schema
from serving.decision import golden
from serving.decision.bundle import Bundle, Parts, ReferenceNote, assemble, write
from serving.decision.scoring.score import Calibration
from tests.golden.remake import BUNDLE, MARGIN


def other_parts(of: Bundle, changed: Collection[str]) -> Parts:
    """The parts of the golden bundle with others for model, reference, policy and wording.

    The other model has fewer trees and another calibration, the other reference half the accounts,
    the other policy a lower margin and smaller steps, and the other wording another text.
    """
    parts = _golden_parts(of)
    if "model" in changed:
        model = lgb.Booster(model_str=parts.model_text)
        calibration = Calibration(
            of.scorer.calibration.slope, of.scorer.calibration.intercept + 0.5
        )
        fewer = model.model_to_string(num_iteration=12)
        parts = dataclasses.replace(parts, model_text=fewer, calibration=calibration)
    if "reference" in changed:
        parts = _with_half_the_reference(parts)
    if "policy" in changed:
        text = parts.policy_text.replace(MARGIN.removesuffix("  #"), "margin = 0.004")
        text = text.replace("largest_step = 0.5", "largest_step = 0.1")
        assert text != parts.policy_text
        parts = dataclasses.replace(parts, policy_text=text)
    if "wording" in changed:
        text = parts.reasons_text.replace("limit of", "line of")
        assert text != parts.reasons_text
        parts = dataclasses.replace(parts, reasons_text=text)
    return parts


def other_bundle(of: Bundle, changed: Collection[str], digest: str = "f" * 64) -> Bundle:
    """The bundle of :func:`other_parts`, with this digest."""
    return assemble(other_parts(of, changed), digest)


def write_other_bundle(of: Bundle, changed: Collection[str], folder: Path) -> Bundle:
    """The bundle of :func:`other_parts`, in a folder too, with golden rows of its own."""
    parts = other_parts(of, changed)
    bundle = assemble(parts)
    rows, decided_at = golden_rows()
    write(parts, golden.make(bundle, rows, decided_at), folder)
    return golden.load(folder)


def golden_rows() -> tuple[pl.DataFrame, datetime.datetime]:
    """The statements of the golden bundle's golden rows, and the time of their decision."""
    content = json.loads((BUNDLE / "golden.json").read_text("utf-8"))
    records = [dict(zip(schema.NAMES, row, strict=True)) for row in content["statements"]]
    for record in records:
        record["month"] = datetime.date.fromisoformat(record["month"])
    return schema.table(records), datetime.datetime.fromisoformat(content["decided_at"])


def _golden_parts(of: Bundle) -> Parts:
    manifest = json.loads((BUNDLE / "manifest.json").read_text("utf-8"))
    notes = {product: ReferenceNote(**note) for product, note in manifest["reference"].items()}
    return Parts(
        provenance=of.provenance,
        features=of.features,
        never_missing=of.never_missing,
        calibration=of.scorer.calibration,
        reference_notes=notes,
        model_text=(BUNDLE / "model.txt").read_text("utf-8"),
        reference=of.reference,
        policy_text=(BUNDLE / "policy.toml").read_text("utf-8"),
        reasons_text=(BUNDLE / "reasons.toml").read_text("utf-8"),
        advice_text=(BUNDLE / "advice.toml").read_text("utf-8"),
        economics=of.economics,
    )


def _with_half_the_reference(parts: Parts) -> Parts:
    halves = [
        rows.head(rows.height // 2)
        for rows in parts.reference.partition_by("product", maintain_order=True)
    ]
    notes = {
        half["product"][0]: dataclasses.replace(
            parts.reference_notes[half["product"][0]], accounts=half.height
        )
        for half in halves
    }
    return dataclasses.replace(parts, reference=pl.concat(halves), reference_notes=notes)
