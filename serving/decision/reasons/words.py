"""What is written in the places of a sentence: each placeholder as a function of the case.

A text is taken apart once, and the name of each of its placeholders is looked up once
(:func:`_form_of`).  To look at the names for every account took longer than to write the numbers.
Each placeholder is written in both languages at once, because most of the work is the same.

What a sentence says of the comparison accounts is the same for all customers of the product, so it
is written once and kept by the :class:`~serving.decision.reasons.comparison.Comparison`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from features.catalogue import BY_NAME
from features.catalogue.amounts import AS_OF, MONTHS_AGO
from features.months import month_of
from serving.decision.config.reasons import Text
from serving.decision.config.template import InBoth, TemplateInBoth, template_in_both
from serving.decision.reasons.case import UNITS, WHOLE, Case, percent
from serving.decision.reasons.english import polish
from serving.decision.reasons.wording import month_in_both, number_in_both

Word: TypeAlias = Callable[[Case], InBoth]
# Amounts from and to which a debt changed: "from nothing" instead of "from CNY 0".
_MAY_BE_NOTHING = frozenset({"external_debt_before_6", "external_debt_now"})
_NONE = "none_"
# Placeholders that the comparison accounts fill, whoever the customer is; and all of ``_NONE``.
_OF_COMPARISON = frozenset({"reference", "reference_points", "none"})


@dataclass(frozen=True, slots=True)
class _Form:
    """A text taken apart, with the word of each of its ``names``.

    ``of_comparison`` if every placeholder is about the comparison accounts alone.
    """

    template: TemplateInBoth
    words: tuple[Word, ...]
    of_comparison: bool


def write(text: Text, case: Case) -> InBoth:
    """A text with the words of this case in the places of its placeholders.

    Raises:
        KeyError: A placeholder is not one that the top of reasons.toml lists.
    """
    form = _form_of(text.en, text.zh)
    if not form.of_comparison:
        return _fill(form, case)
    written = case.evidence.comparison.written
    key = (text.en, text.zh, case.feature.name)
    if key not in written:
        written[key] = _fill(form, case)
    return written[key]


def _fill(form: _Form, case: Case) -> InBoth:
    english, chinese = form.template.fill([word(case) for word in form.words])
    return polish(english), chinese.replace("不超过不到", "不到")


@lru_cache(maxsize=8192)
def _form_of(english: str, chinese: str) -> _Form:
    template = template_in_both(english, chinese)
    names = template.names
    return _Form(
        template=template,
        words=tuple(map(_word_of, names)),
        of_comparison=all(name in _OF_COMPARISON or name.startswith(_NONE) for name in names),
    )


def _word_of(name: str) -> Word:
    """How a placeholder is written."""
    if name in _WORDS:
        return _WORDS[name]
    if name.startswith(_NONE):
        feature = name.removeprefix(_NONE)
        return lambda case: _none(case, feature)
    kind, _, months = name.rpartition("_")
    if kind in ("last", "bills"):
        most = int(months)
        return lambda case: _same(f"{case.months_covered(kind, most):.0f}")
    if name in MONTHS_AGO:
        return lambda case: _month(case, case.evidence.amounts[name])
    return _word_of_fact(name)


def _word_of_fact(name: str) -> Word:
    """Another feature, or an amount that only sentences have."""
    unit = UNITS[name]
    may_be_nothing = unit == "share" or name in _MAY_BE_NOTHING
    is_feature = name in BY_NAME

    def write_fact(case: Case) -> InBoth:
        evidence = case.evidence
        value = evidence.values[name] if is_feature else evidence.amounts[name]
        if value == 0 and may_be_nothing:
            return "nothing", "零"
        return number_in_both(abs(value), unit)

    return write_fact


def _same(word: str) -> InBoth:
    return word, word


def _value(case: Case) -> InBoth:
    # A number without its sign: the words around it say "rose" or "fell".
    return number_in_both(abs(case.value), case.feature.unit)


def _reference(case: Case) -> InBoth:
    return number_in_both(abs(case.reference), case.feature.unit)


def _points(points: int) -> InBoth:
    return f"{abs(points)} percentage points", f"{abs(points)}个百分点"


def _none(case: Case, feature: str) -> InBoth:
    """The share of the comparison accounts whose value is zero, rounded down."""
    comparison = case.evidence.comparison
    known = comparison.known[feature]
    # Whole numbers below 1 are zero, as for the median.
    is_whole = UNITS[feature] in WHOLE
    zeros = bisect_left(known, 1.0) if is_whole else bisect_right(known, 0.0)
    return _same(f"{zeros * 100 // comparison.size}%")


def _limit(case: Case) -> InBoth:
    """The limit that shares are of; a cut of the last months does not raise a share."""
    values = case.evidence.values
    earlier = values["established_limit"]
    if earlier <= values["limit_now"]:
        return "your limit", "额度"
    english, chinese = number_in_both(earlier, "CNY")
    # The notice names two other limits: before and after this decision.
    return f"your earlier limit of {english}", f"此前额度{chinese}"


def _month(case: Case, ago: float) -> InBoth:
    return _name_month(int(case.evidence.amounts[AS_OF] - ago))


@lru_cache(maxsize=1024)
def _name_month(index: int) -> InBoth:
    return month_in_both(month_of(index))


# Placeholders that are no feature and no amount.
_WORDS: Mapping[str, Word] = {
    "value": _value,
    "reference": _reference,
    "points": lambda case: _points(case.points),
    "reference_points": lambda case: _points(percent(case.reference)),
    "none": lambda case: _none(case, case.feature.name),
    "your_limit": _limit,
    "due_missing": lambda case: number_in_both(case.missing, "CNY"),
    "bill_month": lambda case: _month(case, 1),
    "before_6": lambda case: _month(case, 6),
    AS_OF: lambda case: _month(case, 0),
}
