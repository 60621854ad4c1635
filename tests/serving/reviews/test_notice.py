"""The notice of a review's outcome: a lower limit is told before it takes effect."""

from __future__ import annotations

import datetime

from hypothesis import given
from hypothesis import strategies as st

from serving.decision.config.reasons import Text
from serving.decision.notice import LANGUAGES
from serving.decision.reasons.wording import day
from serving.reviews.notice import ReviewDecision, outcome_notice
from serving.schemas.review import Asker
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
