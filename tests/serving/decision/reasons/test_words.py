from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue import BY_NAME
from serving.decision.config.reasons import Text
from serving.decision.reasons.case import Case
from serving.decision.reasons.english import polish
from serving.decision.reasons.ranking import Evidence
from serving.decision.reasons.wording import number
from serving.decision.reasons.words import write
from tests.support.accounts import quiet_account
from tests.support.sentences import drawn_reference, evidence_of

FEATURE = BY_NAME["utilization_now"]
VALUE = Text("You use {value}.", "您使用{value}。")
OTHERS = Text(
    "Half of them use {reference} or less, {none} nothing.",
    "其中{none}未使用，一半不超过{reference}。",
)


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return evidence_of(quiet_account(), drawn_reference(1))


def with_value(evidence: Evidence, value: float) -> Case:
    return Case(FEATURE, replace(evidence, values={**evidence.values, FEATURE.name: value}))


def test_what_is_said_of_the_comparison_accounts_is_written_once_for_all_customers(
    evidence: Evidence,
) -> None:
    first, second = with_value(evidence, 0.2), with_value(evidence, 0.9)
    assert write(OTHERS, first) is write(OTHERS, second)
    # The controls: another text in one language, another feature, and other accounts to compare
    # with have other sentences.
    assert write(Text(OTHERS.en, "一半。"), first) == (write(OTHERS, first)[0], "一半。")
    income = Case(BY_NAME["income"], evidence)
    assert write(OTHERS, income) != write(OTHERS, first)
    others = evidence_of(quiet_account(), drawn_reference(2))
    assert write(OTHERS, Case(FEATURE, others)) != write(OTHERS, first)


def test_what_is_said_of_a_customer_is_written_for_each(evidence: Evidence) -> None:
    for value in (0.2, 0.9):
        english = VALUE.en.format(value=number(value, "share", "en"))
        chinese = VALUE.zh.format(value=number(value, "share", "zh"))
        assert write(VALUE, with_value(evidence, value)) == (english, chinese)


def test_an_unknown_placeholder_is_refused(evidence: Evidence) -> None:
    with pytest.raises(KeyError, match="shoe_size"):
        write(Text("You wear {shoe_size}.", ""), with_value(evidence, 0.2))


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
