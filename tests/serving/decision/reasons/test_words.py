from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue import BY_NAME
from serving.decision.config.reasons import Language
from serving.decision.reasons.case import Case
from serving.decision.reasons.english import polish
from serving.decision.reasons.ranking import Evidence
from serving.decision.reasons.wording import number
from serving.decision.reasons.words import write
from tests.support.accounts import quiet_account
from tests.support.sentences import drawn_reference, evidence_of

FEATURE = BY_NAME["utilization_now"]
VALUE = "You use {value}."
OTHERS = "Half of them use {reference} or less, {none} nothing."
languages = pytest.mark.parametrize("language", ["en", "zh"])


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return evidence_of(quiet_account(), drawn_reference(1))


def with_value(evidence: Evidence, value: float) -> Case:
    return Case(FEATURE, replace(evidence, values={**evidence.values, FEATURE.name: value}))


@languages
def test_what_is_said_of_the_comparison_accounts_is_written_once_for_all_customers(
    evidence: Evidence, language: Language
) -> None:
    first, second = with_value(evidence, 0.2), with_value(evidence, 0.9)
    assert write(OTHERS, first, language) is write(OTHERS, second, language)
    # The control: another feature, and other accounts to compare with, have other sentences.
    income = Case(BY_NAME["income"], evidence)
    assert write(OTHERS, income, language) != write(OTHERS, first, language)
    others = evidence_of(quiet_account(), drawn_reference(2))
    assert write(OTHERS, Case(FEATURE, others), language) != write(OTHERS, first, language)


@languages
def test_what_is_said_of_a_customer_is_written_for_each(
    evidence: Evidence, language: Language
) -> None:
    for value in (0.2, 0.9):
        expected = VALUE.format(value=number(value, "share", language))
        assert write(VALUE, with_value(evidence, value), language) == expected


def test_an_unknown_placeholder_is_refused(evidence: Evidence) -> None:
    with pytest.raises(KeyError, match="shoe_size"):
        write("You wear {shoe_size}.", with_value(evidence, 0.2), "en")


pieces = st.sampled_from(
    ["last ", "1", ".", ",", " ", "s", "; ", "1 days", "1 months", "2 times", "1 times or less"]
)


@given(st.lists(pieces, max_size=20).map("".join))
def test_one_is_not_a_plural(text: str) -> None:
    """The pattern as it reads best; the one that is served begins with the digit."""
    singular = re.sub(r"(?<![\d.,])1 (day|month|time)s\b", r"1 \1", text)
    singular = re.sub(r"(?<![\d.,])1 time or less\b", "once or not at all", singular)
    singular = re.sub(r"\blast 1 month\b", "last month", singular)
    assert polish(text) == re.sub(r"(?<![\d.,])2 times\b", "twice", singular)
