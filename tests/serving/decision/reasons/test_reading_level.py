"""A customer with eight years of school can read what we write (Flesch-Kincaid grade 8)."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.accounts import window
from tests.support.each import each
from tests.support.reading_level import grade
from tests.support.sentences import drawn_reference, sentences_of

HIGHEST = 8.0
CONFIG = files("serving.decision.config")
FILES = ("reasons.toml", "advice.toml", "policy.toml")
LEGAL = (
    "The undersigned institution hereby communicates its determination to institute a diminution "
    "of the maximum indebtedness permissible under the aforementioned contractual arrangement."
)


def english(table: dict[str, Any]) -> list[str]:
    """The English texts of a table and the tables below it, with a word for each placeholder."""
    texts = []
    for key, value in table.items():
        if isinstance(value, dict):
            texts += english(value)
        elif isinstance(value, list):
            texts += [text for item in value if isinstance(item, dict) for text in english(item)]
        elif key == "en" or key.endswith("_en") or key.startswith("en_"):
            texts.append(re.sub(r"\{\w+\}", "9", value))
    return texts


@pytest.mark.parametrize("file", FILES)
def test_the_texts_of_a_file_are_easy_to_read(file: str) -> None:
    texts = english(tomllib.loads(CONFIG.joinpath(file).read_text("utf-8")))
    # What an account is called is no sentence.
    sentences = [text for text in each(texts) if len(text.split()) > 4]
    hard = {text: round(grade(text), 1) for text in sentences if grade(text) > HIGHEST}
    assert not hard
    assert grade("\n".join(texts)) <= HIGHEST


@settings(max_examples=25)  # of about sixty sentences each
@given(window(), st.integers(0, 2**32 - 1))
def test_filled_sentences_are_easy_to_read(statements: pl.DataFrame, seed: int) -> None:
    sentences = sentences_of(statements, drawn_reference(seed))
    for name, text in each(sentences.items()):
        assert grade(text.en) <= HIGHEST, name


def test_a_text_that_is_hard_to_read_is_found() -> None:
    """The control."""
    assert grade(LEGAL) > 15
    assert grade("You paid nothing on your last bill. Half of the accounts paid more.") < 5
