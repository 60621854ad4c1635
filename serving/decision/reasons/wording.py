"""A reason as a sentence, and numbers and dates as a customer reads them.

The functions compute no values; they insert given values into the texts of reasons.toml.
"""

from __future__ import annotations

import datetime
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from features.catalogue import BY_NAME, Feature, Unit
from features.catalogue.amounts import AMOUNTS, AS_OF, MONTHS_AGO
from features.months import month_of
from serving.decision.config.policy import RuleHit
from serving.decision.config.reasons import (
    FURTHER,
    VARIANTS,
    Comparing,
    Language,
    Sentence,
    Text,
    Variant,
    Wording,
)
from serving.decision.reasons.english import polish

if TYPE_CHECKING:  # ranking imports this module
    from serving.decision.reasons.ranking import Evidence

# The months that a sentence covers, in its placeholders: "last" has all, "bills" those with a bill.
_COVERED = re.compile(r"\{(last|bills)_(\d+)\}")
_UNITS: dict[str, Unit] = {fact.name: fact.unit for fact in (*BY_NAME.values(), *AMOUNTS)}
# Amounts from and to which a debt changed: "from nothing" instead of "from CNY 0".
_MAY_BE_NOTHING = frozenset({"external_debt_before_6", "external_debt_now"})
_NONE = "none_"
_WHOLE: tuple[Unit, ...] = ("months", "days", "count")
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
    """The sentence of a group whose named feature is ``feature``.

    A second sentence states the median of the comparison accounts, where the first one can be
    compared.  A feature without a sentence gets the text of [unmapped]; a person decides then.
    """
    sentences = wording.groups[group].sentences if group in wording.groups else {}
    sentence = sentences.get(feature)
    declared = BY_NAME.get(feature)
    if sentence is None or declared is None:
        return wording.unmapped
    case = _Case(declared, evidence)
    variant = case.variant(sentence)
    if variant in ("unknown", "no_income"):
        # A value is unknown to the schema only where the file has words for it; else unmapped.
        parts = [sentence.variants.get(variant, wording.unmapped)]
    else:
        parts = [sentence.usual if variant is None else sentence.variants[variant]]
        parts += case.further(sentence)
        parts += case.comparing(sentence, variant)
    # Chinese has no space between sentences.
    return Text(
        en=" ".join(case.fill(part.en, "en") for part in parts),
        zh="".join(case.fill(part.zh, "zh") for part in parts),
    )


def fill(text: Text, feature: Feature, evidence: Evidence) -> Text:
    """A text whose placeholders are about a feature of the catalogue."""
    case = _Case(feature, evidence)
    return Text(case.fill(text.en, "en"), case.fill(text.zh, "zh"))


def join(one: Text, other: Text) -> Text:
    """Two sentences as one text; Chinese has no space between them."""
    return Text(f"{one.en} {other.en}", f"{one.zh}{other.zh}")


def say_rule(hit: RuleHit) -> Text:
    """The sentence of a rule that decided, and of the rule's source if it has one."""
    unit: Unit = BY_NAME[hit.rule.when[0].feature].unit
    cap = math.nan if hit.cap is None else hit.cap

    def fill(template: str, language: Language) -> str:
        value = number(hit.value, unit, language)
        return template.format(
            value=value,
            cap=number(cap, "CNY", language),
        )

    rule = hit.rule
    sentence = Text(fill(rule.en, "en"), fill(rule.zh, "zh"))
    if rule.source is None:
        return sentence
    return join(sentence, Text(f"This rule comes from {rule.source}.", f"依据：{rule.source}。"))


@lru_cache(maxsize=8192)  # the medians, and each value once a language and once to be compared
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
    if math.isnan(value):
        return "not known" if language == "en" else "未知"
    less_than = "less than " if language == "en" else "不到"
    # "z": a value that rounds to zero has no sign.
    if unit == "share":
        percent = f"{value * 100:z.0f}"
        return f"{less_than}1%" if percent == "0" and value > 0 else f"{percent}%"
    if unit == "CNY":
        amount = f"{value:z,.{_cents(value)}f}"
        return f"CNY {amount}" if language == "en" else f"{amount}元"
    if unit == "times":
        times = f"{value:z.1f}"
        return f"{less_than}0.1" if times == "0.0" and value > 0 else times
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
        return f"{date.day} {month_name(date, language)}"
    return f"{month_name(date, language)}{date.day}日"


def month_name(date: datetime.date, language: Language) -> str:
    """The month of a date as a customer reads it.

    >>> month_name(datetime.date(2026, 11, 1), "en"), month_name(datetime.date(2026, 11, 1), "zh")
    ('November 2026', '2026年11月')
    """
    if language == "en":
        return f"{_MONTHS[date.month - 1]} {date.year}"
    return f"{date.year}年{date.month}月"


# The variants for known values; the first that applies is said.
_IN_ORDER = tuple(name for name in VARIANTS if name not in ("no_income", "unknown"))
_LITTLE = 5  # percent


@dataclass(frozen=True, slots=True)
class _Case:
    """One account's feature that a sentence is about."""

    feature: Feature
    evidence: Evidence

    @property
    def value(self) -> float:
        """The value before it is rounded to the feature's step, where that is known."""
        name = self.feature.name
        exact = f"{name}_exact"
        rounded = self.evidence.values[name]
        # Most features have none; to ask the amounts for it would be slow.
        return self.evidence.amounts.get(exact, rounded) if exact in _UNITS else rounded

    @property
    def reference(self) -> float:
        """The median of the comparison accounts; NaN = unknown.

        Of whole numbers it is one that half of the accounts reach: not 1.5, but 1 or 2.
        """
        median = self.evidence.comparison.medians.get(self.feature.name, math.nan)
        if math.isnan(median) or self.feature.unit not in _WHOLE:
            return median
        return math.floor(median) if self.feature.direction > 0 else math.ceil(median)

    @property
    def points(self) -> int:
        """The change of the printed utilization over six months, percentage points."""
        before = self.evidence.amounts["utilization_before_6"]
        return _percent(self.evidence.amounts["utilization_latest"]) - _percent(before)

    @property
    def missing(self) -> float:
        """What was due on the last bill less what was paid, of the printed amounts; NaN."""
        amounts = self.evidence.amounts
        return _printed(amounts["due_now"]) - _printed(amounts["payment_now"])

    def variant(self, sentence: Sentence) -> Variant | None:
        """The variant of the sentence that this value has; None = the usual sentence."""
        if math.isnan(self.value):
            no_income = math.isnan(self.evidence.values["income"])
            return "no_income" if no_income and "no_income" in sentence.variants else "unknown"
        for variant in _IN_ORDER:
            if variant in sentence.variants and self._applies(variant, sentence):
                return variant
        return None

    def _applies(self, variant: Variant, sentence: Sentence) -> bool:
        if variant in ("nothing", "once"):
            return self.value == (0 if variant == "nothing" else 1)
        if variant in ("same", "fell"):
            # A change of the printed numbers, where the sentence prints both ends.
            change = self.points if "{points}" in sentence.usual.en else self.value
            return self._reads_as_zero(change) if variant == "same" else change < 0
        if variant == "from_nothing":
            return self.evidence.amounts["utilization_before_6"] == 0
        if variant in ("unpaid", "part_paid"):
            paid = self.evidence.amounts["payment_now"]
            if variant == "unpaid":
                has_bill = self.evidence.amounts["bill_now"] > 0
                return paid == 0 and has_bill and self.missing > 0
            return paid > 0 and self.missing > 0
        if variant == "gaps":
            return self._count("gaps") > 0
        if variant in ("little", "one_month", "little_one_month"):
            is_little = _percent(self.value) < _LITTLE
            fits = is_little or not variant.startswith("little")
            return fits and (variant == "little" or self._count("in") == 1)
        covered = self._covered(sentence)
        if variant == "every":
            return self.value == covered
        return self._count("months") < covered

    def _count(self, of: str) -> float:
        """How many months of the sentence are so: the ends of names in catalogue/amounts.py."""
        return self.evidence.amounts[f"{self.feature.name}_{of}"]

    def further(self, sentence: Sentence) -> list[Text]:
        """The sentences about what a value is measured with, those that apply."""
        own = [name for name in FURTHER if name in sentence.further]
        return [sentence.further[name] for name in own if self._count(name) > 0]

    def comparing(self, sentence: Sentence, variant: Variant | None) -> list[Text]:
        """The sentence about the comparison accounts; empty where the file has none."""
        if math.isnan(self.reference):
            return []
        case: Comparing = "others"
        if self.reference <= 0:
            is_zero = self._reads_as_zero(self.reference)
            case = "others_nothing" if is_zero else "others_fell"
        elif variant in ("little", "little_one_month"):
            return []  # a share would be compared with an amount
        return [sentence.comparing[case]] if case in sentence.comparing else []

    def fill(self, template: str, language: Language) -> str:
        filled = template.format_map(_Words(self, language))
        return polish(filled) if language == "en" else filled.replace("不超过不到", "不到")

    def _covered(self, sentence: Sentence) -> float:
        """The months that the sentence covers: those it names, or the whole history."""
        found = _COVERED.search(sentence.usual.en)
        if found is None:
            return self.evidence.values["months_observed"]
        return self.months_covered(found[1], int(found[2]))

    def months_covered(self, kind: str, months: int) -> float:
        """At most ``months``; a history of 4 months has 4, of which 3 have a bill before them."""
        observed = self.evidence.values["months_observed"]
        return min(months, observed - 1 if kind == "bills" else observed)

    def _reads_as_zero(self, value: float) -> bool:
        # Negative, because a small positive number is "less than 1%".
        zero = number(0.0, self.feature.unit, "en")
        return number(-abs(value), self.feature.unit, "en") == zero


@dataclass(frozen=True, slots=True)
class _Words:
    """The words for the placeholders of a sentence."""

    case: _Case
    language: Language

    def __getitem__(self, name: str) -> str:
        case = self.case
        unit = case.feature.unit
        if name == "value":
            return self._unsigned(case.value, unit)
        if name == "reference":
            return self._unsigned(case.reference, unit)
        if name == "points":
            return self._points(case.points)
        if name == "reference_points":
            return self._points(_percent(case.reference))
        if name in _WRITERS:
            return _WRITERS[name](self)
        kind, _, months = name.rpartition("_")
        if name.startswith(_NONE):
            return self.none(name.removeprefix(_NONE))
        if kind in ("last", "bills"):
            return f"{case.months_covered(kind, int(months)):.0f}"
        return self._fact(name)

    def _fact(self, name: str) -> str:
        """Another feature, or an amount or a month that only sentences have."""
        evidence = self.case.evidence
        value = evidence.values[name] if name in BY_NAME else evidence.amounts[name]
        if name in MONTHS_AGO:
            return self.month(value)
        if value == 0 and (_UNITS[name] == "share" or name in _MAY_BE_NOTHING):
            return "nothing" if self.language == "en" else "零"
        return self._unsigned(value, _UNITS[name])

    def month(self, ago: float) -> str:
        as_of = self.case.evidence.amounts[AS_OF]
        return month_name(month_of(int(as_of - ago)), self.language)

    def _unsigned(self, value: float, unit: Unit) -> str:
        """A number without its sign: the words around it say "rose" or "fell"."""
        return number(abs(value), unit, self.language)

    def _points(self, points: int) -> str:
        if self.language == "en":
            return f"{abs(points)} percentage points"
        return f"{abs(points)}个百分点"

    def none(self, feature: str) -> str:
        """The share of the comparison accounts whose value is zero, rounded down."""
        comparison = self.case.evidence.comparison
        known = comparison.known[feature]
        # Whole numbers below 1 are zero, as for the median.
        is_whole = _UNITS[feature] in _WHOLE
        zeros = bisect_left(known, 1.0) if is_whole else bisect_right(known, 0.0)
        return f"{zeros * 100 // comparison.size}%"

    def limit(self) -> str:
        """The limit that shares are of; a cut of the last months does not raise a share."""
        values = self.case.evidence.values
        earlier = values["established_limit"]
        if earlier <= values["limit_now"]:
            return "your limit" if self.language == "en" else "额度"
        amount = number(earlier, "CNY", self.language)
        # The notice names two other limits: before and after this decision.
        return f"your earlier limit of {amount}" if self.language == "en" else f"此前额度{amount}"


def _printed(amount: float) -> float:
    """An amount as :func:`number` writes it."""
    return round(amount, _cents(amount))


def _cents(amount: float) -> int:
    return 2 if 0 < abs(amount) < 1 else 0


def _percent(share: float) -> int:
    """Whole percent, as :func:`number` writes it."""
    return round(share * 100)


# How placeholders are written that are no feature and no amount.
_WRITERS: Mapping[str, Callable[[_Words], str]] = {
    "none": lambda words: words.none(words.case.feature.name),
    "your_limit": _Words.limit,
    "due_missing": lambda words: number(words.case.missing, "CNY", words.language),
    "bill_month": lambda words: words.month(1),
    "before_6": lambda words: words.month(6),
    AS_OF: lambda words: words.month(0),
}
