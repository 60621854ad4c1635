"""One account's feature that a sentence is about, and the texts of the file that apply to it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from features.catalogue import BY_NAME, Feature, Unit
from features.catalogue.amounts import AMOUNTS
from serving.decision.config.reasons import FURTHER, Comparing, Sentence, Text, Variant
from serving.decision.reasons.wording import number, printed_amount

if TYPE_CHECKING:  # ranking imports this module
    from serving.decision.reasons.ranking import Evidence

# The unit of everything that a sentence may state.
UNITS: Mapping[str, Unit] = {fact.name: fact.unit for fact in (*BY_NAME.values(), *AMOUNTS)}
WHOLE: tuple[Unit, ...] = ("months", "days", "count")
# The features whose value before it is rounded to the feature's step is known, with its name.
_EXACT = {name: f"{name}_exact" for name in BY_NAME if f"{name}_exact" in UNITS}
# The months that a sentence covers, in its placeholders: "last" has all, "bills" those with a bill.
_COVERED = re.compile(r"\{(last|bills)_(\d+)\}")
_LITTLE = 5  # percent


class Case:
    """A feature of an account with the account's evidence.

    Attributes:
        feature: Of the catalogue.
        evidence: Of the account.
        value: The value before it is rounded to the feature's step, where that is known.
    """

    __slots__ = ("evidence", "feature", "value")

    def __init__(self, feature: Feature, evidence: Evidence) -> None:
        self.feature = feature
        self.evidence = evidence
        self.value = evidence.values[feature.name]
        if feature.name in _EXACT:
            self.value = evidence.amounts.get(_EXACT[feature.name], self.value)

    @property
    def reference(self) -> float:
        """The median of the comparison accounts; NaN = unknown.

        Of whole numbers it is one that half of the accounts reach: not 1.5, but 1 or 2.
        """
        median = self.evidence.comparison.medians.get(self.feature.name, math.nan)
        if self.feature.unit not in WHOLE or math.isnan(median):
            return median
        return math.floor(median) if self.feature.direction > 0 else math.ceil(median)

    @property
    def points(self) -> int:
        """The change of the printed utilization over six months, percentage points."""
        amounts = self.evidence.amounts
        return percent(amounts["utilization_latest"]) - percent(amounts["utilization_before_6"])

    @property
    def missing(self) -> float:
        """What was due on the last bill less what was paid, of the printed amounts; NaN."""
        amounts = self.evidence.amounts
        return printed_amount(amounts["due_now"]) - printed_amount(amounts["payment_now"])

    def texts(self, sentence: Sentence, unmapped: Text) -> list[Text]:
        """The texts of the feature's table that apply, in order.

        ``unmapped`` is for an unknown value for which the table has no words.
        """
        variant = self.variant(sentence)
        if variant in ("unknown", "no_income"):
            return [sentence.variants.get(variant, unmapped)]
        usual = sentence.usual if variant is None else sentence.variants[variant]
        return [usual, *self.further(sentence), *self.comparing(sentence, variant)]

    def variant(self, sentence: Sentence) -> Variant | None:
        """The variant of the sentence that this value has; None = the usual sentence."""
        if math.isnan(self.value):
            no_income = math.isnan(self.evidence.values["income"])
            return "no_income" if no_income and "no_income" in sentence.variants else "unknown"
        for variant in sentence.variants:  # in the order of VARIANTS
            if variant in _APPLIES and _APPLIES[variant](self, sentence):
                return variant
        return None

    def further(self, sentence: Sentence) -> list[Text]:
        """The sentences about what a value is measured with, those that apply."""
        if not sentence.further:
            return []
        own = [name for name in FURTHER if name in sentence.further]
        return [sentence.further[name] for name in own if self.count(name) > 0]

    def comparing(self, sentence: Sentence, variant: Variant | None) -> list[Text]:
        """The sentence about the comparison accounts; empty where the file has none."""
        reference = self.reference
        if math.isnan(reference):
            return []
        case: Comparing = "others"
        if reference <= 0:
            case = "others_nothing" if self.reads_as_zero(reference) else "others_fell"
        elif variant in ("little", "little_one_month"):
            return []  # a share would be compared with an amount
        return [sentence.comparing[case]] if case in sentence.comparing else []

    def count(self, of: str) -> float:
        """How many months of the sentence are so: the ends of names in catalogue/amounts.py."""
        return self.evidence.amounts[f"{self.feature.name}_{of}"]

    def covered(self, sentence: Sentence) -> float:
        """The months that the sentence covers: those it names, or the whole history."""
        found = _covered(sentence.usual.en)
        if found is None:
            return self.evidence.values["months_observed"]
        return self.months_covered(*found)

    def months_covered(self, kind: str, months: int) -> float:
        """At most ``months``; a history of 4 months has 4, of which 3 have a bill before them."""
        observed = self.evidence.values["months_observed"]
        return min(months, observed - 1 if kind == "bills" else observed)

    def reads_as_zero(self, value: float) -> bool:
        """Whether a customer reads a value of this feature as zero."""
        # Negative, because a small positive number is "less than 1%".
        zero = number(0.0, self.feature.unit, "en")
        return number(-abs(value), self.feature.unit, "en") == zero


def percent(share: float) -> int:
    """Whole percent, as :func:`~serving.decision.reasons.wording.number` writes it."""
    return round(share * 100)


@lru_cache(maxsize=1024)  # a search in each usual sentence would be made for each account
def _covered(usual: str) -> tuple[str, int] | None:
    """The kind of months that a sentence covers, and how many; None = the whole history."""
    found = _COVERED.search(usual)
    return None if found is None else (found[1], int(found[2]))


def _change(case: Case, sentence: Sentence) -> float:
    """The change that is told: of the printed numbers, where the sentence prints both ends."""
    return case.points if "{points}" in sentence.usual.en else case.value


def _is_unpaid(case: Case) -> bool:
    amounts = case.evidence.amounts
    return amounts["payment_now"] == 0 and amounts["bill_now"] > 0 and case.missing > 0


def _is_part_paid(case: Case) -> bool:
    return case.evidence.amounts["payment_now"] > 0 and case.missing > 0


def _is_little(case: Case) -> bool:
    return percent(case.value) < _LITTLE


# When a known value has a variant.
_APPLIES: Mapping[Variant, Callable[[Case, Sentence], bool]] = {
    "partly": lambda case, sentence: case.count("months") < case.covered(sentence),
    "same": lambda case, sentence: case.reads_as_zero(_change(case, sentence)),
    "fell": lambda case, sentence: _change(case, sentence) < 0,
    "from_nothing": lambda case, _: case.evidence.amounts["utilization_before_6"] == 0,
    "unpaid": lambda case, _: _is_unpaid(case),
    "part_paid": lambda case, _: _is_part_paid(case),
    "nothing": lambda case, _: case.value == 0,
    "once": lambda case, _: case.value == 1,
    "gaps": lambda case, _: case.count("gaps") > 0,
    "little_one_month": lambda case, _: _is_little(case) and case.count("in") == 1,
    "one_month": lambda case, _: case.count("in") == 1,
    "little": lambda case, _: _is_little(case),
    "every": lambda case, sentence: case.value == case.covered(sentence),
}
