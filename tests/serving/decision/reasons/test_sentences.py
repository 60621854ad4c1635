"""Every sentence of reasons.toml: there is one for each feature, and its numbers are true."""

from __future__ import annotations

import re
import tomllib

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import BY_NAME, MODEL_FEATURES
from serving.decision.config.reasons import Text, read_wording
from serving.decision.reasons.sentence import say
from tests.support.accounts import quiet_account, window
from tests.support.each import each
from tests.support.sentences import WORDING, drawn_reference, evidence_of, sentences_of
from tests.support.slow_facts import facts_of
from tests.support.slow_sentences import GROUPS, REASONS, acceptable

AS_WRITTEN = {
    "an ISO date": r"\d{4}-\d{2}",
    "a space before %": r"\d %",
    "a bare zero": r"(?<![\d.,])0(?:\.0)?(?:[%个次天倍元]|\b(?![.,]\d))",
    "a placeholder": r"[{}]",
    "a clerk's word": r"not known|未知|信息缺失",
    "an untrue group": r"accounts that keep|保留额度的账户",
}


seeds = st.integers(0, 2**32 - 1)
# Of about sixty sentences each.
FEW = settings(max_examples=25)


@FEW
@given(window(), seeds)
def test_every_number_follows_from_the_statements(statements: pl.DataFrame, seed: int) -> None:
    reference = drawn_reference(seed)
    facts = facts_of(statements.to_dicts())
    for name, text in each(sentences_of(statements, reference).items()):
        for language in ("en", "zh"):
            expected = acceptable(name, facts, reference[name], language, reference)
            assert getattr(text, language) in expected, name


@pytest.mark.integration
@FEW
@given(window(months=8), seeds)
def test_a_wrong_number_is_found(statements: pl.DataFrame, seed: int) -> None:
    """The control: no sentence is accepted with another digit."""
    reference = drawn_reference(seed)
    facts = facts_of(statements.to_dicts())
    for name, text in each(sentences_of(statements, reference).items()):
        digits = [found.start() for found in re.finditer(r"\d", text.en)]
        expected = acceptable(name, facts, reference[name], "en", reference)
        for place in digits:
            # By five: an amount half-way between two numbers may be printed as either.
            other = str((int(text.en[place]) + 5) % 10)
            changed = text.en[:place] + other + text.en[place + 1 :]
            assert changed not in expected, name


@FEW
@given(window(), seeds)
def test_sentences_are_written_as_people_write(statements: pl.DataFrame, seed: int) -> None:
    for name, text in each(sentences_of(statements, drawn_reference(seed)).items()):
        for fault, pattern in AS_WRITTEN.items():
            for written in (text.en, text.zh):
                assert not re.search(pattern, written), (fault, name, written)


@pytest.mark.parametrize(
    ("fault", "written"),
    [
        ("an ISO date", "The application of 2026-08 counts."),
        ("a space before %", "You paid 5 % of it."),
        ("a bare zero", "You paid 0% of it."),
        ("a bare zero", "You paid in full in 0 of the last 6 months."),
        ("a bare zero", "近6个月中有0个月全额还款。"),
        ("a bare zero", "You paid CNY 0."),
        ("a clerk's word", "收入未知。"),
        ("an untrue group", "accounts that keep their limit spend nothing"),
    ],
)
def test_a_fault_of_writing_is_found(fault: str, written: str) -> None:
    """The control."""
    assert re.search(AS_WRITTEN[fault], written)


def features_without_sentence(reasons: str) -> list[str]:
    groups = tomllib.loads(reasons)["groups"]
    return [name for name in MODEL_FEATURES if name not in groups[BY_NAME[name].group]]


def test_every_model_feature_has_a_sentence_and_no_other_has() -> None:
    assert features_without_sentence(REASONS) == []
    written = {feature for table in GROUPS.values() for feature in table} - {
        "cause",
        "en_name",
        "zh_name",
    }
    assert written == set(MODEL_FEATURES)


def test_a_missing_sentence_is_found() -> None:
    """The control."""
    without = REASONS.replace("[groups.overspending.spend_peak]", "[groups.overspending.peak]")
    assert features_without_sentence(without) == ["spend_peak"]


def test_a_feature_without_a_sentence_is_unmapped() -> None:
    reference = drawn_reference(0)
    evidence = evidence_of(quiet_account(), reference)
    without = read_wording(
        REASONS.replace("[groups.overspending.spend_peak]", "[groups.overspending.peak]")
    )
    assert say("overspending", "spend_peak", evidence, without) == without.unmapped
    assert say("another_model", "its_feature", evidence, WORDING) == WORDING.unmapped


@FEW
@given(window(), seeds)
def test_an_unknown_value_has_words_of_its_own(statements: pl.DataFrame, seed: int) -> None:
    for name, text in each(sentences_of(statements, drawn_reference(seed)).items()):
        assert text != WORDING.unmapped, name


def test_an_account_of_one_month_has_a_last_month() -> None:
    once = quiet_account(1, changes={"days_past_due": 3, "payment": 0.0, "credit_inquiries": 2})
    sentences = sentences_of(once, drawn_reference(0))
    assert sentences["late_months_6"].en == "In January 2024 you were late with a payment."
    assert sentences["payment_mean_6"].en.startswith("You paid nothing in the last month.")
    assert "twice in the last month" in sentences["credit_inquiries_3"].en


def at(months: int, **changes: object) -> dict[str, Text]:
    """The sentences of a quiet account with changes in its last month."""
    reference: dict[str, list[float | None]] = {name: [0.0, 0.0] for name in MODEL_FEATURES}
    return sentences_of(quiet_account(months, changes=dict(changes)), reference)


def test_sentences_of_what_customers_asked_about() -> None:
    unpaid = at(8, payment=0.0)
    assert unpaid["payment_to_balance_now"] == Text(
        "Your statement of August 2024 shows no payment on the bill before it, CNY 100.",
        "您2024年8月的账单显示，上期账单为100元，您未还款。",
    )
    late = at(8, days_past_due=120)
    assert late["worst_days_past_due_12"].en == (
        "In August 2024 you were 120 days late with a payment."
    )
    poorer = at(8, income=1100.0)
    assert poorer["income_change_12"] == Text(
        "Your monthly income fell: it was CNY 5,000 in July 2024 and has been CNY 1,100 since "
        "August 2024.",
        "您的月收入下降：2024年7月为5,000元，2024年8月起为1,100元。",
    )
    fuller = at(8, balance=490.0)
    assert fuller["utilization_rise_6"].en.startswith(
        "From February 2024 to August 2024, your use of your limit rose from 10% to 49% (by 39 "
        "percentage points)."
    )
    assert fuller["utilization_rise_6"].zh.startswith(
        "2024年2月至2024年8月，您的额度使用率由10%升至49%（上升39个百分点）。"
    )
