from __future__ import annotations

import dataclasses
import datetime
import json
import re
from importlib.resources import files
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from serving.decision.bundle import Bundle
from serving.decision.config.reasons import Language, Text, read_wording
from serving.decision.config.strict_toml import ConfigError
from serving.decision.notice import (
    LANGUAGES,
    AlsoKnown,
    Notice,
    Subject,
    make_notice,
    name_account,
)
from serving.decision.pipeline import decide_many
from serving.decision.policy.outcome import Outcome, apply, refer_to_reviewer
from serving.decision.reasons.ranking import Reason
from serving.decision.reasons.wording import day, number
from serving.schemas import examples
from tests.support.each import each
from tests.support.policies import DECIDED_AT, LATE, POLICY, make_account
from tests.support.reading_level import grade

TEXT = files("serving.decision.config").joinpath("reasons.toml").read_text("utf-8")
WORDING = read_wording(TEXT)
WHEN = DECIDED_AT
TODAY = datetime.date(2026, 10, 5)
LIMIT = 20_000.0
COMPARISON = Text("The comparison accounts are these.", "对比账户为这些账户。")
REASON = Text("You paid late in 3 of the last 6 months.", "近6个月中有3个月逾期还款。")


def outcome(
    probability: float, limit: float = LIMIT, balance: float = 4_000.0, **features: float
) -> Outcome:
    return apply(make_account(probability, limit, balance, **features), POLICY, WHEN)


def reasons(*texts: Text) -> tuple[Reason, ...]:
    return tuple(
        Reason(rank, "repayment", "behavior", 0.5, 1.0, rank == 1, text, ())
        for rank, text in enumerate(texts, 1)
    )


def subject(*texts: Text, limit: float = LIMIT) -> Subject:
    return Subject("card-0042", "cash_loan", limit, limit, reasons(*texts), COMPARISON)


def make(
    changed: Outcome, *texts: Text, limit: float = LIMIT, at: datetime.datetime = WHEN
) -> Notice:
    notice = make_notice(changed, subject(*texts, limit=limit), WORDING, POLICY, at)
    assert notice is not None
    return notice


def text_of(notice: Notice, language: Language) -> str:
    return str(getattr(notice.text, language))


REDUCED, SUSPENDED, KEPT = outcome(0.3), outcome(0.9, **LATE), outcome(0.01)
# A person is asked to confirm a cut, to stop new purchases and cash, or to change nothing.
CONFIRMED = outcome(0.3, months_observed=2.0)
STOPPED = outcome(0.9, months_observed=2.0)
REFERRED = dataclasses.replace(KEPT, action="review", proposed_limit=LIMIT, review_on=TODAY)
OUTCOMES = {
    "reduce": REDUCED,
    "suspend": SUSPENDED,
    "confirm": CONFIRMED,
    "stop": STOPPED,
    "nothing": REFERRED,
}

words = st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=1)
texts = st.lists(st.builds(Text, words, words), min_size=1, max_size=4)
limits = st.sampled_from([1_000.0, 12_345.0, 60_000.0, 400_000.0])


@st.composite
def objected(draw: st.DrawFn) -> tuple[Outcome, float]:
    """An outcome other than ``keep``, and the limit before it."""
    probability, limit, share = (
        draw(st.floats(0.001, 0.999)),
        draw(limits),
        draw(st.floats(-0.1, 1.2)),
    )
    changed = outcome(
        probability, limit, share * limit, months_observed=draw(st.sampled_from([1.0, 24.0]))
    )
    assume(changed.action != "keep")
    return changed, limit


def test_the_outcomes_are_of_every_kind() -> None:
    assert [changed.action for changed in OUTCOMES.values()] == [
        "reduce",
        "suspend",
        "review",
        "review",
        "review",
    ]
    assert (CONFIRMED.suspends, STOPPED.suspends) == (False, True)


@given(st.sampled_from(sorted(OUTCOMES)), texts)
def test_the_reasons_are_numbered_in_their_own_words(name: str, worded: list[Text]) -> None:
    notice = make(OUTCOMES[name], *worded)
    for language in LANGUAGES:
        _, first, *further, _ = text_of(notice, language).split("\n\n")
        lines = [line for paragraph in (first, *further) for line in paragraph.split("\n")[1:]]
        assert lines == [
            f"{rank}. {getattr(text, language)}" for rank, text in enumerate(worded, 1)
        ]
        assert len(further) == (len(worded) > 1)
        assert first.split("\n")[0] == ONE[language]
        headings = [paragraph.split("\n")[0] for paragraph in further]
        assert set(headings) <= {FURTHER[language] if len(worded) > 2 else OTHER[language]}


MAIN = {"en": "Main reasons:", "zh": "主要原因："}
ONE = {"en": "Main reason:", "zh": "主要原因："}
FURTHER = {"en": "Further reasons:", "zh": "其他原因："}
OTHER = {"en": "Further reason:", "zh": "其他原因："}


def test_equal_reasons_are_main_reasons_together() -> None:
    equals = tuple(dataclasses.replace(reason, leader=True) for reason in reasons(REASON, REASON))
    last = dataclasses.replace(equals[0], rank=3, leader=False)
    about = dataclasses.replace(subject(), reasons=(*equals, last))
    notice = make_notice(REDUCED, about, WORDING, POLICY, WHEN)
    assert notice is not None
    _, main, further, _ = notice.text.en.split("\n\n")
    assert [line[:2] for line in main.split("\n")] == ["Ma", "1.", "2."]
    assert [line[:2] for line in further.split("\n")] == ["Fu", "3."]


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_notice_names_product_and_account(name: str) -> None:
    """Many customers have both products."""
    notice = make(OUTCOMES[name], REASON)
    assert "your cash loan account ending in 0042" in notice.text.en
    assert "您的借款账户（尾号0042）" in notice.text.zh
    assert "card-0042" not in notice.text.en + notice.text.zh


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_notice_speaks_of_what_the_product_has(name: str) -> None:
    """A cash loan has no purchases."""
    assert "purchase" not in make(OUTCOMES[name], REASON).text.en
    assert "消费" not in make(OUTCOMES[name], REASON).text.zh
    about = dataclasses.replace(subject(REASON), product="pay_later")
    notice = make_notice(OUTCOMES[name], about, WORDING, POLICY, WHEN)
    assert notice is not None
    stops = OUTCOMES[name].suspends or OUTCOMES[name].action == "suspend"
    assert ("new purchases and cash withdrawals" in notice.text.en) == stops
    assert ("新增消费和提现" in notice.text.zh) == stops


def test_a_referral_says_of_no_change_that_it_is_of_the_limit() -> None:
    """What is proposed may be a suspension that leaves the limit as it is."""
    proposed = dataclasses.replace(STOPPED, proposed_limit=LIMIT)
    for changed in (CONFIRMED, proposed, REFERRED):
        notice = make(changed, REASON)
        opening = "A person will decide about your cash loan account ending in 0042 by "
        assert notice.text.en.startswith(opening)
        assert "对您的借款账户（尾号0042）作出决定。" in notice.text.zh
        assert "whether the credit limit" not in notice.text.en


def test_a_short_account_id_is_named_whole() -> None:
    assert name_account("7", "pay_later", WORDING).en == "pay-later account ending in 7"


def test_a_notice_explains_the_comparison_accounts_if_it_speaks_of_them() -> None:
    speaks = Text("Half of the comparison accounts owe less.", "对比账户中有一半较少。")
    for language in LANGUAGES:
        explained = getattr(COMPARISON, language)
        assert explained in text_of(make(REDUCED, REASON, speaks), language).split("\n\n")
        assert explained not in text_of(make(REDUCED, REASON), language)


def test_a_limit_that_does_not_change_is_not_stated_twice() -> None:
    full = dataclasses.replace(SUSPENDED, new_limit=LIMIT)
    opening = make(full, REASON).text
    assert opening.en.split("\n\n")[0].count("CNY 20,000") == 1
    assert opening.zh.split("\n\n")[0].count("20,000元") == 1
    assert "credit limit stays at CNY 20,000." in opening.en
    proposed = dataclasses.replace(STOPPED, proposed_limit=LIMIT)
    assert "proposed to stop new cash withdrawals.\n" in make(proposed, REASON).text.en
    # The control: the limit that changes is stated.
    assert "credit limit is CNY 4,200 instead of CNY 20,000." in make(SUSPENDED, REASON).text.en


@given(objected())
def test_every_placeholder_is_filled_and_every_number_is_an_amount_or_a_date(
    case: tuple[Outcome, float],
) -> None:
    """So a notice never contains a probability or a score."""
    changed, limit = case
    notice = make(changed, REASON, limit=limit)
    dates = [date for date in (TODAY, changed.effective_on, changed.review_on) if date is not None]
    amounts = [
        amount
        for amount in (limit, changed.new_limit, changed.proposed_limit)
        if amount is not None
    ]
    for language in LANGUAGES:
        text = text_of(notice, language).replace(f"1. {getattr(REASON, language)}", "")
        assert not set("{}%") & set(text)
        known = " ".join(
            [
                "0042",  # of the account
                *(day(date, language) for date in dates),
                *(number(x, "CNY", language) for x in amounts),
            ]
        )
        assert set(re.findall(r"[\d.,]*\d", text)) <= set(re.findall(r"[\d.,]*\d", known))


@given(objected())
def test_a_notice_has_all_amounts_and_dates_in_both_languages(case: tuple[Outcome, float]) -> None:
    changed, limit = case
    notice = make(changed, REASON, limit=limit)
    after = changed.new_limit if changed.proposed_limit is None else changed.proposed_limit
    for language in LANGUAGES:
        text = text_of(notice, language)
        if changed.action != "suspend" or after != limit:
            assert number(limit, "CNY", language) in text
            assert number(after, "CNY", language) in text
        dates = (changed.effective_on, changed.review_on)
        assert all(day(date, language) in text for date in dates if date is not None)
        person, free, correct = {
            "en": ("a person", "free of charge", "corrected"),
            "zh": ("工作人员", "免费", "更正"),
        }[language]
        assert person in text
        assert free in text
        assert correct in text


moments = st.datetimes(datetime.datetime(2020, 1, 1), datetime.datetime(2030, 1, 1))
zones = st.integers(-12, 14).map(lambda hours: datetime.timezone(datetime.timedelta(hours=hours)))


@given(moments, zones, st.sampled_from(sorted(OUTCOMES)))
def test_the_notice_is_due_while_it_helps_the_customer(
    naive: datetime.datetime, zone: datetime.timezone, name: str
) -> None:
    """A cut is told before it takes effect, a hearing before a person decides."""
    at = naive.replace(tzinfo=zone)
    local = at.astimezone(datetime.timezone(datetime.timedelta(hours=8))).date()
    changed = OUTCOMES[name]
    account = make_account(0.3 if name in ("reduce", "confirm") else 0.9, **LATE)
    moved = (
        apply(account, POLICY, at)
        if changed.action != "review"
        else refer_to_reviewer(changed, (), account, POLICY, at)
    )
    notice = make(moved, REASON, at=at)
    last_day = moved.effective_on or moved.review_on
    assert last_day is not None
    assert local <= notice.send_by < last_day
    assert day(last_day, "en") in notice.text.en


def test_the_day_begins_at_the_lenders_midnight() -> None:
    before = datetime.datetime(2026, 12, 31, 15, 59, 59, 999999, tzinfo=datetime.UTC)
    after = before + datetime.timedelta(microseconds=1)
    assert make(REDUCED, REASON, at=before).send_by == datetime.date(2027, 1, 2)
    assert make(REDUCED, REASON, at=after).send_by == datetime.date(2027, 1, 3)
    dates = dataclasses.replace(
        POLICY.dates, utc_offset_hours=0.0, effective_after_days=20.0, notice_within_days=7.0
    )
    west = dataclasses.replace(POLICY, dates=dates)
    notice = make_notice(REDUCED, subject(REASON), WORDING, west, after)
    assert notice is not None
    assert notice.send_by == datetime.date(2027, 1, 7)
    with pytest.raises(ValueError, match="without one"):
        make(REDUCED, REASON, at=after.replace(tzinfo=None))


def test_an_account_that_keeps_its_limit_gets_no_notice() -> None:
    assert make_notice(KEPT, subject(), WORDING, POLICY, WHEN) is None


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_decision_is_adverse_and_a_review_is_not_yet(name: str) -> None:
    notice = make(OUTCOMES[name], REASON)
    reviewed = OUTCOMES[name].action == "review"
    assert notice.kind == ("under_review" if reviewed else "adverse_action")
    assert (
        ("Nothing changes yet" in notice.text.en)
        == ("目前不作任何变更" in notice.text.zh)
        == reviewed
    )
    assert (
        ("automated means alone" in notice.text.en)
        == ("仅由系统自动作出" in notice.text.zh)
        == (not reviewed)
    )


def test_a_notice_of_a_review_contains_the_proposal() -> None:
    assert CONFIRMED.proposed_limit is not None
    assert (
        f"proposed to lower the credit limit to {number(CONFIRMED.proposed_limit, 'CNY', 'en')}."
        in make(CONFIRMED, REASON).text.en
    )
    assert (
        "proposed to stop new cash withdrawals and to set the credit limit to CNY 4,200."
        in make(STOPPED, REASON).text.en
    )
    assert (
        "系统于2026年10月5日建议暂停新增提现，并将信用额度设为4,200元。"
        in make(STOPPED, REASON).text.zh
    )
    assert "proposed no change." in make(REFERRED, REASON).text.en


def test_a_notice_says_where_an_account_is_close_to_the_line() -> None:
    near = dataclasses.replace(CONFIRMED, review_because=("near_cut_off",))
    assert CONFIRMED.proposed_limit is not None
    proposed = number(CONFIRMED.proposed_limit, "CNY", "en")
    assert f"{proposed}. The account is close to the line at which" in make(near, REASON).text.en
    assert "该账户接近下调额度的界限" in make(near, REASON).text.zh
    other = dataclasses.replace(CONFIRMED, review_because=("stale_data",))
    assert "close to the line" not in make(other, REASON).text.en


def test_without_reasons_there_is_no_heading() -> None:
    notice = make(REFERRED)
    for language in LANGUAGES:
        assert text_of(notice, language).count("\n\n") == 1
        assert text_of(notice, language).count("\n") == 2
        assert getattr(WORDING.notice["reasons"], language).split("\n")[0] not in text_of(
            notice, language
        )


def test_the_notice_of_a_reduction_in_full() -> None:
    assert make(
        dataclasses.replace(REDUCED, new_limit=5_500.0), REASON, Text("Second.", "其二。")
    ).text == Text(
        "On 5 October 2026 we decided to lower the credit limit of your cash loan account "
        "ending in 0042 from CNY 20,000 to CNY 5,500. "
        "The new limit applies from 8 October 2026. We will look at it again on 5 January 2027.\n\n"
        "Main reason:\n1. You paid late in 3 of the last 6 months.\n\n"
        "Further reason:\n2. Second.\n\n"
        "This decision was made by automated means alone. "
        "You have the right to refuse a decision made in that way. "
        "If you ask, a person will look at it again, free of charge, and explain it to you. "
        "If anything above or in our data about you is wrong or not complete, "
        "you may have it corrected or completed. "
        "Advice on how to get back what you had, where there is any, is given separately.",
        "我们于2026年10月5日决定，将您的借款账户（尾号0042）的信用额度由20,000元下调至5,500元，自2026年10月8日起生效。"
        "我们将于2027年1月5日重新评估该额度。\n\n"
        "主要原因：\n1. 近6个月中有3个月逾期还款。\n\n其他原因：\n2. 其二。\n\n"
        "本决定仅由系统自动作出。您有权拒绝我们仅以自动化决策方式作出的决定："
        "经您申请，我们将免费安排工作人员重新审核，并向您说明理由。"
        "如上述内容或我们持有的您的信息有误或不完整，您可要求更正、补充。"
        "如有恢复额度或恢复使用的建议，将另行提供。",
    )


def test_every_decision_has_the_notice_of_its_own(windows: pl.DataFrame, bundle: Bundle) -> None:
    decisions = decide_many(windows, bundle, WHEN)
    assert {d.notice.kind for d in decisions if d.notice} == {"adverse_action", "under_review"}
    for d in decisions:
        assert (d.notice is None) == (d.action == "keep")
        if d.notice is None:
            continue
        last_day = d.effective_on or d.review_on
        assert last_day is not None
        assert d.notice.send_by < last_day
        assert (d.notice.kind == "under_review") == (d.action == "review")
        for language in LANGUAGES:
            lines = text_of(d.notice, language).split("\n")
            assert all(
                f"{reason.rank}. {getattr(reason.text, language)}" in lines for reason in d.reasons
            )
            is_full = d.action == "suspend" and d.new_limit == d.credit_limit
            assert is_full or number(d.credit_limit, "CNY", language) in lines[0]
            assert d.account_id[-4:] in lines[0]
            assert "{" not in text_of(d.notice, language)


# What comes back, and what does not yet


def returned(**changed: Any) -> Outcome:
    """A limit of CNY 5,000 that is decided on again, after a cut from CNY 20,000."""
    again = dataclasses.replace(
        KEPT,
        action="restore",
        new_limit=12_500.0,
        effective_on=TODAY,
        review_on=datetime.date(2027, 1, 5),
    )
    return dataclasses.replace(again, **changed)


ALL = {"new_limit": LIMIT, "review_on": None}
UNCHANGED = {"new_limit": 5_000.0}
LOOKED: dict[str, Any] = {"action": "keep", "effective_on": None, "looked": True} | UNCHANGED
RETURNS: dict[str, tuple[Outcome, str, str]] = {
    "a part": (
        returned(),
        "On 5 October 2026 we decided to raise the credit limit of your cash loan account ending "
        "in 0042 from CNY 5,000 to CNY 12,500. The new limit applies from 5 October 2026. Before "
        "we lowered it, the limit was CNY 20,000. A limit comes back in steps. The rest can follow "
        "when our estimate of the risk has fallen further. We will look at it again on 5 January "
        "2027.",
        "我们于2026年10月5日决定，将您的借款账户（尾号0042）的信用额度由5,000元上调至12,500元，"
        "自2026年10月5日起生效。下调前的额度为20,000元。"
        "额度分步恢复；待我们评估的风险进一步下降后，其余部分可继续恢复。"
        "我们将于2027年1月5日再次评估。",
    ),
    "all": (
        returned(**ALL),
        "On 5 October 2026 we decided to raise the credit limit of your cash loan account ending "
        "in 0042 from CNY 5,000 to CNY 20,000. The new limit applies from 5 October 2026. You now "
        "have the whole limit back that you had before we lowered it.",
        "我们于2026年10月5日决定，将您的借款账户（尾号0042）的信用额度由5,000元上调至20,000元，"
        "自2026年10月5日起生效。您的额度已全部恢复至下调前的水平。",
    ),
    "its use": (
        returned(lifts=True, **UNCHANGED),
        "On 5 October 2026 we decided that from 5 October 2026 you can use your cash loan account "
        "ending in 0042 for new cash withdrawals again. Its credit limit is CNY 5,000. Before we "
        "lowered it, the limit was CNY 20,000. A limit comes back in steps. The rest can follow "
        "when our estimate of the risk has fallen further. We will look at it again on 5 January "
        "2027.",
        "我们于2026年10月5日决定，自2026年10月5日起恢复您的借款账户（尾号0042）的新增提现，"
        "信用额度为5,000元。下调前的额度为20,000元。"
        "额度分步恢复；待我们评估的风险进一步下降后，其余部分可继续恢复。"
        "我们将于2027年1月5日再次评估。",
    ),
    "both": (
        returned(lifts=True, **ALL),
        "On 5 October 2026 we decided that from 5 October 2026 you can use your cash loan account "
        "ending in 0042 for new cash withdrawals again. From that day its credit limit is CNY "
        "20,000 instead of CNY 5,000. You now have the whole limit back that you had before we "
        "lowered it.",
        "我们于2026年10月5日决定，自2026年10月5日起恢复您的借款账户（尾号0042）的新增提现，"
        "信用额度同时由5,000元上调至20,000元。您的额度已全部恢复至下调前的水平。",
    ),
    "nothing": (
        returned(**LOOKED),
        "On 5 October 2026 we looked again at the credit limit of your cash loan account ending in "
        "0042. For now, it stays at CNY 5,000. Before we lowered it, the limit was CNY 20,000. We "
        "will look at it again on 5 January 2027.",
        "我们于2026年10月5日重新评估了您的借款账户（尾号0042）的信用额度，目前仍维持5,000元。"
        "下调前的额度为20,000元。我们将于2027年1月5日再次评估。",
    ),
    "no use": (
        returned(suspended=True, **LOOKED),
        "On 5 October 2026 we looked at your cash loan account ending in 0042 again. For now, it "
        "stays suspended: new cash withdrawals are not possible. Its credit limit stays at CNY "
        "5,000. You "
        "still have to pay what you owe. Before we lowered it, the limit was CNY 20,000. We will "
        "look at it again on 5 January 2027.",
        "我们于2026年10月5日重新评估了您的借款账户（尾号0042），目前仍暂停新增提现，"
        "信用额度仍为5,000元。暂停期间，您仍须归还已有欠款。下调前的额度为20,000元。"
        "我们将于2027年1月5日再次评估。",
    ),
}


def after_cut(*texts: Text) -> Subject:
    return dataclasses.replace(subject(*texts, limit=5_000.0), limit_before=LIMIT)


@pytest.mark.parametrize("name", RETURNS)
def test_what_comes_back_is_told_in_full(name: str) -> None:
    outcome, english, chinese = RETURNS[name]
    notice = make_notice(outcome, after_cut(), WORDING, POLICY, WHEN)
    assert notice is not None
    opening, *_, rights = zip(
        notice.text.en.split("\n\n"), notice.text.zh.split("\n\n"), strict=True
    )
    assert opening == (english, chinese)
    is_back = outcome.action == "restore"
    assert notice.kind == ("restored" if is_back else "still_reduced")
    own = WORDING.notice["rights_after_return" if is_back else "rights"]
    assert rights == (own.en, own.zh)
    assert notice.send_by == TODAY + datetime.timedelta(days=30)
    assert grade(notice.text.en) <= 8


def test_a_return_that_a_rule_holds_back_does_not_speak_of_steps() -> None:
    """Its reason says why not all of the limit is back, and the risk would not change that."""
    [hit] = outcome(0.01, idle_months=12.0).hits
    capped = make_notice(returned(hits=(hit,)), after_cut(REASON), WORDING, POLICY, WHEN)
    assert capped is not None
    assert "steps" not in capped.text.en
    assert "分步" not in capped.text.zh


def test_a_suspension_that_lowers_the_limit_says_why() -> None:
    why = WORDING.notice["why_less"]
    for lowers in each((SUSPENDED, STOPPED)):
        opening_en, opening_zh = (
            text_of(make(lowers, REASON), language).split("\n\n")[0] for language in LANGUAGES
        )
        assert opening_en.count(why.en) == 1
        assert opening_zh.count(why.zh) == 1
    # The controls: the limit stays, or falls for the reasons that are told.
    full = dataclasses.replace(SUSPENDED, new_limit=LIMIT)
    proposed = dataclasses.replace(STOPPED, proposed_limit=LIMIT)
    for other in each((full, proposed, REDUCED, CONFIRMED)):
        assert why.en not in make(other, REASON).text.en


def test_a_look_and_a_capped_return_say_why_there_is_no_more() -> None:
    look = make_notice(RETURNS["nothing"][0], after_cut(REASON), WORDING, POLICY, WHEN)
    capped = make_notice(returned(), after_cut(REASON), WORDING, POLICY, WHEN)
    assert look is not None
    assert capped is not None
    for notice in (look, capped):
        assert "\n\nWhy the limit is not higher:\n1. You paid late in 3" in notice.text.en
        assert "\n\n额度未能恢复至更高水平的原因：\n1. 近6个月中有3个月逾期还款。" in notice.text.zh


def test_a_suspension_that_goes_on_has_reasons_of_its_own_and_not_of_the_limit() -> None:
    """The control."""
    look = make_notice(RETURNS["no use"][0], after_cut(REASON), WORDING, POLICY, WHEN)
    assert look is not None
    assert "\n\nMain reason:\n1. You paid late in 3" in look.text.en
    assert "higher" not in look.text.en


@pytest.mark.parametrize(
    ("proposed", "text"),
    [
        ({"lifts": True}, "proposed to allow new cash withdrawals again."),
        ({"proposed_limit": 12_500.0}, "proposed to raise the credit limit to CNY 12,500."),
        (
            {"lifts": True, "proposed_limit": 12_500.0},
            "to allow new cash withdrawals again and to raise the credit limit to CNY 12,500.",
        ),
    ],
)
def test_a_return_that_a_person_is_to_confirm_is_proposed(
    proposed: dict[str, Any], text: str
) -> None:
    asked = {"action": "review", "proposed_limit": 5_000.0} | UNCHANGED | proposed
    notice = make_notice(returned(**asked), after_cut(), WORDING, POLICY, WHEN)
    assert notice is not None
    assert notice.kind == "under_review"
    assert text in notice.text.en


OVERDUE = Text("Please pay the overdue part as soon as you can.", "逾期部分请尽快还清。")


@pytest.mark.parametrize("name", sorted(OUTCOMES))
def test_an_overdue_account_is_told_to_pay_whatever_is_decided(name: str) -> None:
    about = dataclasses.replace(subject(REASON), overdue=True)
    notice = make_notice(OUTCOMES[name], about, WORDING, POLICY, WHEN)
    assert notice is not None
    for language in LANGUAGES:
        opening = text_of(notice, language).split("\n\n")[0]
        assert opening.endswith(getattr(OVERDUE, language))
        # The control: who is not overdue is not told so.
        assert getattr(OVERDUE, language) not in text_of(make(OUTCOMES[name], REASON), language)


def test_facts_that_counted_and_facts_that_did_not_have_words_of_their_own() -> None:
    facts = (AlsoKnown(Text("One.", "一。"), True), AlsoKnown(Text("Two.", "二。"), False))
    about = dataclasses.replace(subject(REASON), also_known=facts)
    notice = make_notice(REDUCED, about, WORDING, POLICY, WHEN)
    assert notice is not None
    english, chinese = (text_of(notice, language).split("\n\n") for language in LANGUAGES)
    assert english[2].endswith("It counted too, but less than the reasons above. One.")
    assert english[3].endswith("It is not one of the reasons. Two.")
    assert chinese[2].endswith("对结果也有影响，但小于上述原因。一。")
    assert chinese[3].endswith("但不属于上述原因。二。")


def test_a_file_without_the_newer_parts_is_read_and_used() -> None:
    """A bundle of this format that was fitted before they came."""
    parts = "reason|further_reason|also_counted|overdue|why_less|in_steps"
    older = read_wording(re.sub(rf"\[notice\.({parts})\](.|\n)*?(?=\n\[|\n#)", "", TEXT))
    facts = (AlsoKnown(REASON, True),)
    about = dataclasses.replace(subject(REASON, REASON), also_known=facts, overdue=True)
    notice = make_notice(REDUCED, about, older, POLICY, WHEN)
    assert notice is not None
    assert "Main reasons:\n1." in notice.text.en
    assert "Further reasons:\n2." in notice.text.en
    assert "overdue" not in notice.text.en
    for other in each((SUSPENDED, STOPPED, returned())):
        assert make_notice(other, after_cut(REASON), older, POLICY, WHEN) is not None


def test_a_plain_keep_before_the_next_look_has_no_notice() -> None:
    waiting = returned(**LOOKED | {"looked": False})
    assert make_notice(waiting, after_cut(), WORDING, POLICY, WHEN) is None


def test_the_example_has_the_notice_of_its_decision() -> None:
    notice, decided = examples.ANSWER["notice"], examples.ANSWER
    assert notice["send_by"] == "2026-11-12"
    assert notice["send_by"] < decided["effective_on"]
    for language in LANGUAGES:
        opening, *stated, rights = notice["text"][language].split("\n\n")
        numbered = [line for part in stated for line in part.split("\n") if line[:1].isdigit()]
        assert [line.split(". ", 1)[1] for line in numbered] == [
            r["text"][language] for r in decided["reasons"]
        ]
        assert rights == getattr(WORDING.notice["rights"], language)
        assert number(decided["new_limit"], "CNY", language) in opening
    assert str(decided["probability"]) not in json.dumps(notice)


@pytest.mark.parametrize("month", range(1, 13))
def test_a_date_reads_back(month: int) -> None:
    date = datetime.date(2026, month, 9)
    assert datetime.datetime.strptime(day(date, "en"), "%d %B %Y").date() == date
    assert day(date, "zh") == f"2026年{month}月9日"


BROKEN = [
    (
        "to {new_limit}. \\",
        "to {new_limt}. \\",
        r"notice.reduce\] en: expected the placeholders .*'new_limit'.*, got .*'new_limt'",
    ),
    (
        "，自{effective_on}起生效",
        "，即日起生效",
        r"notice.reduce\] zh: expected the placeholders .*'effective_on'.*, got",
    ),
    (
        "lower the credit limit to {proposed_limit}.",
        "lower it.",
        r"notice.propose_reduce\] en: expected the placeholders .*, got \['decided_on'\]",
    ),
    (
        "limit stays at {credit_limit}. {proposal}",
        "limit stays at {credit_limit:.2f}. {proposal}",
        r"notice.review\] en: expected placeholders as \{name\}",
    ),
    (
        "limit stays at {credit_limit}. {proposal}",
        "limit stays at {credit_limit. {proposal}",
        r"notice.review\] en: expected placeholders as \{name\}",
    ),
    (
        "You have the right",
        "At {probability}, you have the right",
        r"notice.rights\] en: expected the placeholders \[\], got \['probability'\]",
    ),
    (
        "主要原因：\n{reasons}",
        "主要原因见附件。",
        r"notice.reasons\] zh: expected the placeholders \['reasons'\], got \[\]",
    ),
    (
        'zh = "系统未建议作出调整。"',
        'zh = " "',
        "notice.propose_nothing\\] zh: expected a text, got ' '",
    ),
    (
        'zh = "系统未建议作出调整。"',
        "zh = 7",
        "notice.propose_nothing\\] zh: expected a text, got 7",
    ),
    ('zh = "系统未建议作出调整。"\n', "", r"notice.propose_nothing\]: missing key 'zh'"),
    (
        "\n[notice.suspend]\n",
        "\n[notice.suspended]\n",
        r"notice\]: missing key 'suspend'; is 'suspended' a misspelling of it",
    ),
    # The same for the sentences of reasons.
    (
        "in {value} of the last {last_3}",
        "in {value of the last {last_3}",
        "late_months_3\\] en: expected placeholders",
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "message"), BROKEN, ids=[f"{place}" for place in range(len(BROKEN))]
)
def test_a_broken_template_names_its_key(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=message):
        read_wording(TEXT.replace(old, new, 1))
