"""What is written in the places of a sentence: each placeholder as a function of the case.

A text is taken apart once, and the name of each of its placeholders is looked up once
(:func:`_writers_of`).  To look at the names for every account and language took longer than to
write the numbers.

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
from serving.decision.config.reasons import Language
from serving.decision.config.template import template_of
from serving.decision.reasons.case import UNITS, WHOLE, Case, percent
from serving.decision.reasons.english import polish
from serving.decision.reasons.wording import month_name, number

Word: TypeAlias = Callable[[Case, Language], str]
# Amounts from and to which a debt changed: "from nothing" instead of "from CNY 0".
_MAY_BE_NOTHING = frozenset({"external_debt_before_6", "external_debt_now"})
_NONE = "none_"
# Placeholders that the comparison accounts fill, whoever the customer is; and all of ``_NONE``.
_OF_COMPARISON = frozenset({"reference", "reference_points", "none"})


@dataclass(frozen=True, slots=True)
class _Writers:
    """A text taken apart: its pattern (:class:`Template`), and the word of each placeholder.

    ``of_comparison`` if every placeholder is about the comparison accounts alone.
    """

    pattern: str
    words: tuple[Word, ...]
    of_comparison: bool


def write(text: str, case: Case, language: Language) -> str:
    """A text with the words of this case in the places of its placeholders.

    Raises:
        KeyError: A placeholder is not one that the top of reasons.toml lists.
    """
    writers = _writers_of(text)
    if not writers.of_comparison:
        return _fill(writers, case, language)
    written = case.evidence.comparison.written
    key = (text, case.feature.name, language)
    if key not in written:
        written[key] = _fill(writers, case, language)
    return written[key]


def _fill(writers: _Writers, case: Case, language: Language) -> str:
    filled = writers.pattern % tuple([word(case, language) for word in writers.words])
    return polish(filled) if language == "en" else filled.replace("不超过不到", "不到")


@lru_cache(maxsize=8192)
def _writers_of(text: str) -> _Writers:
    template = template_of(text)
    names = template.names
    return _Writers(
        pattern=template.pattern,
        words=tuple(map(_word_of, names)),
        of_comparison=all(name in _OF_COMPARISON or name.startswith(_NONE) for name in names),
    )


def _word_of(name: str) -> Word:
    """How a placeholder is written."""
    if name in _WORDS:
        return _WORDS[name]
    if name.startswith(_NONE):
        feature = name.removeprefix(_NONE)
        return lambda case, _: _none(case, feature)
    kind, _, months = name.rpartition("_")
    if kind in ("last", "bills"):
        most = int(months)
        return lambda case, _: f"{case.months_covered(kind, most):.0f}"
    if name in MONTHS_AGO:
        return lambda case, language: _month(case, case.evidence.amounts[name], language)
    return _word_of_fact(name)


def _word_of_fact(name: str) -> Word:
    """Another feature, or an amount that only sentences have."""
    unit = UNITS[name]
    may_be_nothing = unit == "share" or name in _MAY_BE_NOTHING
    is_feature = name in BY_NAME

    def write_fact(case: Case, language: Language) -> str:
        evidence = case.evidence
        value = evidence.values[name] if is_feature else evidence.amounts[name]
        if value == 0 and may_be_nothing:
            return "nothing" if language == "en" else "零"
        return number(abs(value), unit, language)

    return write_fact


def _value(case: Case, language: Language) -> str:
    # A number without its sign: the words around it say "rose" or "fell".
    return number(abs(case.value), case.feature.unit, language)


def _reference(case: Case, language: Language) -> str:
    return number(abs(case.reference), case.feature.unit, language)


def _points(points: int, language: Language) -> str:
    if language == "en":
        return f"{abs(points)} percentage points"
    return f"{abs(points)}个百分点"


def _none(case: Case, feature: str) -> str:
    """The share of the comparison accounts whose value is zero, rounded down."""
    comparison = case.evidence.comparison
    known = comparison.known[feature]
    # Whole numbers below 1 are zero, as for the median.
    is_whole = UNITS[feature] in WHOLE
    zeros = bisect_left(known, 1.0) if is_whole else bisect_right(known, 0.0)
    return f"{zeros * 100 // comparison.size}%"


def _limit(case: Case, language: Language) -> str:
    """The limit that shares are of; a cut of the last months does not raise a share."""
    values = case.evidence.values
    earlier = values["established_limit"]
    if earlier <= values["limit_now"]:
        return "your limit" if language == "en" else "额度"
    amount = number(earlier, "CNY", language)
    # The notice names two other limits: before and after this decision.
    return f"your earlier limit of {amount}" if language == "en" else f"此前额度{amount}"


def _month(case: Case, ago: float, language: Language) -> str:
    return _name_month(int(case.evidence.amounts[AS_OF] - ago), language)


@lru_cache(maxsize=1024)
def _name_month(index: int, language: Language) -> str:
    return month_name(month_of(index), language)


# Placeholders that are no feature and no amount.
_WORDS: Mapping[str, Word] = {
    "value": _value,
    "reference": _reference,
    "points": lambda case, language: _points(case.points, language),
    "reference_points": lambda case, language: _points(percent(case.reference), language),
    "none": lambda case, _: _none(case, case.feature.name),
    "your_limit": _limit,
    "due_missing": lambda case, language: number(case.missing, "CNY", language),
    "bill_month": lambda case, language: _month(case, 1, language),
    "before_6": lambda case, language: _month(case, 6, language),
    AS_OF: lambda case, language: _month(case, 0, language),
}
