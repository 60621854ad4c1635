"""Cut hold-out accounts of the session's model, with their reasons."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.decision.bundle import Bundle
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.labels import soon_after
from training.evaluate.holdout import select_hold_out
from training.fit.reason_quality.stated import CutReasons, find_cut_reasons


@pytest.fixture(scope="session")
def cuts(source: Source, simulated: Path, bundle: Bundle) -> CutReasons:
    hold_out = select_hold_out(source, DataConfig(), simulated)
    found = find_cut_reasons(hold_out.statements, bundle, soon_after(hold_out.as_of))
    assert len(found) > 30
    return found
