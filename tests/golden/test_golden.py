"""A bundle that was written once still loads and still answers what it answered then."""

from __future__ import annotations

import json

from serving.decision.golden import load
from tests.golden.remake import BUNDLE


def test_the_golden_bundle_answers_as_it_did() -> None:
    """``load`` verifies every byte and runs the golden rows; a changed answer is a BundleError."""
    bundle = load(BUNDLE)
    assert bundle.digest == (BUNDLE / "bundle.sha256").read_text(encoding="utf-8").strip()


def test_its_rows_show_the_actions() -> None:
    answers = json.loads((BUNDLE / "golden.json").read_text("utf-8"))["answers"]
    assert len(answers) >= 8
    assert {"keep", "reduce", "review", "suspend"} <= {answer["action"] for answer in answers}
