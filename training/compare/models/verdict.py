"""The verdict on two models: is the second better than the first?  By intervals, not by figures.

It is better where, of AUC, Brier score, log loss and value under the policy,

1. no measure has its whole interval on the first's side of 0, and
2. at least one measure has its whole interval on the second's side.

KS is shown but does not count: it is a property of one threshold, which the policy does not use.
Two equal models are not better than each other, and at most one of two is better than the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

DECIDING = ("auc", "brier", "log_loss", "value")


@dataclass(frozen=True, slots=True)
class ModelVerdict:
    """Whether ``second`` is better than ``first``, with the measures in favour of each."""

    first: str
    second: str
    better: bool
    for_second: tuple[str, ...]
    for_first: tuple[str, ...]

    def __str__(self) -> str:
        """One line.

        >>> print(ModelVerdict("champion", "v2", True, ("log_loss",), ()))
        v2 is better than champion: log_loss beyond noise, nothing worse
        """
        if self.better:
            in_favour = ", ".join(self.for_second)
            return (
                f"{self.second} is better than {self.first}: "
                f"{in_favour} beyond noise, nothing worse"
            )
        why = "nothing differs beyond noise"
        if self.for_first:
            why = f"{', '.join(self.for_first)} worse beyond noise"
        return f"{self.second} is not better than {self.first}: {why}"


def judge(first: str, second: str, differences: pl.DataFrame, value: pl.DataFrame) -> ModelVerdict:
    """Apply the rules above to one pair of models.

    ``differences`` has the rows of :func:`training.evaluate.paired_tests.differences` for this
    pair; ``value`` is the whole table of values.
    """
    sides = dict(differences.select("measure", "favours").iter_rows())
    sides["value"] = value.filter(model=second)["favours"].item()
    for_second = tuple(name for name in DECIDING if sides[name] == "second")
    for_first = tuple(name for name in DECIDING if sides[name] == "first")
    better = bool(for_second) and not for_first
    return ModelVerdict(first, second, better, for_second, for_first)
