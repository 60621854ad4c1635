"""The days of a decision: a notice is due while it still helps the customer."""

from __future__ import annotations

import dataclasses
import datetime

from hypothesis import given
from hypothesis import strategies as st

from serving.decision.config.policy import Dates, Policy
from serving.decision.policy.dates import (
    cut_notice_due_date,
    effective_date,
    hearing_notice_due_date,
    notice_due_date,
    review_due_date,
)
from tests.support.policies import POLICY

days = st.dates(datetime.date(2020, 1, 1), datetime.date(2030, 12, 31))
periods = st.integers(0, 60)
# The reader of policy.toml refuses a notice of the hearing that is not due before the decision.
hearings = st.integers(1, 60).flatmap(
    lambda decide: st.tuples(st.integers(0, decide - 1), st.just(decide))
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    hearing, decide = draw(hearings)
    dates = Dates(
        utc_offset_hours=8.0,
        effective_after_days=float(draw(periods)),
        review_after_months=3.0,
        decide_within_days=float(decide),
        notice_within_days=float(draw(periods)),
        hearing_notice_within_days=float(hearing),
    )
    return dataclasses.replace(POLICY, dates=dates)


@given(days, policies())
def test_a_cut_is_told_before_it_takes_effect(today: datetime.date, policy: Policy) -> None:
    effective_on, send_by = effective_date(today, policy), cut_notice_due_date(today, policy)
    assert today <= send_by <= effective_on
    assert send_by < effective_on or effective_on == today
    assert send_by <= notice_due_date(today, policy)


@given(days, policies())
def test_under_review_there_is_a_day_to_be_heard(today: datetime.date, policy: Policy) -> None:
    send_by = hearing_notice_due_date(today, policy)
    assert today <= send_by < review_due_date(today, policy)


@given(days)
def test_the_projects_policy_leaves_days_and_not_hours(today: datetime.date) -> None:
    assert (effective_date(today, POLICY) - cut_notice_due_date(today, POLICY)).days == 1
    heard = review_due_date(today, POLICY) - hearing_notice_due_date(today, POLICY)
    assert heard.days == 4
    # The control: in the period that Regulation B allows, the hearing would be over.
    assert notice_due_date(today, POLICY) > review_due_date(today, POLICY)
