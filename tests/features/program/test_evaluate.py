"""Compiled features have the bits of the verbs in NumPy."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.build import values_of
from features.catalogue import CATALOGUE, Feature
from features.catalogue.amounts import AMOUNTS
from features.program import memory
from features.program.evaluate import PROGRAMS, Programs, evaluate
from features.program.machine import WIDTH
from features.schema import PRODUCTS, check
from features.types import Matrix
from features.window import STORED_COLUMNS, Window, lay_out
from tests.support.accounts import window as drawn_window
from tests.support.each import each
from tests.support.feature_oracle import values_by_verbs
from tests.support.paths import ROOT

EVERY_FEATURE = (*CATALOGUE, *AMOUNTS)
# What a column may hold and arithmetic may stumble over: the unknown, both zeros, the least and the
# largest amount, what counts as equal, and the edges of a step.
EDGES = [
    *(np.nan, np.nan, 0.0, -0.0, 0.005, 0.01, -0.01, 1.0, 2.0, 2.005, 9.99, 10.0, 15.0),
    *(0.1 + 0.2, 1e9, -1e9, 999_999_999.99, 100.0, 110.0, 120.0, 98.0, 5e-324),
]


@st.composite
def any_window(draw: st.DrawFn, edges: tuple[float, ...] = tuple(EDGES)) -> Window:
    """Up to 200 accounts of 1 to 24 months, with values that no schema has looked at."""
    shape = (draw(st.integers(1, 24)), draw(st.sampled_from([1, 2, WIDTH - 1, WIDTH, 200])))
    return edge_window(draw(st.integers(0, 2**32 - 1)), shape, edges)


def edge_window(
    seed: int, shape: tuple[int, int], edges: tuple[float, ...] = tuple(EDGES)
) -> Window:
    """A window of (months, accounts), half of whose values are edges."""
    random = np.random.default_rng(seed)
    months, accounts = shape
    of_all = (len(STORED_COLUMNS), *shape)
    usual = np.round(random.lognormal(5.0, 2.0, of_all), 2)
    stored = np.where(random.random(of_all) < 0.5, random.choice(edges, of_all), usual)
    observed = random.integers(1, months + 1, accounts)
    rows_ago = np.arange(months)[:, np.newaxis]
    stored[:, rows_ago >= observed] = np.nan
    return Window(stored, observed, random.integers(0, len(PRODUCTS), accounts))


def bits(values: Matrix) -> NDArray[np.uint64]:
    """The bits of each value.  Unknown is unknown: inf - inf has another sign than np.nan."""
    return np.where(np.isnan(values), np.nan, values).view(np.uint64)


def differing(window: Window, features: tuple[Feature, ...], values: Matrix) -> list[str]:
    expected = values_by_verbs(window, features)
    is_other = (bits(values) != bits(expected)).any(axis=0)
    return [f"{features[place].name}" for place in np.flatnonzero(is_other)]


@settings(max_examples=150)
@given(any_window())
def test_every_feature_has_the_bits_of_the_verbs(window: Window) -> None:
    assert differing(window, EVERY_FEATURE, values_of(window, EVERY_FEATURE)) == []


@settings(max_examples=40)
@given(any_window(edges=(*EDGES, np.inf, -np.inf)))
def test_infinite_amounts_too_although_no_statement_has_any(window: Window) -> None:
    assert differing(window, EVERY_FEATURE, values_of(window, EVERY_FEATURE)) == []


@given(drawn_window())
def test_of_checked_statements_even_the_unknown_has_the_same_bits(drawn: pl.DataFrame) -> None:
    window = lay_out(check(drawn))
    values = values_of(window, EVERY_FEATURE)
    assert values.tobytes() == values_by_verbs(window, EVERY_FEATURE).tobytes()


def test_simulated_accounts_have_the_bits_of_the_verbs(windows: pl.DataFrame) -> None:
    window = lay_out(check(windows))
    assert window.stored.shape[2] > 2 * WIDTH
    values = values_of(window, EVERY_FEATURE)
    assert values.tobytes() == values_by_verbs(window, EVERY_FEATURE).tobytes()


def test_an_account_has_the_same_bits_alone_and_at_every_place_of_a_block(
    windows: pl.DataFrame,
) -> None:
    window = lay_out(check(windows))
    together = values_of(window)
    for account in each(range(2 * WIDTH + 1)):
        alone = values_of(window.take(np.array([account])))
        assert alone.tobytes() == together[account].tobytes(), account


def test_slices_and_read_only_arrays_are_evaluated_by_the_same_loops(
    windows: pl.DataFrame,
) -> None:
    from features.program import machine

    window = lay_out(check(windows))
    whole = values_of(window)
    assert values_of(window.take(slice(10, 50))).tobytes() == whole[10:50].tobytes()
    window.stored.flags.writeable = False
    assert values_of(window).tobytes() == whole.tobytes()
    loops: Any = machine.run
    assert len(loops.signatures) == 1


def test_threads_give_the_same_bits(windows: pl.DataFrame) -> None:
    window = lay_out(check(windows))
    alone = values_of(window, EVERY_FEATURE).tobytes()
    with ThreadPoolExecutor(8) as pool:
        several = list(pool.map(lambda _: values_of(window, EVERY_FEATURE).tobytes(), range(40)))
    assert set(several) == {alone}


# Controls: what the comparison must find.


@pytest.mark.parametrize(
    ("operation", "planted"),
    [
        ("subtract", "add"),
        ("greater_equal", "greater"),
        ("fmax", "maximum"),
        ("mean", "total"),
        ("max", "min"),
        ("and", "or"),
        ("months_since", "first"),
    ],
)
def test_control_another_operation_is_found(
    operation: str, planted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = edge_window(0, (24, 200))
    monkeypatch.setattr(memory, "CODES", {**memory.CODES, operation: memory.CODES[planted]})
    values = evaluate(window, EVERY_FEATURE, Programs())
    assert differing(window, EVERY_FEATURE, values) != []


def test_control_one_changed_step_is_found() -> None:
    window = edge_window(0, (24, 200))
    layout = PROGRAMS.layout(CATALOGUE)
    step = int(np.flatnonzero((layout.code[:, :2] == memory.CODES["total"]).all(axis=1))[0])
    months = layout.code[step, 6]
    try:
        layout.code[step, 6] = months - 1
        assert len(differing(window, CATALOGUE, values_of(window))) == 1
    finally:
        layout.code[step, 6] = months
    assert differing(window, CATALOGUE, values_of(window)) == []


# The cache


def test_a_changed_catalogue_has_its_own_program(windows: pl.DataFrame) -> None:
    window = lay_out(check(windows))
    first = CATALOGUE[0]
    other = replace(first, expression=CATALOGUE[1].expression, own_step=CATALOGUE[1].step)
    assert values_of(window, (other,)).tobytes() == values_of(window, (CATALOGUE[1],)).tobytes()
    assert values_of(window, (other,)).tobytes() != values_of(window, (first,)).tobytes()


def test_programs_are_forgotten_and_traced_again_when_there_are_too_many(
    windows: pl.DataFrame,
) -> None:
    window = lay_out(check(windows))
    programs = Programs(most=3)
    expected = [values_of(window, (feature,)) for feature in CATALOGUE[:8]]
    for feature, own in each(zip(CATALOGUE[:8], expected, strict=True)):
        for _ in range(2):
            assert evaluate(window, (feature,), programs).tobytes() == own.tobytes()
    assert len(programs) <= 3


PRINT_DIGEST = """
import hashlib, sys
import polars as pl
from features.build import build
from features.program import machine
from features.schema import check
features = build(check(pl.read_parquet(sys.argv[1])))
print(hashlib.sha256(features.values.tobytes()).hexdigest(), len(machine.run.signatures))
print(sum(machine.run.stats.cache_hits.values()), file=sys.stderr)
"""
STATEMENTS = ROOT / "tests/golden/answers/statements.parquet"


def start(cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRINT_DIGEST, str(STATEMENTS)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.torture  # it compiles anew
def test_two_processes_that_compile_at_once_and_one_whose_cache_is_unusable(tmp_path: Path) -> None:
    values = values_of(lay_out(check(pl.read_parquet(STATEMENTS))))
    expected = [f"{hashlib.sha256(values.tobytes()).hexdigest()} 1"] * 2
    shared = tmp_path / "shared"
    shared.mkdir()
    both = [start(shared), start(shared)]
    assert [process.communicate()[0].strip() for process in both] == expected
    # The control: the next one finds it compiled.
    out, hits = start(shared).communicate()
    assert (out.strip(), hits.strip()) == (expected[0], "1")
    # Files that can be neither read nor written, whoever runs the test.
    for index in each(list(shared.rglob("*.nbi"))):
        index.unlink()
        index.mkdir()
    out, hits = start(shared).communicate()
    assert (out.strip(), hits.strip()) == (expected[0], "0")
