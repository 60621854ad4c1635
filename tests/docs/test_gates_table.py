"""The gates table of docs/modelling/compare_and_promote.md has the bounds of gates.toml."""

from __future__ import annotations

import tomllib

import pytest

from tests.support.each import each
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "modelling" / "compare_and_promote.md"
GATES = tomllib.loads((ROOT / "training" / "release" / "gates.toml").read_text("utf-8"))


@pytest.mark.parametrize("gate", GATES)
def test_a_row_of_the_gates_table_has_the_bounds_of_the_gate(gate: str) -> None:
    lines = PAGE.read_text("utf-8").splitlines()
    (row,) = (line for line in lines if line.startswith(f"| {gate} |"))
    refuses = [word.rstrip(",;") for word in row.split("|")[3].split()]
    for bound in each(GATES[gate].values()):
        names = bound if isinstance(bound, list) else [f"{bound:,}"]
        assert set(names) <= set(refuses)
