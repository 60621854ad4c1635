"""Everything that a request runs after its features, and the commands around the service."""

from __future__ import annotations

from pathlib import Path

# The checkout, or the folder that the packages are installed in.
PROJECT = Path(__file__).resolve().parents[1]
# A checkout has its own model store, so that commands find the same models with and without make.
MODEL_STORE = PROJECT / ".bentoml" if (PROJECT / "Makefile").exists() else Path.home() / "bentoml"
