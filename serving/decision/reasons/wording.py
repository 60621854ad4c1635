"""reasons.toml: how reasons are selected and worded, and notices put; numbers and dates as a
customer reads them.

Wording never computes: it puts values that are there into sentences that are there.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping

from features.catalogue import BY_NAME, Unit
from serving.decision.config.policy import RuleHit
from serving.decision.config.reasons import WINDOWS, Language, Text, Wording

_ONE_OF_MANY = re.compile(r"(?<![\d.,])1 (day|month|time)s\b")
# Not strftime's: its names of months are those of the machine's locale.
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def say(
    group: str,
    feature: str,
    values: Mapping[str, float],
    reference: Mapping[str, float],
    worse: bool,
    wording: Wording,
) -> Text:
    """The sentence for a group whose leading feature this is; ``worse``: than the reference's
    median.
    """
    sentences = wording.groups[group].sentences if group in wording.groups else {}
    sentence = sentences.get(feature, wording.fallback)
    template = sentence.known if worse or "{reference}" not in sentence.known.en else wording.plain
    if math.isnan(values[feature]):
        fallback = wording.fallback.missing or wording.fallback.known
        template = sentence.missing or fallback
    return Text(
        *(_fill(template, language, feature, values, reference) for language in ("en", "zh"))
    )


def say_rule(hit: RuleHit) -> Text:
    """The sentence of a rule that decided."""
    unit: Unit = BY_NAME[hit.rule.when[0].feature].unit
    cap = math.nan if hit.cap is None else hit.cap

    def fill(template: str, language: Language) -> str:
        return template.format(
            value=number(hit.value, unit, language), cap=number(cap, "CNY", language)
        )

    return Text(fill(hit.rule.en, "en"), fill(hit.rule.zh, "zh"))


def number(value: float, unit: Unit, language: Language) -> str:
    """A value as a customer reads it.

    >>> number(0.934, "share", "en"), number(12300.0, "CNY", "zh"), number(3.0, "months", "en")
    ('93 %', '12,300元', '3')

    Less than a whole yuan is told in cents, for nothing is something else.

    >>> number(0.4, "CNY", "en"), number(0.0, "CNY", "en")
    ('CNY 0.40', 'CNY 0')
    """
    if math.isnan(value):
        return "not known" if language == "en" else "未知"
    if unit == "share":
        return f"{value * 100:.0f} %" if language == "en" else f"{value * 100:.0f}%"
    if unit == "CNY":
        amount = f"{value:,.2f}" if 0 < abs(value) < 1 else f"{value:,.0f}"
        return f"CNY {amount}" if language == "en" else f"{amount}元"
    if unit == "times":
        return f"{value:.1f}"
    if unit == "yes_no":
        words = ("no", "yes") if language == "en" else ("否", "是")
        return words[int(value > 0)]
    return f"{value:.0f}" if value == round(value) else f"{value:.1f}"


def day(date: datetime.date, language: Language) -> str:
    """A date as a customer reads it.

    >>> day(datetime.date(2026, 11, 7), "en"), day(datetime.date(2026, 11, 7), "zh")
    ('7 November 2026', '2026年11月7日')
    """
    if language == "en":
        return f"{date.day} {_MONTHS[date.month - 1]} {date.year}"
    return f"{date.year}年{date.month}月{date.day}日"


def _fill(
    template: Text,
    language: Language,
    feature: str,
    values: Mapping[str, float],
    reference: Mapping[str, float],
) -> str:
    declared = BY_NAME.get(feature)
    unit: Unit = declared.unit if declared else "count"
    words = {
        "value": number(values[feature], unit, language),
        "reference": number(reference.get(feature, math.nan), unit, language),
        "label": getattr(declared, language, feature),
    }
    observed = values.get("months_observed", math.nan)
    # A history of 4 months has no "last 12 months".
    words |= {
        f"last_{months}": f"{min(months, observed) if observed == observed else months:.0f}"
        for months in WINDOWS
    }
    said = str(getattr(template, language)).format(**words)
    return _ONE_OF_MANY.sub(r"1 \1", said) if language == "en" else said
