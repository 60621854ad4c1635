"""Every number that a cut account is told follows from its statements."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import polars as pl
import pytest

from serving.decision.bundle import Bundle, read
from serving.decision.pipeline import decide_many
from serving.decision.reasons.ranking import Reason
from serving.decision.result import Decision
from tests.support.each import each
from tests.support.paths import GOLDEN, ROOT
from tests.support.policies import cut_more
from tests.support.sentences import WORDING
from tests.support.slow_facts import OF_INCOME, Facts, facts_of
from tests.support.slow_sentences import acceptable, income_fall
from training.data.dataset import Source
from training.data.labels import select_windows

DECIDED_AT = datetime.datetime(2026, 11, 20, 8, 30, tzinfo=datetime.UTC)
STATEMENTS = ROOT / "tests" / "golden" / "answers" / "statements.parquet"
Stated = tuple[Decision, Reason, Facts]


def stated_reasons(statements: pl.DataFrame, bundle: Bundle) -> Iterator[Stated]:
    """Each reason of the model with the facts of its account."""
    windows = statements.partition_by("account_id", as_dict=True)
    for decision in decide_many(statements, bundle, DECIDED_AT):
        by_model = [reason for reason in decision.reasons if reason.contribution is not None]
        if by_model:
            facts = facts_of(windows[decision.account_id,].to_dicts())
            for reason in by_model:
                yield decision, reason, facts


def wrong_sentences(stated: Sequence[Stated], bundle: Bundle) -> list[str]:
    """The sentences that differ from what the statements allow."""
    compared = bundle.reference.partition_by("product", as_dict=True)
    wrong = []
    for decision, reason, facts in each(stated):
        named = reason.features[0].name
        accounts: dict[str, list[float | None]]
        accounts = compared[decision.product,].drop("product").to_dict(as_series=False)
        for language in ("en", "zh"):
            space = " " if language == "en" else ""
            expected = acceptable(named, facts, accounts[named], language, accounts)
            if (fact := second_fact(reason, facts)) is not None:
                of_fact = acceptable(fact, facts, accounts[fact], language, accounts)
                # A delay that goes on is told first.
                is_first = named == "days_past_due_now"
                pairs = product(expected, of_fact) if is_first else product(of_fact, expected)
                expected = {space.join(pair) for pair in pairs}
            if tells_fall(decision, reason):
                falls = income_fall(facts, language) or {""}
                expected = {f"{one}{space}{fall}".strip() for one in expected for fall in falls}
            if getattr(reason.text, language) not in expected:
                wrong.append(f"{decision.account_id} {named}: {reason.text.en}; {expected}")
    return wrong


def tells_fall(decision: Decision, reason: Reason) -> bool:
    """Whether a reason is where a fall of the income is told, if it fell."""
    names = {
        other.rank: other.features[0].name
        for other in decision.reasons
        if other.contribution is not None and other.features[0].value is not None
    }
    own = [rank for rank, name in names.items() if name in (*OF_INCOME, "income")]
    return "income_change_12" not in names.values() and own[:1] == [reason.rank]


def second_fact(reason: Reason, facts: Facts) -> str | None:
    """The delinquency that a reason states in a second sentence."""
    worst = {"worst_days_past_due_6", "worst_days_past_due_12"}
    if (facts["worst_24_ago"] or 0) <= 12:
        worst.add("worst_days_past_due_24")
    serious = {
        feature.name: feature.value
        for feature in reason.features
        if feature.name in worst and (feature.value or 0.0) >= 60
    }
    for feature in reason.features:
        # A delay of a month, of the last six.
        if feature.name == "worst_days_past_due_6" and (feature.value or 0.0) >= 30:
            serious.setdefault(feature.name, feature.value)
    named, *others = reason.features
    second = others[0].name if others else ""
    said = serious.get(named.name) or 0.0
    days = serious.get(second) or 0.0
    is_same = named.unit == "days" and named.value == days
    return second if days > said and not is_same else None


@pytest.fixture(scope="module")
def golden() -> Bundle:
    # With the texts as they are now, which the slow sentences read too.
    return replace(cut_more(read(GOLDEN)), wording=WORDING)


@pytest.fixture(scope="module")
def of_golden(golden: Bundle) -> list[Stated]:
    return list(stated_reasons(pl.read_parquet(STATEMENTS), golden))


def test_sentences_of_the_golden_answers_are_true(of_golden: list[Stated], golden: Bundle) -> None:
    assert wrong_sentences(of_golden, golden) == []
    assert len(of_golden) > 100


def test_a_planted_number_is_noticed(of_golden: list[Stated], golden: Bundle) -> None:
    """The control: one digit of each sentence is another one."""
    planted = []
    for decision, reason, facts in of_golden:
        digit = re.search(r"\d", reason.text.en)
        if digit is not None:
            other = "7" if digit[0] != "7" else "8"
            changed = reason.text.en[: digit.start()] + other + reason.text.en[digit.end() :]
            text = replace(reason.text, en=changed)
            planted.append((decision, replace(reason, text=text), facts))
    assert len(wrong_sentences(planted, golden)) == len(planted)


def test_no_golden_answer_has_an_unmapped_reason(of_golden: list[Stated]) -> None:
    for decision, reason, _ in each(of_golden):
        assert reason.text != WORDING.unmapped, decision.account_id


@pytest.mark.slow
def test_sentences_of_six_thousand_accounts_are_true(source: Source, bundle: Bundle) -> None:
    bundle = cut_more(bundle)
    last = source.statements["month"].max()
    assert isinstance(last, datetime.date)
    stated = list(stated_reasons(select_windows(source.statements, last), bundle))
    assert wrong_sentences(stated, bundle) == []
    assert len(stated) > 500
    assert len({reason.features[0].name for _, reason, _ in stated}) > 15
