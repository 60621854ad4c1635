"""Statements to features: one row per account, the same function for one account and for ten
million.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue import CATALOGUE, Feature
from features.window import Window, lay_out

# statements laid out at a time: they fit the processor's cache, and memory stays flat
ROWS_A_BLOCK = 200_000


@dataclass(frozen=True, slots=True)
class Features:
    """The features of some accounts, in order of account.

    ``accounts`` has the columns ``account_id``, ``product`` and ``as_of``; ``values`` is float64
    (accounts, features), NaN = unknown, never infinite; ``names`` gives its columns.
    """

    accounts: pl.DataFrame
    names: tuple[str, ...]
    values: NDArray[np.float64]

    def column(self, name: str) -> NDArray[np.float64]:
        """One feature, float64 (accounts,).  ValueError where there is none of that name."""
        return self.values[:, self._place(name)]

    def matrix(self, names: Sequence[str]) -> NDArray[np.float64]:
        """These features in this order, float64 (accounts, len(names)), C-contiguous."""
        return np.ascontiguousarray(self.values[:, [self._place(name) for name in names]])

    def frame(self) -> pl.DataFrame:
        """As a table: the columns of ``accounts``, then one float64 column a feature with null for
        unknown.
        """
        table = pl.from_numpy(self.values, schema=list(self.names)).fill_nan(None)
        return pl.concat([self.accounts, table], how="horizontal")

    def _place(self, name: str) -> int:
        try:
            return self.names.index(name)
        except ValueError:
            raise ValueError(f"expected a feature of the catalogue, got {name!r}") from None


def build(statements: pl.DataFrame, catalogue: tuple[Feature, ...] = CATALOGUE) -> Features:
    """The features of each account in a table that :func:`features.schema.check` returned.

    An account's values are the same to the last bit whatever other accounts stand in the table.
    """
    blocks = [_block(block, catalogue) for block in _whole_accounts(statements)]
    return blocks[0] if len(blocks) == 1 else _concatenate(blocks)


def values_of(window: Window, catalogue: tuple[Feature, ...] = CATALOGUE) -> NDArray[np.float64]:
    """The features of a window's accounts, float64 (accounts, features), NaN = unknown."""
    with np.errstate(invalid="ignore"):  # NaN is unknown here, and compares as such
        # + 0.0: a limit sent as -0.0 is 0, and an answer says so.
        return np.column_stack([feature.expression(window) for feature in catalogue]) + 0.0


def _block(statements: pl.DataFrame, catalogue: tuple[Feature, ...]) -> Features:
    window = lay_out(statements)
    values = values_of(window, catalogue)
    last = np.cumsum(window.months_observed.astype(np.int64)) - 1
    columns = (("account_id", "account_id"), ("product", "product"), ("as_of", "month"))
    accounts = pl.DataFrame({name: statements[column][last] for name, column in columns})
    return Features(accounts, tuple(feature.name for feature in catalogue), values)


def _whole_accounts(statements: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Slices of about ROWS_A_BLOCK rows that do not cut through an account."""
    account = statements["account_id"]
    start = 0
    while statements.height - start > ROWS_A_BLOCK:
        end = start + ROWS_A_BLOCK
        while end < statements.height and account[end] == account[end - 1]:
            end += 1
        yield statements.slice(start, end - start)
        start = end
    if start < statements.height or start == 0:
        yield statements.slice(start)


def _concatenate(blocks: Sequence[Features]) -> Features:
    accounts = pl.concat([block.accounts for block in blocks])
    return Features(accounts, blocks[0].names, np.concatenate([block.values for block in blocks]))
