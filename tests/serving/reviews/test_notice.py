"""The notice of a review's outcome: a lower limit is told before it takes effect."""

from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.decision.config.reasons import Text
from serving.decision.notice import LANGUAGES
from serving.decision.reasons.wording import day
from serving.reviews.notice import Announced, ReviewDecision, Use, UseAfter, outcome_notice
from serving.schemas.base import parse
from serving.schemas.review import Asker, ResolutionRequest, ReviewOutcome, WordsInBoth
from serving.web.errors import ApiError
from tests.support.policies import POLICY

DECIDED_ON = datetime.date(2026, 11, 7)
ACCOUNT = Text("cash loan account ending in 0042", "借款账户（尾号0042）")
days = st.dates(DECIDED_ON, datetime.date(2030, 12, 31))


@given(days, st.integers(1, 20_000))
def test_a_lower_limit_is_told_before_it_takes_effect(
    answered_on: datetime.date, limit: int
) -> None:
    decision = ReviewDecision(ACCOUNT, "policy", "amend", 20_000.0 + 1, float(limit), "So it is.")
    notice = outcome_notice(decision, DECIDED_ON, answered_on, POLICY)
    assert notice["kind"] == "adverse_action"
    send_by = datetime.date.fromisoformat(notice["send_by"])
    effective_on = datetime.date.fromisoformat(notice["effective_on"])
    assert answered_on <= send_by < effective_on
    for language in LANGUAGES:
        assert day(effective_on, language) in notice["text"][language]
        assert getattr(ACCOUNT, language) in notice["text"][language]


@given(days, st.floats(0, 1e6))
def test_an_outcome_that_takes_nothing_has_no_day_of_effect(
    answered_on: datetime.date, more: float
) -> None:
    decision = ReviewDecision(ACCOUNT, "customer", "amend", 3_500.0, 3_500.0 + more, "So it is.")
    notice = outcome_notice(decision, DECIDED_ON, answered_on, POLICY)
    assert (notice["kind"], notice["effective_on"]) == ("review_outcome", None)
    assert notice["send_by"] == (answered_on + datetime.timedelta(days=30)).isoformat()


def openings(asked_by: Asker) -> list[str]:
    decision = ReviewDecision(ACCOUNT, asked_by, "overturn", 3500.0, 21500.0, "Proven.")
    text = outcome_notice(decision, DECIDED_ON, datetime.date(2026, 12, 7), POLICY)["text"]
    return [text["en"].split("\n")[0], text["zh"].split("\n")[0]]


def test_the_notice_claims_nothing_about_the_day_when_an_earlier_notice_was_sent() -> None:
    """The day is that of the decision; its notice may be sent later."""
    assert openings("policy") == [
        "On 7 November 2026 the decision on the credit limit of your cash loan account ending in "
        "0042 was referred to a person. The person has decided.",
        "您的借款账户（尾号0042）的信用额度于2026年11月7日转由专人审核，审核已完成。",
    ]


def test_the_notice_says_that_a_person_has_looked_again() -> None:
    assert openings("customer") == [
        "You asked for a person to look again at the decision of 7 November 2026 on the credit "
        "limit of your cash loan account ending in 0042. A person has done so.",
        "您曾要求人工复核2026年11月7日关于您的借款账户（尾号0042）信用额度的决定，复核已完成。",
    ]


TODAY = datetime.date(2026, 11, 28)
FIRST_DAY = datetime.date(2026, 12, 1)
BEFORE, ANNOUNCED = 22_500.0, 15_700.0
# Of an answer before the announced cut takes effect: the sentence in both languages.
BEFORE_EFFECT: list[tuple[ReviewOutcome, float, str, str]] = [
    (
        "uphold",
        ANNOUNCED,
        "As decided, your credit limit will be CNY 15,700 from 1 December 2026. "
        "Until then it is CNY 22,500.",
        "按原决定，您的信用额度自2026年12月1日起为15,700元，在此之前为22,500元。",
    ),
    (
        "amend",
        20_000.0,
        "Your credit limit will be CNY 20,000 instead of CNY 15,700 from 1 December 2026. "
        "Until then it is CNY 22,500.",
        "您的信用额度自2026年12月1日起由原定的15,700元改为20,000元，在此之前为22,500元。",
    ),
    (
        "amend",
        BEFORE,
        "Your credit limit stays at CNY 22,500. "
        "It is not lowered to CNY 15,700 on 1 December 2026.",
        "您的信用额度维持22,500元，不再于2026年12月1日下调至15,700元。",
    ),
    (
        "overturn",
        BEFORE,
        "The decision is withdrawn: your credit limit stays at CNY 22,500.",
        "原决定已撤销，您的信用额度维持22,500元。",
    ),
    (
        "amend",
        25_000.0,
        "Your credit limit is raised from CNY 22,500 to CNY 25,000.",
        "您的信用额度由22,500元上调至25,000元。",
    ),
]


@pytest.mark.parametrize(("outcome", "limit", "en", "zh"), BEFORE_EFFECT)
def test_an_answer_before_the_cut_takes_effect_speaks_of_the_limit_of_the_day(
    outcome: ReviewOutcome, limit: float, en: str, zh: str
) -> None:
    decision = ReviewDecision(
        ACCOUNT, "customer", outcome, BEFORE, limit, "Proven.", Announced(ANNOUNCED, FIRST_DAY)
    )
    notice = outcome_notice(decision, TODAY, TODAY, POLICY)
    assert notice["kind"] == "review_outcome"
    is_lower = limit < BEFORE
    assert notice["effective_on"] == (FIRST_DAY.isoformat() if is_lower else None)
    assert (notice["send_by"] < FIRST_DAY.isoformat()) == is_lower
    assert notice["text"]["en"].split("\n\n")[1] == en
    assert notice["text"]["zh"].split("\n\n")[1] == zh


def test_an_answer_below_the_announced_limit_is_a_cut_of_its_own() -> None:
    announced = Announced(20_000.0, FIRST_DAY)
    decision = ReviewDecision(ACCOUNT, "customer", "amend", BEFORE, ANNOUNCED, "Proven.", announced)
    answered_on = TODAY + datetime.timedelta(days=1)
    notice = outcome_notice(decision, TODAY, answered_on, POLICY)
    assert (notice["kind"], notice["effective_on"]) == ("adverse_action", "2026-12-02")
    assert notice["text"]["en"].split("\n\n")[1] == (
        "Your credit limit is lowered from CNY 22,500 to CNY 15,700. "
        "The new limit applies from 2 December 2026."
    )


WITHDRAWALS = Text("new cash withdrawals", "新增提现")
OF_USE: list[tuple[UseAfter, str, str]] = [
    (
        "stopped",
        "The decision to stop new cash withdrawals stands.",
        "暂停新增提现的决定维持不变。",
    ),
    (
        "stop_withdrawn",
        "The decision to stop new cash withdrawals is withdrawn.",
        "暂停新增提现的决定已撤销。",
    ),
    (
        "allowed",
        "Within that limit, you can still use the account for new cash withdrawals.",
        "在上述额度内，您仍可新增提现。",
    ),
]


@pytest.mark.parametrize(("after", "en", "zh"), OF_USE)
def test_the_notice_says_whether_drawings_are_stopped(after: UseAfter, en: str, zh: str) -> None:
    """The limit of a suspension may stay the same: only this tells an overturned one from one
    that was upheld."""
    use = Use(after, WITHDRAWALS)
    decision = ReviewDecision(ACCOUNT, "customer", "overturn", BEFORE, BEFORE, "Proven.", None, use)
    text = outcome_notice(decision, TODAY, TODAY, POLICY)["text"]
    assert text["en"].split("\n\n")[1] == f"Your credit limit stays at CNY 22,500. {en}"
    assert text["zh"].split("\n\n")[1] == f"您的信用额度维持22,500元。{zh}"


def test_reasons_are_in_the_language_of_the_letter() -> None:
    reasons = WordsInBoth(en="The income was proven.", zh="收入已核实。")
    decision = ReviewDecision(ACCOUNT, "customer", "overturn", 3500.0, 21500.0, reasons)
    text = outcome_notice(decision, DECIDED_ON, TODAY, POLICY)["text"]
    assert "The reasons: The income was proven." in text["en"].split("\n\n")
    assert "理由：收入已核实。" in text["zh"].split("\n\n")
    assert "proven" not in text["zh"]


@pytest.mark.parametrize(
    ("reasons", "path"),
    [
        ({"en": "Proven.", "zh": " "}, "$.reasons.zh"),
        ({"en": "Proven."}, "$.reasons.zh"),
        ({"en": "Proven.", "zh": "x", "fr": "x"}, "$.reasons.fr"),
        (" ", "$.reasons"),
        (1, "$.reasons"),
    ],
)
def test_wrong_reasons_are_refused_with_their_path(reasons: object, path: str) -> None:
    body = {"reviewer": "Li Na", "outcome": "overturn", "reasons": reasons}
    with pytest.raises(ApiError) as refused:
        parse(ResolutionRequest, json.dumps(body).encode())
    assert [fault.path for fault in refused.value.problem.errors] == [path]
