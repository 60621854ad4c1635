"""The cases in which a usual sentence would be false, or would say little."""

from __future__ import annotations

import datetime

import polars as pl
import pytest

from features.catalogue import MODEL_FEATURES
from features.schema import table
from serving.decision.config.reasons import Text
from tests.support.accounts import quiet_account
from tests.support.sentences import sentences_of

BEFORE_CUT = "For six months after a cut, we measure against the limit before it."
OF_SHARES = (
    "utilization_mean_3",
    "utilization_mean_6",
    "utilization_mean_12",
    "utilization_peak_12",
    "months_above_90_6",
    "months_above_90_12",
    "utilization_rise_6",
)


def said(changes: dict[int, dict[str, object]], months: int = 14) -> dict[str, Text]:
    """The sentences of a quiet account with changes in the months so many back from its last."""
    rows = quiet_account(months).to_dicts()
    for ago, own in changes.items():
        rows[-1 - ago] |= own
    reference: dict[str, list[float | None]] = {name: [0.0, 0.0] for name in MODEL_FEATURES}
    return sentences_of(table(rows), reference)


def cut_at(ago: int) -> dict[str, Text]:
    """The sentences of an account that is full, and whose limit was cut so many months back."""
    full: dict[str, object] = {"balance": 950.0}
    before = {month: full | {"credit_limit": 1900.0} for month in range(ago + 1, 14)}
    return said(dict.fromkeys(range(14), full) | before)


@pytest.mark.parametrize("feature", OF_SHARES[:4])
def test_a_share_of_an_earlier_limit_says_so(feature: str) -> None:
    # Six months back: of the last three months only the latest is measured by its own limit.
    text = cut_at(7)[feature]
    assert BEFORE_CUT in text.en
    assert "额度下调后的6个月内，按下调前的额度计算" in text.zh
    assert "your limit" in text.en
    assert "earlier limit" not in text.en


@pytest.mark.parametrize("feature", OF_SHARES)
def test_a_share_of_the_present_limit_does_not(feature: str) -> None:
    """The control: without a cut, and long after one, nothing is said of it."""
    full: dict[int, dict[str, object]] = {month: {"balance": 950.0} for month in range(14)}
    before: dict[int, dict[str, object]] = {month: {"balance": 100.0} for month in range(6, 14)}
    assert BEFORE_CUT not in said(full | before)[feature].en


def test_a_cut_before_the_months_of_the_sentence_does_not_count() -> None:
    long_ago = cut_at(9)
    assert BEFORE_CUT not in long_ago["utilization_mean_3"].en
    assert BEFORE_CUT in long_ago["utilization_mean_12"].en


def test_applications_of_one_month_are_not_spread_over_a_year() -> None:
    once = said({2: {"credit_inquiries": 6}})["credit_inquiries_12"]
    twice = said({2: {"credit_inquiries": 5}, 4: {"credit_inquiries": 1}})["credit_inquiries_12"]
    assert once.en.startswith(
        "You applied for credit with other lenders 6 times in the last 12 months, "
        "all in December 2024."
    )
    assert once.zh.startswith("近12个月，您向其他机构申请信贷6次，均在2024年12月。")
    assert "most recently in December 2024" in twice.en


@pytest.mark.parametrize(
    ("drawn", "feature", "words"),
    [
        (
            {1: 3000.0},
            "cash_to_income_6",
            "in one month, January 2025: CNY 3,000 (10% of your income",
        ),
        ({1: 300.0}, "cash_to_income_6", "drew cash in one month, January 2025: CNY 300."),
        ({1: 300.0, 3: 200.0}, "cash_to_income_6", "drew CNY 500 in cash, most recently in"),
        ({1: 1500.0, 3: 200.0}, "cash_to_income_6", "drew CNY 1,700 in cash (6% of your income"),
        ({1: 300.0}, "cash_to_limit_6", "in one month, January 2025: CNY 300 (30% of your limit)."),
        ({1: 30.0}, "cash_to_limit_6", "drew cash in one month, January 2025: CNY 30."),
    ],
)
def test_a_little_cash_has_no_percentage(drawn: dict[int, float], feature: str, words: str) -> None:
    sentences = said({ago: {"cash_advance": amount} for ago, amount in drawn.items()})
    assert words in sentences[feature].en


def test_months_without_a_bill_have_totals_and_no_average() -> None:
    bills: dict[int, dict[str, object]] = {
        0: {"payment": 1900.0},
        1: {"balance": 17000.0, "payment": 1900.0},
        2: {"balance": 18700.0, "payment": 0.0},
        3: {"balance": 0.0},
    }
    text = said(bills)["payment_to_balance_3"]
    assert text.en.startswith(
        "Your bills of the last 3 months before February 2025 came to CNY 35,700 in all. You paid "
        "CNY 3,800 of them (11%)."
    )
    assert text.zh.startswith("在2025年2月之前的3个月，您的账单合计35,700元，")
    assert "您共还款3,800元（11%）。" in text.zh
    bills[3] = {"balance": 300.0}
    text = said(bills)["payment_to_balance_3"]
    assert text.en.startswith(
        "Over the last 3 months before February 2025 your bills came to CNY 12,000 a month on"
    )
    # Both the bills and the payments are of a month.
    assert text.zh == (
        "在2025年2月之前的3个月，您的账单平均每月12,000元，您对这些账单的还款平均每月1,267元，为账单金额的11%。"
    )


def late(payment: float, due: float | None = 313.4, days: int = 30) -> Text:
    """What is said of a payment that is late, on a bill of CNY 3,134."""
    changes: dict[int, dict[str, object]] = {ago: {"minimum_due": due} for ago in range(14)}
    changes[0] |= {"days_past_due": days, "payment": payment}
    changes[1] |= {"balance": 3134.0}
    return said(changes)["days_past_due_now"]


def test_a_late_payment_says_what_was_not_paid() -> None:
    assert late(0.0) == Text(
        "As of your statement of February 2025, you are 30 days overdue. The minimum payment on "
        "your bill of January 2025 (CNY 3,134) was CNY 313, and you paid nothing.",
        "截至2025年2月账单，您已逾期30天：2025年1月账单3,134元，最低还款额为313元，您没有还款。",
    )


def test_a_payment_in_part_says_what_is_missing_and_of_which_bill() -> None:
    # 313.4 - 5.6 is 307.8, but a reader subtracts the numbers that are there.
    assert late(5.6) == Text(
        "As of your statement of February 2025, you are 30 days overdue. The minimum payment on "
        "your bill of January 2025 was CNY 313, and you paid CNY 6. CNY 307 is still unpaid.",
        "截至2025年2月账单，您已逾期30天：2025年1月账单的最低还款额为313元，您还款6元，尚差307元。",
    )


def test_a_payment_that_was_only_late_is_not_called_missing() -> None:
    """The control: all that was due was paid, or it is not known or not told apart from it."""
    plain = "Your statement of February 2025 shows a payment 7 days late."
    for text in (late(400.0, days=7), late(313.1, days=7), late(5.6, None, days=7)):
        assert text.en == plain


@pytest.mark.parametrize("months", [6, 12, 24])
def test_a_single_delay_is_not_called_the_longest(months: int) -> None:
    feature = f"worst_days_past_due_{months}"
    once = said({3: {"days_past_due": 30}}, 24)[feature]
    assert once == Text(
        "In September 2025 you were 30 days late with a payment.",
        "2025年9月，您的还款曾逾期30天。",
    )
    twice = said({3: {"days_past_due": 30}, 4: {"days_past_due": 8}}, 24)[feature]
    assert twice.en.endswith(f"with a payment, the longest delay of the last {months} months.")


def test_two_applications_are_twice_and_both() -> None:
    text = said({2: {"credit_inquiries": 2}})["credit_inquiries_12"]
    assert text.en.startswith(
        "You applied for credit with other lenders twice in the last 12 months, "
        "both in December 2024."
    )
    apart = said({2: {"credit_inquiries": 1}, 4: {"credit_inquiries": 1}})["credit_inquiries_12"]
    assert "twice in the last 12 months, most recently in December 2024." in apart.en


def test_an_income_of_an_earlier_statement_is_named_by_its_month() -> None:
    unknown: dict[int, dict[str, object]] = {ago: {"income": None} for ago in range(2)}
    changes = unknown | {0: {"income": None, "external_debt": 800.0, "spend": 900.0}}
    sentences = said(changes)
    for name in ("external_debt_to_income", "total_debt_to_income"):
        assert "The income is that of December 2024, the latest that we know." in sentences[name].en
        assert "月收入为我们最近获知的2024年12月收入" in sentences[name].zh
    for name in ("spend_to_income_3", "spend_to_income_12"):
        assert "For the months after December 2024 we took the income of that" in sentences[name].en
        assert "我们最近获知的收入为2024年12月的收入" in sentences[name].zh
    # The control: a gap before an income that is known again is filled without a word.
    gap = said({2: {"income": None}, 0: {"external_debt": 800.0}})
    assert "latest that we know" not in gap["total_debt_to_income"].en
    assert "latest that we know" not in gap["spend_to_income_3"].en


def test_a_debt_elsewhere_of_an_earlier_statement_is_named_by_its_month() -> None:
    sentences = said({0: {"external_debt": None}, 1: {"external_debt": 800.0}})
    assert "our latest data (January 2025)" in sentences["external_debt_to_income"].en
    assert (
        "The debt with other lenders is that of January 2025"
        in sentences["total_debt_to_income"].en
    )
    assert (
        "其中在其他机构的负债为我们最近获知的2025年1月数据" in sentences["total_debt_to_income"].zh
    )


def test_a_fall_of_the_income_names_both_its_months() -> None:
    poorer: dict[int, dict[str, object]] = {ago: {"income": 2150.0} for ago in range(4)}
    text = said(poorer | {0: {"income": None}})["income_change_12"]
    assert text == Text(
        "Your monthly income fell: it was CNY 5,000 in October 2024 and has been CNY 2,150 since "
        "November 2024. The latest income that we know is that of January 2025.",
        "您的月收入下降：2024年10月为5,000元，2024年11月起为2,150元。"
        "我们最近获知的收入为2025年1月的收入。",
    )


def test_a_fall_that_was_larger_for_a_while_names_its_lowest_month() -> None:
    incomes = {0: 2150.0, 1: 2150.0, 2: None, 3: 900.0, 4: 1200.0}
    lower: dict[int, dict[str, object]] = {ago: {"income": own} for ago, own in incomes.items()}
    # In December 2024 the income is not known.
    assert said(lower)["income_change_12"] == Text(
        "Your monthly income fell: it was CNY 5,000 in September 2024 and has been CNY 2,150 since "
        "January 2025. In between it was as low as CNY 900.",
        "您的月收入下降：2024年9月为5,000元，2025年1月起为2,150元。其间最低为900元。",
    )
    # The control: a low before the highest income, and one that is lower by a yuan.
    before: dict[int, dict[str, object]] = {9: {"income": 900.0}, 0: {"income": 2150.0}}
    near: dict[int, dict[str, object]] = {1: {"income": 2149.0}, 0: {"income": 2150.0}}
    for changes in (before, near):
        assert "as low as" not in said(changes)["income_change_12"].en


def test_a_debt_states_both_its_ends() -> None:
    debts = {6: 1000.0, 0: 1573.0}
    rose = said({ago: {"external_debt": debt} for ago, debt in debts.items()})
    assert rose["external_debt_growth_6"].en.startswith(
        "From August 2024 to February 2025, your debt with other lenders rose from CNY 1,000 to "
        "CNY 1,573. The rise is 57% of your limit."
    )
    new = said({6: {"external_debt": 0.0}, 0: {"external_debt": 30.0}})["external_debt_growth_6"]
    assert new.en.startswith(
        "From August 2024 to February 2025, your debt with other lenders rose from nothing to CNY "
        "30."
    )
    assert new.zh.startswith("2024年8月至2025年2月，您在其他机构的负债由零增至30元。")


def test_a_rise_from_nothing_has_no_points() -> None:
    text = said({6: {"balance": 0.0}, 0: {"balance": 500.0}})["utilization_rise_6"]
    assert text.en.startswith(
        "From August 2024 to February 2025, your use of your limit rose from nothing to 50%. "
    )


def test_a_debt_names_its_statement() -> None:
    sentences = said({0: {"balance": 900.0, "external_debt": 800.0}})
    assert sentences["utilization_now"].en.startswith(
        "Your statement of February 2025 shows a debt of CNY 900, 90% of your limit."
    )
    assert "our latest data (February 2025)" in sentences["total_debt_to_income"].en


def test_a_draw_of_a_yuan_has_its_month() -> None:
    """It is too little for a month with cash, and was drawn all the same."""
    small: dict[int, dict[str, object]] = {month: {"credit_limit": 100.0} for month in range(14)}
    sentences = said(small | {1: {"credit_limit": 100.0, "cash_advance": 1.5}})
    assert "January 2025" in sentences["cash_to_limit_6"].en


def test_the_quiet_account_ends_as_these_tests_say() -> None:
    last: object = quiet_account(14).select(pl.col("month").max()).item()
    assert last == datetime.date(2025, 2, 1)
