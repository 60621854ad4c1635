"""Where commands read and write by default, and the registered model's name."""

from __future__ import annotations

from pathlib import Path

DATA = Path("data/simulated")
STORE = Path("mlruns")
MODEL = "limit-reduction"
