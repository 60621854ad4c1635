from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.decision.config.template import join, literal, template_in_both, template_of

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


@given(texts, st.dictionaries(st.sampled_from(NAMES), texts), values)
def test_a_template_in_the_place_of_a_placeholder_is_filled_with_it(
    text: str, parts: dict[str, str], words: dict[str, str]
) -> None:
    whole = template_of(text).put({name: template_of(part) for name, part in parts.items()})
    filled = {name: part.format_map(words) for name, part in parts.items()}
    assert whole.fill(words) == text.format_map(words | filled)


@given(st.lists(texts, max_size=3), st.text(), values)
def test_joined_templates_are_filled_as_one(
    several: list[str], between: str, words: dict[str, str]
) -> None:
    joined = join([*map(template_of, several), literal(between)], between)
    assert joined.fill(words) == between.join(
        [*(text.format_map(words) for text in several), between]
    )


@given(texts, texts, values, values)
def test_both_languages_are_filled_from_the_same_words(
    english: str, chinese: str, in_english: dict[str, str], in_chinese: dict[str, str]
) -> None:
    template = template_in_both(english, chinese)
    words = [(in_english[name], in_chinese[name]) for name in template.names]
    expected = english.format_map(in_english), chinese.format_map(in_chinese)
    assert template.fill(words) == expected
