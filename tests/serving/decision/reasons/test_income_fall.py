"""A fall of the income is told wherever the model cuts, once, and with both its months."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings

from features.catalogue import BY_NAME
from features.schema import table
from serving.decision.bundle import Bundle, read
from serving.decision.config.reasons import Text, read_wording
from serving.decision.config.strict_toml import ConfigError
from serving.decision.pipeline import stages
from serving.decision.reasons.income_fall import (
    income_fell,
    tell_income_fall,
    tells_income_fall,
)
from serving.decision.reasons.naming import pushed
from serving.decision.reasons.ranking import Evidence, Reason, ReasonFeature, sums_of
from serving.decision.result import Decision
from tests.support.accounts import quiet_account, window
from tests.support.each import each
from tests.support.paths import GOLDEN, ROOT
from tests.support.policies import cut_more
from tests.support.sentences import WORDING, drawn_reference, evidence_of
from tests.support.slow_facts import Facts, facts_of
from tests.support.slow_sentences import REASONS, income_fall

DECIDED_AT = datetime.datetime(2026, 11, 20, 8, 30, tzinfo=datetime.UTC)
STATEMENTS = ROOT / "tests" / "golden" / "answers" / "statements.parquet"
FALL = Text(
    "Your monthly income fell: it was CNY 12,100 in January 2024 and has been CNY 5,200 since "
    "February 2024.",
    "您的月收入下降：2024年1月为12,100元，2024年2月起为5,200元。",
)


def fell_in(month: int, months: int = 13) -> Evidence:
    """The evidence of an account whose income fell from CNY 12,100 in that month of so many."""
    rows = quiet_account(months).to_dicts()
    for place, row in enumerate(rows, start=1):
        row["income"] = 12_100.0 if place < month else 5_200.0
    return evidence_of(table(rows), drawn_reference(0))


def fell_to(*incomes: float | None) -> Evidence:
    """The evidence of an account whose last statements have these incomes, after CNY 12,100."""
    rows = quiet_account(13).to_dicts()
    first = len(rows) - len(incomes)
    for place, row in enumerate(rows):
        row["income"] = 12_100.0 if place < first else incomes[place - first]
    return evidence_of(table(rows), drawn_reference(0))


def reason_about(name: str, rank: int = 1, value: float | None = 3.0) -> Reason:
    feature = ReasonFeature(name, value, 1.0, "times", 0.5)
    text = Text("You owe much.", "您的负债较多。")
    return Reason(rank, "external_debt", "risk", 0.5, 0.5, True, text, (feature,))


def test_a_fall_between_the_thirteenth_and_the_twelfth_statement_is_told() -> None:
    """The twelve months of ``income_change_12`` do not see it."""
    fallen = fell_in(2)
    assert fallen.values["income_change_12"] == 1.0
    assert income_fell(fallen, WORDING) == FALL


def test_a_fall_before_the_year_and_a_small_one_are_not() -> None:
    """The control."""
    assert income_fell(fell_in(2, months=14), WORDING) is None
    assert income_fell(fell_in(1), WORDING) is None
    stricter = read_wording(REASONS.replace("at_most = 0.6", "at_most = 0.4"))
    assert income_fell(fell_in(2), stricter) is None


def test_the_first_reason_that_states_the_income_tells_it() -> None:
    names = ("credit_inquiries_3", "total_debt_to_income", "spend_to_income_3")
    reasons = [reason_about(name, rank) for rank, name in enumerate(names, start=1)]
    told = tell_income_fall(reasons, fell_in(2), WORDING)
    assert [reason.text.en for reason in told] == [
        "You owe much.",
        f"You owe much. {FALL.en}",
        "You owe much.",
    ]
    assert told[1].text.zh == f"您的负债较多。{FALL.zh}"


def test_the_lowest_month_and_the_latest_that_is_known_are_told() -> None:
    # All but the first of 13 statements: the highest income lies before the year.
    fallen = fell_to(3_600.0, *[5_000.0] * 10, None)
    assert income_fell(fallen, WORDING) == Text(
        "Your monthly income fell: it was CNY 12,100 in January 2024 and has been CNY 5,000 since "
        "March 2024. In between it was as low as CNY 3,600. The latest income that we know "
        "is that of December 2024.",
        "您的月收入下降：2024年1月为12,100元，2024年3月起为5,000元。其间最低为3,600元。"
        "我们最近获知的收入为2024年12月的收入。",
    )


def test_the_month_of_the_latest_income_is_told_once() -> None:
    fallen, known = fell_to(5_000.0, None), "The latest income that we know is that of"
    # The sentence on the debt has it; that on the income alone has not.
    for name, times in each({"total_debt_to_income": 0, "income": 1}.items()):
        reasons = [replace(reason_about(name), code=BY_NAME[name].group)]
        (told,) = tell_income_fall(reasons, fallen, WORDING)
        assert (told.text.en.count("income fell:"), told.text.en.count(known)) == (1, times), name
        assert tells_income_fall([told], fallen, WORDING), name


@settings(max_examples=50)
@given(window(months=14))
def test_a_fall_is_told_as_a_slow_computation_has_it(statements: pl.DataFrame) -> None:
    fell = income_fell(evidence_of(statements, drawn_reference(0)), WORDING)
    facts = facts_of(statements.to_dicts())
    for language in ("en", "zh"):
        expected = income_fall(facts, language)
        assert fell is None if not expected else getattr(fell, language) in expected


@pytest.mark.parametrize(
    ("name", "value"),
    [("credit_inquiries_3", 3.0), ("income_change_12", 0.4), ("total_debt_to_income", None)],
)
def test_no_other_reason_tells_it(name: str, value: float | None) -> None:
    """It is told already, or the sentence is not about the income."""
    reasons = (reason_about(name, value=value),)
    assert tell_income_fall(reasons, fell_in(2), WORDING) == reasons


def decided(bundle: Bundle) -> Iterator[tuple[Decision, Facts]]:
    """The golden accounts that the model cuts or proposes to cut."""
    result = stages(pl.read_parquet(STATEMENTS), bundle, DECIDED_AT)
    windows = result.statements.partition_by("account_id", as_dict=True)
    for decision, outcome in zip(result.decisions, result.outcomes, strict=True):
        if outcome.by_model and decision.notice is not None:
            yield decision, facts_of(windows[decision.account_id,].to_dicts())


def untold(bundle: Bundle) -> list[str]:
    """The accounts whose notice does not tell a fall, or tells it twice."""
    fallen = [(decision, facts) for decision, facts in decided(bundle) if income_fall(facts, "en")]
    silent = []
    for decision, _ in each(fallen):
        assert decision.notice is not None
        text = decision.notice.text
        english, chinese = text.en.count("income fell:"), text.zh.count("月收入下降：")
        if (english, chinese) != (1, 1):
            silent.append(decision.account_id)
    return silent


def test_every_fall_is_told_once() -> None:
    bundle = cut_more(read(GOLDEN))
    current = replace(bundle, wording=WORDING)
    assert untold(current) == []
    # The control: without the sentence some are silent.
    assert untold(replace(current, wording=replace(WORDING, income_fall=None)))


def test_a_fall_that_is_no_reason_is_told_by_what_it_did() -> None:
    """It counted less than every reason, or it did not count against the customer."""
    bundle = replace(cut_more(read(GOLDEN)), wording=WORDING)
    result = stages(pl.read_parquet(STATEMENTS), bundle, DECIDED_AT)
    counted = {"also_counted": 0, "also_known": 0}
    for decision, evidence in zip(result.decisions, result.evidence, strict=True):
        paragraphs = "" if decision.notice is None else decision.notice.text.en
        for part in counted:
            head = WORDING.notice[part].en.split("{")[0]
            told = [line for line in paragraphs.split("\n") if line.startswith(head)]
            if not told or "income fell:" not in told[0]:
                continue
            counted[part] += 1
            capacity = sums_of(evidence.contributions)["capacity"]
            stated = [r.contribution for r in decision.reasons if r.contribution is not None]
            assert (capacity > 0) == (part == "also_counted")
            assert all(capacity < contribution for contribution in stated)
    assert counted["also_counted"] > 0


@pytest.mark.parametrize(
    ("income", "change", "limit", "expected"),
    [
        (0.1, -0.05, 0.0, True),
        (-0.05, 0.1, 0.0, True),
        # In the customer's favour on balance, or not by the income at all.
        (0.1, -0.2, 0.0, False),
        (-0.1, -0.1, 0.5, False),
    ],
)
def test_a_fact_counted_if_it_and_its_group_pushed(
    income: float, change: float, limit: float, expected: bool
) -> None:
    contributions = {"income": income, "income_change_12": change, "established_limit": limit}
    evidence = replace(fell_in(2), contributions=contributions)
    assert pushed(("income", "income_change_12"), evidence) == expected


def test_a_misspelt_feature_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"income_fall\] beside: expected features of the model"):
        read_wording(REASONS.replace('    "income",\n', '    "incme",\n'))
