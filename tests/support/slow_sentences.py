"""The sentences that a customer may read, computed again from the statements.

The texts come from reasons.toml; cases, numbers, months and rounding are stated here a second time.
A number that lies within a rounding error of two printed forms may have either.
"""

from __future__ import annotations

import itertools
import re
import statistics
import tomllib
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from importlib.resources import files
from typing import Any

from tests.support.slow_facts import Fact, Facts

REASONS = files("serving.decision.config").joinpath("reasons.toml").read_text("utf-8")
GROUPS: Mapping[str, Any] = tomllib.loads(REASONS)["groups"]
FALL: Mapping[str, Any] = tomllib.loads(REASONS)["income_fall"]
GROUP_OF = {feature: group for group, table in GROUPS.items() for feature in table}
_NUDGE = Fraction(1, 10**7)
# Digits to which shares and multiples are rounded before they are scored.
_STEP_DIGITS = 2
_MONTHS = [
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
]
# Months before the last statement.
_MONTHS_BEFORE = {"as_of": 0, "bill_month": 1, "before_6": 6}
_TIMES = {
    "spend_growth",
    "spend_peak",
    "external_debt_to_income",
    "external_debt_to_limit",
    "total_debt_to_income",
}
_AMOUNTS = {
    "income",
    "established_limit",
    "carried_on_time_3",
    "payment_mean_6",
    "payment_least_3",
    "repaid_spending_3",
    "repaid_spending_6",
    "balance_now",
    "payment_now",
    "bill_now",
    "due_now",
    "external_debt",
    "total_debt",
    "income_peak_12",
    "income_peak_13",
    "income_low_12",
    "income_low_13",
    "spend_peak_12",
}
_AMOUNT_PREFIXES = ("bill_", "spend_mean_", "spend_of_", "cash_total_", "cash_of_")
_SHARE_PARTS = (
    "utilization_",
    "_to_balance_",
    "_to_limit_3",
    "_to_limit_6",
    "spend_to_",
    "cash_to_",
)
_CHANGES = ("utilization_rise_6", "balance_growth_6", "external_debt_growth_6")
_LESS_IS_WORSE = {
    "months_on_time",
    "paid_in_full_months_6",
    "months_observed",
    "income_known",
    "income_change_12",
}


def acceptable(
    feature: str,
    facts: Facts,
    reference: Sequence[float | None],
    language: str,
    others: Mapping[str, Sequence[float | None]] | None = None,
) -> set[str]:
    """Every form of a feature's sentence that the statements allow; mostly one.

    ``facts`` are those of :func:`tests.support.slow_facts.facts_of`, and ``reference`` the
    feature's values of the comparison accounts; ``others`` has those of the other features.
    """
    texts = GROUPS[GROUP_OF[feature]][feature]
    story = _Story(feature, facts, reference, language, others or {})
    case = story.case(texts)
    templates = [texts[f"{case}{language}"]]
    if case not in ("unknown_", "no_income_"):
        further = [*story.measured(), *story.comparing(case)]
        templates += [texts[key] for key in further if key in texts]
    template = (" " if language == "en" else "").join(templates)
    return _filled(template, story, language)


def _filled(template: str, story: _Story, language: str) -> set[str]:
    """Every form of a template."""
    names = re.findall(r"\{(\w+)\}", template)
    forms = [sorted(story.words(name)) for name in names]
    pieces = re.split(r"\{\w+\}", template)
    found = set()
    for words in itertools.product(*forms):
        filled = "".join(itertools.chain(*zip(pieces, (*words, ""), strict=True)))
        found.add(_polish(filled, language))
    return found


def income_fall(facts: Facts, language: str) -> set[str]:
    """Every form of the sentences on a fall of the income; empty if it did not fall as far."""
    income, highest = facts["income"], facts["income_peak_13"]
    if income is None or highest is None or income > highest * Fraction(str(FALL["at_most"])):
        return set()
    story = _Story("income", facts, [], language, {})
    templates = [FALL[language]]
    if facts["income_low_13"] is not None:
        templates.append(FALL[f"low_{language}"])
    if facts["income_known_ago"]:
        templates.append(FALL[f"carried_{language}"])
    return _filled((" " if language == "en" else "").join(templates), story, language)


class _Story:
    """One account's feature, with what may be said of it."""

    def __init__(
        self,
        feature: str,
        facts: Facts,
        reference: Sequence[float | None],
        language: str,
        others: Mapping[str, Sequence[float | None]],
    ) -> None:
        self.feature, self.facts, self.language = feature, facts, language
        self.reference, self.others = reference, others
        known = [value for value in reference if value is not None]
        is_known = bool(known) and len(known) * 2 >= len(reference)
        self.median = self._reached(Fraction(statistics.median(known))) if is_known else None

    def case(self, texts: Mapping[str, str]) -> str:
        """The prefix of the keys that hold the account's sentence."""
        value = self.facts[self.feature]
        if value is None:
            no_income = self.facts["income"] is None and "no_income_en" in texts
            return "no_income_" if no_income else "unknown_"
        covered = self._covered(texts["en"])
        counted = self.facts.get(f"{self.feature}_months", covered)
        change = self._printed_change()
        in_one_month = self.facts.get(f"{self.feature}_in") == 1
        is_little = _unit(self.feature) == "share" and _round(value * 100, 0) < 5
        cases = {
            "partly_": counted is not None and counted < covered,
            "same_": change == 0,
            "fell_": change is not None and change < 0,
            "from_nothing_": self.facts["utilization_before_6"] == 0,
            "unpaid_": self._paid_nothing(),
            "part_paid_": bool(self.facts["payment_now"]) and (self._missing() or 0) > 0,
            "nothing_": value == 0,
            "once_": value == 1,
            "gaps_": (self.facts.get(f"{self.feature}_gaps") or 0) > 0,
            "little_one_month_": is_little and in_one_month,
            "one_month_": in_one_month,
            "little_": is_little,
            "every_": value == covered,
        }
        return next((key for key, holds in cases.items() if holds and f"{key}en" in texts), "")

    def measured(self) -> list[str]:
        """The keys of the sentences on an earlier limit, income or debt, and a lower income."""
        kinds = ("cut", "low", "carried", "older_debt")
        return [f"{kind}_{self.language}" for kind in kinds if self._counts(kind)]

    def _counts(self, kind: str) -> bool:
        return bool(self.facts.get(f"{self.feature}_{kind}"))

    def _paid_nothing(self) -> bool:
        """Whether nothing was paid of a bill of which something was due."""
        has_bill = self.facts["payment_now"] == 0 and self.facts["bill_now"] != 0
        return has_bill and (self._missing() or 0) > 0

    def _missing(self) -> Fact:
        """What was due less what was paid, each as it is printed."""
        due, paid = self.facts["due_now"], self.facts["payment_now"]
        if due is None or paid is None:
            return None
        digits = [2 if 0 < amount < 1 else 0 for amount in (due, paid)]
        return Fraction(_round(due, digits[0])) - Fraction(_round(paid, digits[1]))

    def comparing(self, case_of_value: str) -> list[str]:
        """The keys of the sentence about the comparison accounts."""
        if self.median is None or (self.median > 0 and case_of_value.startswith("little_")):
            return []
        case = "others_"
        if self.median <= 0:
            reads_as_zero = _round(self._scaled(-self.median), 0) == 0
            case = "others_nothing_" if reads_as_zero else "others_fell_"
        return [f"{case}{self.language}"]

    def words(self, name: str) -> set[str]:
        """What may stand for a placeholder."""
        kind, _, months = name.rpartition("_")
        if kind in ("last", "bills"):
            return {str(self._months(kind, int(months)))}
        special = self._special(name)
        if special is not None:
            return special
        if name == "reference":
            return self._numbers("", self.median)
        if name == "value":
            return self._numbers(self.feature, self.facts[self.feature])
        plain = name.removesuffix("_exact")
        value = self.facts[plain]
        if plain.endswith("_ago"):
            assert value is not None, name
            return {self._month(int(value))}
        may_be_nothing = plain.startswith(("utilization", "external_debt_"))
        if may_be_nothing and value == 0:
            return {"nothing" if self.language == "en" else "零"}
        return self._numbers(plain, value)

    def _special(self, name: str) -> set[str] | None:
        """What stands for a placeholder that is no feature and no amount; None for the others."""
        if name in _MONTHS_BEFORE:
            return {self._month(_MONTHS_BEFORE[name])}
        if name == "due_missing":
            return self._numbers("due_now", self._missing())
        if name == "none" or name.startswith("none_"):
            return {self._none(name[5:] or self.feature)}
        if name == "your_limit":
            return self._limit()
        if name == "points":
            return {self._in_points(self._points())}
        if name == "reference_points":
            assert self.median is not None
            near = (self.median, self.median - _NUDGE, self.median + _NUDGE)
            return {self._in_points(self._percent(median)) for median in near}
        return None

    def _none(self, feature: str) -> str:
        """The share of the accounts whose value is zero; of whole numbers less than 1 is none."""
        values = self.reference if feature == self.feature else self.others[feature]
        known = [value for value in values if value is not None]
        is_count = _unit(feature) == "count"
        zeros = [value for value in known if (value < 1 if is_count else value <= 0)]
        return f"{100 * len(zeros) // len(values)}%"

    def _numbers(self, name: str, value: Fact) -> set[str]:
        assert value is not None, name
        # Medians, which have no name here, are not rounded before they are printed.
        size, unit = abs(value), _unit(name or self.feature)
        forms = set()
        # Zero is exact; everything else may lie within a rounding error of two printed forms.
        for nudge in (0, _NUDGE, -_NUDGE) if size else (0,):
            near = max(size + nudge, Fraction(0))
            is_stepped = unit == "share" and name in GROUP_OF and not _is_exact(name)
            if is_stepped:
                near = Fraction(_round(near, _STEP_DIGITS))
            forms.add(_number(near, unit, self.language))
        return forms

    def _reached(self, median: Fraction) -> Fraction:
        """The median; of whole numbers one that half of the accounts reach."""
        if _unit(self.feature) != "count":
            return median
        direction = ROUND_CEILING if self.feature in _LESS_IS_WORSE else ROUND_FLOOR
        whole = (Decimal(median.numerator) / median.denominator).to_integral(direction)
        return Fraction(whole)

    def _printed_change(self) -> Fact:
        if self.feature not in _CHANGES:
            return None
        if self.feature == "utilization_rise_6":
            return Fraction(self._points())
        value = self.facts[self.feature]
        return None if value is None else Fraction(_round(value * 100, 0))

    def _points(self) -> int:
        now, before = self.facts["utilization_now"], self.facts["utilization_before_6"]
        return self._percent(now) - self._percent(before)

    def _in_points(self, points: int) -> str:
        unit = " percentage points" if self.language == "en" else "个百分点"
        return f"{abs(points)}{unit}"

    def _percent(self, share: Fact) -> int:
        assert share is not None
        return int(_round(share * 100, 0))

    def _scaled(self, value: Fraction) -> Fraction:
        scale = {"share": 100, "times": 10}.get(_unit(self.feature), 1)
        return value * scale

    def _covered(self, usual: str) -> int:
        found = re.search(r"\{(last|bills)_(\d+)\}", usual)
        observed = self.facts["months_observed"]
        assert observed is not None
        return int(observed) if found is None else self._months(found[1], int(found[2]))

    def _months(self, kind: str, months: int) -> int:
        observed = self.facts["months_observed"]
        assert observed is not None
        return min(months, int(observed) - (kind == "bills"))

    def _month(self, ago: int) -> str:
        as_of = self.facts["as_of"]
        assert as_of is not None
        year, month = divmod(int(as_of) - ago, 12)
        if self.language == "en":
            return f"{_MONTHS[month]} {year}"
        return f"{year}年{month + 1}月"

    def _limit(self) -> set[str]:
        highest, now = self.facts["established_limit"], self.facts["limit_now"]
        assert highest is not None
        assert now is not None
        if highest <= now:
            return {"your limit" if self.language == "en" else "额度"}
        before = "your earlier limit of " if self.language == "en" else "此前额度"
        return {f"{before}{amount}" for amount in self._numbers("established_limit", highest)}


def _is_exact(name: str) -> bool:
    """Features whose number is printed as it is before it is rounded for the model."""
    return name.startswith("payment_to_balance")


def _unit(name: str) -> str:
    if name in _TIMES:
        return "times"
    is_amount = name in _AMOUNTS or name.startswith(_AMOUNT_PREFIXES) or "_change_6" in name
    is_amount = is_amount or name in ("external_debt_now", "external_debt_before_6")
    if is_amount:
        return "CNY"
    is_share = name in _CHANGES or name == "income_change_12"
    is_share = is_share or any(part in name for part in _SHARE_PARTS)
    return "share" if is_share and not name.endswith("_months") else "count"


def _round(value: Fraction, digits: int) -> Decimal:
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return exact.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_EVEN)


def _number(value: Fraction, unit: str, language: str) -> str:
    less_than = "less than " if language == "en" else "不到"
    if unit == "share":
        percent = _round(value * 100, 0)
        return f"{less_than}1%" if percent == 0 < value else f"{percent}%"
    if unit == "times":
        times = _round(value, 1)
        return f"{less_than}0.1" if times == 0 < value else f"{times}"
    if unit == "CNY":
        amount = f"{_round(value, 2 if 0 < value < 1 else 0):,}"
        return f"CNY {amount}" if language == "en" else f"{amount}元"
    return f"{value.numerator}" if value.denominator == 1 else f"{_round(value, 1)}"


def _polish(text: str, language: str) -> str:
    if language == "zh":
        return text.replace("不超过不到", "不到")
    for noun in ("day", "month", "time", "percentage point"):
        text = re.sub(rf"(?<![\d.,])1 {noun}s\b", f"1 {noun}", text)
    text = text.replace("last 1 month", "last month")
    text = re.sub(r"(?<![\d.,])1 time or less", "once or not at all", text)
    text = re.sub(r"(?<![\d.,])2 times", "twice", text)
    for noun in ("limit", "income", "bills"):
        text = re.sub(rf"(less than [\d.]+% of their {noun}) or less", r"\1", text)
    text = re.sub(r"(less than [\d.]+%? of theirs) or less", r"\1", text)
    if "twice" in text:
        text = text.replace(", all in", ", both in")
    return re.sub(r"(less than [\d.]+%?(?: times)?) or less", r"\1", text)
