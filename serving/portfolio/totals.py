"""How many accounts of a portfolio got which action, and the limits that went with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass

import polars as pl

_TAKEN = (pl.col("credit_limit") - pl.col("new_limit")).clip(lower_bound=0.0)
_TAKEN_FROM_GOOD = _TAKEN * (1.0 - pl.col("probability"))


@dataclass(frozen=True, slots=True)
class Total:
    """The accounts of one product with one action; limits are sums in CNY.

    ``proposed`` is that of the limits that a person is asked to confirm; 0 unless under ``review``.
    ``taken_from_good`` is what a cut takes, times the probability that its customer would have
    paid.
    """

    product: str
    action: str
    accounts: int
    limit_before: float
    limit_after: float
    proposed: float
    taken_from_good: float = 0.0


class Totals:
    """The totals of a portfolio or of a part of it, by product and action."""

    def __init__(self, totals: Iterable[Total] = ()) -> None:
        self._of: dict[tuple[str, str], Total] = {}
        for total in totals:
            self._add(total)

    @classmethod
    def of_table(cls, decisions: pl.DataFrame) -> Totals:
        """Those of a table of :data:`serving.portfolio.block.SCHEMA`."""
        grouped = decisions.group_by("product", "action").agg(
            accounts=pl.len(),
            limit_before=pl.col("credit_limit").sum(),
            limit_after=pl.col("new_limit").sum(),
            proposed=pl.col("proposed_limit").sum(),
            taken_from_good=_TAKEN_FROM_GOOD.sum(),
        )
        return cls.of_rows(grouped.iter_rows(named=True))

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, object]]) -> Totals:
        """What :meth:`rows` gave."""
        return cls(Total(**row) for row in rows)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Total]:
        """In order of product and action."""
        return (self._of[key] for key in sorted(self._of))

    def keys(self) -> Collection[tuple[str, str]]:
        """Product and action of each total."""
        return self._of.keys()

    def of(self, product: str, action: str) -> Total:
        """That of a product and an action, of no account where there is none."""
        return self._of.get((product, action), Total(product, action, 0, 0.0, 0.0, 0.0))

    def rows(self) -> list[dict[str, object]]:
        """One JSON object a total."""
        return [asdict(total) for total in self]

    def plus(self, others: Totals) -> Totals:
        """The totals of both parts."""
        return Totals([*self, *others])

    @property
    def accounts(self) -> int:
        """All of them."""
        return sum(total.accounts for total in self)

    def _add(self, total: Total) -> None:
        key = total.product, total.action
        known = self._of.get(key)
        if known is not None:
            total = Total(
                *key,
                accounts=known.accounts + total.accounts,
                limit_before=known.limit_before + total.limit_before,
                limit_after=known.limit_after + total.limit_after,
                proposed=known.proposed + total.proposed,
                taken_from_good=known.taken_from_good + total.taken_from_good,
            )
        self._of[key] = total
