"""Is the second model better than the first?  Stated rules, over intervals and not over figures.

It is where, of AUC, Brier score, log loss and value under the policy,

1. none has its whole interval on the first's side of 0, and
2. at least one has its whole interval on the second's side.

KS is shown and not asked: it looks at one threshold, which the policy does not use.  Two equal
models are not better than each other, and of two at most one is better than the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

ASKED = ("auc", "brier", "log_loss", "value")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether ``second`` is better than ``first``; which measures are on its side and which on the
    first's.
    """

    first: str
    second: str
    better: bool
    for_second: tuple[str, ...]
    for_first: tuple[str, ...]

    def __str__(self) -> str:
        """One line.

        >>> print(Verdict("champion", "v2", True, ("log_loss",), ()))
        v2 is better than champion: log_loss beyond noise, nothing worse
        """
        said = f"{self.second} is {'' if self.better else 'not '}better than {self.first}: "
        if self.better:
            return said + f"{', '.join(self.for_second)} beyond noise, nothing worse"
        if self.for_first:
            return said + f"{', '.join(self.for_first)} worse beyond noise"
        return said + "nothing differs beyond noise"


def verdict(first: str, second: str, differences: pl.DataFrame, value: pl.DataFrame) -> Verdict:
    """By the rules above, from the rows of this pair: of
    :func:`training.evaluate.paired_tests.differences` and of ``value``.
    """
    sides = dict(differences.select("measure", "favours").iter_rows())
    sides["value"] = value.filter(model=second)["favours"].item()
    for_second, for_first = (
        tuple(name for name in ASKED if sides[name] == side) for side in ("second", "first")
    )
    return Verdict(first, second, bool(for_second) and not for_first, for_second, for_first)
