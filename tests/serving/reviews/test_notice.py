"""The notice of a review's outcome."""

from __future__ import annotations

import datetime

from serving.reviews.notice import ReviewDecision, outcome_notice
from serving.schemas.review import Asker

DECIDED_ON = datetime.date(2026, 11, 7)


def openings(asked_by: Asker) -> list[str]:
    decision = ReviewDecision(asked_by, "overturn", 3500.0, 21500.0, "Proven.")
    text = outcome_notice(decision, DECIDED_ON, datetime.date(2026, 12, 7))["text"]
    return [text["en"].split("\n")[0], text["zh"].split("\n")[0]]


def test_the_notice_claims_nothing_about_the_day_when_an_earlier_notice_was_sent() -> None:
    """The day is that of the decision; its notice may be sent weeks later."""
    assert openings("policy") == [
        "On 7 November 2026 the decision on your credit limit was referred to a person. "
        "The person has decided.",
        "您的信用额度于2026年11月7日转由专人审核，审核已完成。",
    ]


def test_the_notice_says_that_a_person_has_reconsidered() -> None:
    assert openings("customer") == [
        "You asked for a person to reconsider the decision of 7 November 2026 "
        "on your credit limit. A person has reconsidered it.",
        "您曾要求人工复核2026年11月7日关于您信用额度的决定，复核已完成。",
    ]
