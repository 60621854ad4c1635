"""Results are short in a notebook's cell, whatever they hold."""

from __future__ import annotations

from dataclasses import make_dataclass
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from features.display import MAX_LENGTH, notebook_display

TABLE = pl.DataFrame({"account_id": ["<b>"], "spend": [1.0]})
values = st.one_of(
    st.text(max_size=3000),
    st.integers(),
    st.lists(st.text(max_size=300), max_size=50),
    st.dictionaries(st.text(max_size=80), st.lists(st.text(max_size=80)), max_size=50),
    st.just(np.zeros((300, 50))),
    st.just(TABLE),
)


def made(contents: list[Any]) -> Any:
    names = [f"field_{number}" for number in range(len(contents))]
    return notebook_display(make_dataclass("Made", names))(*contents)


@settings(max_examples=30)
@given(st.lists(values, min_size=1, max_size=40))
def test_a_repr_names_every_field_and_is_short(contents: list[Any]) -> None:
    text = repr(made(contents))
    assert len(text) <= MAX_LENGTH + len("Made()")
    assert text.count("field_") >= len(contents)


def test_without_it_a_repr_has_no_bound() -> None:
    plain = make_dataclass("Plain", ["text"])
    assert len(repr(plain("x" * 10_000))) > MAX_LENGTH


def test_a_table_is_shown_as_a_table_and_text_is_escaped() -> None:
    html = made([TABLE, "<script>"])._repr_html_()
    assert TABLE._repr_html_() in html
    assert "&lt;script&gt;" in html
    assert "<script>" not in html


def test_a_dataclass_in_a_field_is_named_and_not_written_out() -> None:
    inner = make_dataclass("Inner", ["text"])
    assert repr(made([inner("x" * 1000)])) == "Made(field_0=Inner(...))"
