from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.decision.config.template import template_of

NAMES = ("value", "last_6", "none_income")
literals = st.text(st.characters(codec="utf-8")).map(
    lambda text: text.replace("{", "{{").replace("}", "}}")
)
placeholders = st.sampled_from([f"{{{name}}}" for name in NAMES])
texts = st.lists(st.one_of(literals, placeholders), max_size=8).map("".join)
values = st.fixed_dictionaries({name: st.text() for name in NAMES})


@given(texts, values)
def test_a_template_is_filled_as_python_does(text: str, words: dict[str, str]) -> None:
    assert template_of(text).fill(words) == text.format_map(words)


def test_a_placeholder_without_a_value_is_refused() -> None:
    with pytest.raises(KeyError, match="income"):
        template_of("Your income is {income}.").fill({"value": "1"})
