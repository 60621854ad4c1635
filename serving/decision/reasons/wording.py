"""Numbers and dates as a customer reads them."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from functools import lru_cache

from features.catalogue import Unit
from serving.decision.config.reasons import Language, Text
from serving.decision.config.template import InBoth, template_in_both

# strftime would use the language of the machine's locale.
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def number(
    value: float,
    unit: Unit,
    language: Language,
) -> str:
    """A value as a customer reads it.

    >>> number(0.934, "share", "en"), number(12300.0, "CNY", "zh"), number(3.0, "months", "en")
    ('93%', '12,300元', '3')

    What is small does not read as zero: an amount below one yuan has cents.

    >>> number(0.4, "CNY", "en"), number(0.0, "CNY", "en"), number(0.004, "share", "en")
    ('CNY 0.40', 'CNY 0', 'less than 1%')
    """
    english, chinese = number_in_both(value, unit)
    return english if language == "en" else chinese


@lru_cache(maxsize=8192)  # the medians, and each value once to be compared and once in a sentence
def number_in_both(value: float, unit: Unit) -> InBoth:
    """:func:`number` in English and Chinese; the digits are written once.

    >>> number_in_both(12300.0, "CNY"), number_in_both(0.0, "yes_no")
    (('CNY 12,300', '12,300元'), ('no', '否'))
    """
    if value != value:  # NaN
        return "not known", "未知"
    # "z": a value that rounds to zero has no sign.
    if unit == "CNY":
        is_small = -1 < value < 1 and value != 0
        amount = f"{value:z,.2f}" if is_small else f"{value:z,.0f}"
        return f"CNY {amount}", f"{amount}元"
    if unit == "share":
        percent = f"{value * 100:z.0f}"
        if percent == "0" and value > 0:
            return "less than 1%", "不到1%"
        return f"{percent}%", f"{percent}%"
    if unit == "times":
        times = f"{value:z.1f}"
        return ("less than 0.1", "不到0.1") if times == "0.0" and value > 0 else (times, times)
    if unit == "yes_no":
        return ("yes", "是") if value > 0 else ("no", "否")
    plain = format(value, "z.0f" if value == round(value) else "z.1f")
    return plain, plain


def amount_due(amount: float, language: Language) -> str:
    """:func:`amount_due_in_both` in one language.

    >>> amount_due(2857.14, "en"), amount_due(2857.0, "en")
    ('CNY 2,858', 'CNY 2,857')
    """
    english, chinese = amount_due_in_both(amount)
    return english if language == "en" else chinese


def amount_due_in_both(amount: float) -> InBoth:
    """An amount that has to be paid, rounded up: to be some fen short is to be short.

    >>> amount_due_in_both(2857.14), amount_due_in_both(0.4)
    (('CNY 2,858', '2,858元'), ('CNY 0.40', '0.40元'))
    """
    return number_in_both(round_up_to_pay(amount), "CNY")


def round_up_to_pay(amount: float) -> float:
    """An amount in CNY as :func:`amount_due_in_both` writes it."""
    fen = round(amount, 2)
    return fen if fen < 1 else float(math.ceil(fen))


def day(date: datetime.date, language: Language) -> str:
    """A date as a customer reads it.

    >>> day(datetime.date(2026, 11, 7), "en"), day(datetime.date(2026, 11, 7), "zh")
    ('7 November 2026', '2026年11月7日')
    """
    english, chinese = day_in_both(date)
    return english if language == "en" else chinese


@lru_cache(maxsize=1024)  # the decisions of a day have the same few days
def day_in_both(date: datetime.date) -> InBoth:
    """:func:`day` in English and Chinese."""
    english, chinese = month_in_both(date)
    return f"{date.day} {english}", f"{chinese}{date.day}日"


def month_name(date: datetime.date, language: Language) -> str:
    """The month of a date as a customer reads it.

    >>> month_name(datetime.date(2026, 11, 1), "en"), month_name(datetime.date(2026, 11, 1), "zh")
    ('November 2026', '2026年11月')
    """
    english, chinese = month_in_both(date)
    return english if language == "en" else chinese


def month_in_both(date: datetime.date) -> InBoth:
    """:func:`month_name` in English and Chinese."""
    return f"{_MONTHS[date.month - 1]} {date.year}", f"{date.year}年{date.month}月"


def fill_in_both(text: Text, words: Mapping[str, InBoth]) -> Text:
    """A text with these words in the places of its placeholders.

    >>> fill_in_both(Text("Pay {amount}.", "偿还{amount}。"), {"amount": ("CNY 5", "5元")})
    Text(en='Pay CNY 5.', zh='偿还5元。')

    Raises:
        KeyError: A placeholder has no words.
    """
    template = template_in_both(text.en, text.zh)
    return Text(*template.fill([words[name] for name in template.names]))


def printed_amount(amount: float) -> float:
    """An amount in CNY as :func:`number` writes it."""
    return round(amount, 2 if 0 < abs(amount) < 1 else 0)
