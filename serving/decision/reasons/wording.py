"""A reason as a sentence, and numbers and dates as a customer reads them.

The functions compute no values; they insert given values into the texts of reasons.toml.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from features.catalogue import BY_NAME, Unit
from serving.decision.config.policy import RuleHit
from serving.decision.config.reasons import WINDOWS, Language, Text, Wording

if TYPE_CHECKING:  # ranking imports this module
    from serving.decision.reasons.ranking import Evidence

# "1 months" in English, but not "11 months" or "1.1 months".
_ONE_OF_MANY = re.compile(r"(?<![\d.,])1 (day|month|time)s\b")
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


def say(
    group: str,
    feature: str,
    evidence: Evidence,
    wording: Wording,
) -> Text:
    """The sentence of a group about ``feature``."""
    values, reference = evidence.values, evidence.comparison.medians
    sentence = wording.groups[group].sentences.get(feature, wording.fallback)
    template = sentence.known
    if math.isnan(values[feature]):
        template = sentence.missing or wording.fallback.missing or wording.fallback.known
    return Text(
        _fill(template.en, "en", feature, values, reference),
        _fill(template.zh, "zh", feature, values, reference),
    )


def say_rule(hit: RuleHit) -> Text:
    """The sentence of a rule that decided."""
    unit: Unit = BY_NAME[hit.rule.when[0].feature].unit
    cap = math.nan if hit.cap is None else hit.cap

    def fill(template: str, language: Language) -> str:
        value = number(hit.value, unit, language)
        return template.format(
            value=value,
            cap=number(cap, "CNY", language),
        )

    return Text(fill(hit.rule.en, "en"), fill(hit.rule.zh, "zh"))


def number(
    value: float,
    unit: Unit,
    language: Language,
) -> str:
    """A value as a customer reads it.

    >>> number(0.934, "share", "en"), number(12300.0, "CNY", "zh"), number(3.0, "months", "en")
    ('93 %', '12,300元', '3')

    An amount below one yuan has cents, so that it does not read as zero.

    >>> number(0.4, "CNY", "en"), number(0.0, "CNY", "en")
    ('CNY 0.40', 'CNY 0')
    """
    if math.isnan(value):
        return "not known" if language == "en" else "未知"
    # "z": a value that rounds to zero has no sign.
    if unit == "share":
        percent = f"{value * 100:z.0f}"
        return f"{percent} %" if language == "en" else f"{percent}%"
    if unit == "CNY":
        digits = 2 if 0 < abs(value) < 1 else 0
        amount = f"{value:z,.{digits}f}"
        return f"CNY {amount}" if language == "en" else f"{amount}元"
    if unit == "times":
        return f"{value:z.1f}"
    if unit == "yes_no":
        words = ("no", "yes") if language == "en" else ("否", "是")
        return words[int(value > 0)]
    digits = 0 if value == round(value) else 1
    return f"{value:z.{digits}f}"


def day(date: datetime.date, language: Language) -> str:
    """A date as a customer reads it.

    >>> day(datetime.date(2026, 11, 7), "en"), day(datetime.date(2026, 11, 7), "zh")
    ('7 November 2026', '2026年11月7日')
    """
    if language == "en":
        month = _MONTHS[date.month - 1]
        return f"{date.day} {month} {date.year}"
    return f"{date.year}年{date.month}月{date.day}日"


def _fill(
    template: str,
    language: Language,
    feature: str,
    values: Mapping[str, float],
    reference: Mapping[str, float],
) -> str:
    declared = BY_NAME.get(feature)
    unit: Unit = declared.unit if declared else "count"
    words = {
        "value": number(values[feature], unit, language),
        "reference": number(
            reference.get(feature, math.nan),
            unit,
            language,
        ),
        "label": _label(feature, language),
    }
    observed = values.get("months_observed", math.nan)
    for months in WINDOWS:
        # A history of 4 months has no "last 12 months".
        covered = months if math.isnan(observed) else min(months, observed)
        words[f"last_{months}"] = f"{covered:.0f}"
    sentence = template.format(**words)
    return _ONE_OF_MANY.sub(r"1 \1", sentence) if language == "en" else sentence


def _label(feature: str, language: Language) -> str:
    """The catalogue's name of a feature for a customer, or the feature's own."""
    declared = BY_NAME.get(feature)
    if declared is None:
        return feature
    return declared.en if language == "en" else declared.zh
