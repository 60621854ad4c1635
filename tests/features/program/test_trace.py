"""What an expression may do: each verb and operator has a compiled form or is refused by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.build import values_of
from features.catalogue import CATALOGUE, Feature
from features.program.memory import CODES, lay_out_memory
from features.program.symbols import UFUNCS, TracedWindow, TraceError
from features.program.trace import listing, trace
from features.schema import check
from features.window import DERIVED, STORED_COLUMNS, Window, lay_out, ratio
from tests.support.each import each
from tests.support.feature_oracle import values_by_verbs

COLUMNS = (*STORED_COLUMNS, *DERIVED)


def feature(expression: Callable[[Any], Any], **options: Any) -> Feature:
    return Feature("drawn", "CNY", 0, "", "", "", expression, **options)


def first_month(is_set: Any) -> Any:
    found = is_set.argmax(axis=0).astype(np.float64)
    return np.where(is_set.any(axis=0), found, np.nan)


VERBS: dict[str, Callable[[Any, str, int], Any]] = {
    "total": lambda w, name, months: w.total(name, months),
    "mean": lambda w, name, months: w.mean(name, months),
    "max": lambda w, name, months: w.max(name, months),
    "min": lambda w, name, months: w.min(name, months),
    "now": lambda w, name, _: w.now(name),
    "ago": lambda w, name, months: w.ago(name, months),
    "last_known": lambda w, name, _: w.last_known(name),
    "months_since": lambda w, name, _: w.months_since(name),
    "earlier": lambda w, name, months: first_month(w.earlier(name, months) > 50.0),
    "carried_on": lambda w, name, months: first_month(w.carried_on(name)[:months] > 50.0),
    "is_product": lambda w, name, _: np.where(
        w.is_product(("pay_later",)), w.now(name), -w.now(name)
    ),
    "months_observed": lambda w, name, months: w.months_observed / w.mean(name, months),
    "[:months]": lambda w, name, months: (
        (~np.isnan(w[name][:months])).sum(axis=0).astype(np.float64)
    ),
}
NOT_COMPILED = {"take", "replace", "products", "stored"}


def test_every_verb_of_the_window_is_tested_or_refused() -> None:
    methods = dict(inspect.getmembers(Window, inspect.isfunction))
    public = {name for name in methods if not name.startswith("_")}
    attributes = {"months_observed", "products", "stored"}
    assert public | attributes == (VERBS.keys() - {"[:months]"}) | NOT_COMPILED


@pytest.mark.parametrize("verb", VERBS)
@settings(max_examples=25)
@given(column=st.sampled_from(COLUMNS), months=st.integers(1, 30))
def test_a_feature_of_each_verb_is_compiled(
    verb: str, column: str, months: int, windows: pl.DataFrame
) -> None:
    window = lay_out(check(windows))
    added = (feature(lambda w: VERBS[verb](w, column, months)),)
    expected = values_by_verbs(window, added)
    assert values_of(window, added).tobytes() == expected.tobytes()
    # Among the catalogue, where columns are shared and slots are used again.
    among = values_of(window, (*CATALOGUE, *added))
    assert among[:, -1:].tobytes() == expected.tobytes()


NUMBERS = st.sampled_from([0.0, 1.0, -2.5, 0.9, 10.0, 0.3])
_LEAVES = st.one_of(
    st.builds(
        lambda verb, name, months: f"w.{verb}({name!r}, {months})",
        st.sampled_from(["total", "mean", "max", "min", "ago"]),
        st.sampled_from(COLUMNS),
        st.integers(1, 24),
    ),
    st.builds(
        lambda verb, name: f"w.{verb}({name!r})",
        st.sampled_from(["now", "last_known", "months_since"]),
        st.sampled_from(COLUMNS),
    ),
    st.just("w.months_observed"),
)


def _combine(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    both = st.tuples(values, st.one_of(values, NUMBERS.map(repr)))
    operators = st.sampled_from(["+", "-", "*", "/"])
    functions = st.sampled_from(["np.maximum", "np.minimum", "np.fmax", "np.fmin", "ratio_of"])
    comparisons = st.sampled_from([">", ">=", "<", "<=", "==", "!="])
    condition = st.builds(lambda op, pair: f"({pair[0]} {op} {pair[1]})", comparisons, both)
    logic = st.builds(
        lambda one, op, other: f"({one} {op} ~{other})",
        condition,
        st.sampled_from(["&", "|"]),
        condition,
    )
    return st.one_of(
        st.builds(lambda op, pair: f"({pair[0]} {op} {pair[1]})", operators, both),
        st.builds(lambda name, pair: f"{name}({pair[0]}, {pair[1]})", functions, both),
        st.builds(lambda pair, when: f"np.where({when}, {pair[0]}, {pair[1]})", both, logic),
        values.map(lambda value: f"(~np.isnan({value})).astype(np.float64)"),
        values.map(lambda value: f"abs(-{value})"),
    )


def ratio_of(numerator: Any, denominator: Any) -> Any:
    return ratio(numerator, denominator + 0.0 * numerator)


@settings(max_examples=150)
@given(text=st.recursive(_LEAVES, _combine, max_leaves=8))
def test_drawn_expressions_have_the_bits_of_numpy(text: str, windows: pl.DataFrame) -> None:
    window = lay_out(check(windows))
    expression = eval(f"lambda w: {text}", {"np": np, "ratio_of": ratio_of})
    drawn = (feature(expression),)
    values, expected = values_of(window, drawn), values_by_verbs(window, drawn)
    both_unknown = np.isnan(values) & np.isnan(expected)  # an inf - inf has a sign of its own
    assert np.where(both_unknown, 0.0, values).tobytes() == (
        np.where(both_unknown, 0.0, expected).tobytes()
    )


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        (lambda w: w.median("spend", 3), "window's 'median'"),
        (lambda w: w.products, "window's 'products'"),
        (lambda w: w.take([0]), "window's 'take'"),
        (lambda w: w.total("spent", 3), "'spent'"),
        (lambda w: w.total("spend", 0), "total: expected a whole number of months from 1, got 0"),
        (lambda w: w.mean("spend", 1.5), "mean: expected a whole number"),
        (lambda w: np.sqrt(w.now("spend")), "np.sqrt"),
        (lambda w: w.now("spend") ** 2, "np.power"),
        (lambda w: np.add.reduce(w["spend"]), "np.add.reduce"),
        (lambda w: np.maximum(w.now("spend"), 0.0, where=True), "np.maximum with ['where']"),
        (lambda w: np.median(w["spend"], axis=0), "np.median"),
        (lambda w: np.nan_to_num(w.now("spend")), "np.nan_to_num"),
        (lambda w: np.where(w.now("spend"), 1.0, 0.0), "np.where: expected a condition"),
        (lambda w: w["spend"].mean(axis=0), "'mean'"),
        (lambda w: w["spend"].sum(axis=0), "count over axis 0"),
        (lambda w: w["spend"], "got a column of months"),
        (lambda w: w["spend"][3], "[3]"),
        (lambda w: w["spend"][::2], "slice(None, None, 2)"),
        (lambda w: w["spend"][:3] + w["spend"][:6], "add of columns of different months"),
        (lambda w: w.now("spend") if w.now("spend") > 0 else 0.0, "may not branch"),
        (lambda w: float(w.now("spend")), "float"),
        (lambda w: max(w.now("spend"), 0.0), "may not branch"),
        (lambda w: sum(w["spend"]), "may not loop"),
        (lambda w: len(w["spend"]), "len()"),
        (lambda w: w.now("spend").astype(np.int64), "astype"),
        (lambda w: (w.now("spend") > 0) + 1.0, "np.add: expected numbers"),
        (lambda w: w.now("spend") & w.now("balance"), "np.bitwise_and: expected conditions"),
        (lambda w: w.now("spend") + "1", "got str"),
        (lambda w: np.zeros(3), "got ndarray"),
    ],
)
def test_what_has_no_compiled_form_is_refused_by_name(
    expression: Callable[[Any], Any], names: str
) -> None:
    with pytest.raises(TraceError, match=re.escape(names)) as refused:
        trace([*CATALOGUE, feature(expression)])
    assert str(refused.value).startswith("feature 'drawn': ")


def test_every_operation_of_a_trace_has_a_loop() -> None:
    expressions = [
        *(lambda w, ufunc=ufunc: _apply(w, ufunc) for ufunc in UFUNCS),
        *(lambda w, verb=verb: VERBS[verb](w, "spend", 3) for verb in VERBS),
        lambda w: first_month(w["spend"] > w.now("balance")),
    ]
    program = trace([feature(expression) for expression in expressions])
    used = {step.operation for step in program.steps} - {"constant"}
    assert used | {"store"} == CODES.keys()
    lay_out_memory(program)


def _apply(w: TracedWindow, ufunc: np.ufunc) -> Any:
    is_logic = "logical" in ufunc.__name__ or "bitwise" in ufunc.__name__ or ufunc is np.invert
    operand: Any = w.now("spend") > 0.0 if is_logic else w.now("spend")
    other: Any = w.now("balance") > 0.0 if is_logic else w.now("balance")
    return ufunc(operand, other) if ufunc.nin == 2 else ufunc(operand)


def test_a_step_is_written_once() -> None:
    program = trace(CATALOGUE)
    assert len(set(program.steps)) == len(program.steps)
    assert len(trace([*CATALOGUE, *CATALOGUE]).steps) == len(program.steps)


def test_the_listing_has_every_step_and_every_feature() -> None:
    text = listing(CATALOGUE)
    assert len(text.splitlines()) == len(trace(CATALOGUE).steps) + len(CATALOGUE)
    for one in each(CATALOGUE):
        assert f"     {one.name} = " in text
