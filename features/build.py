"""From statements to features: the same code computes one account and millions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl

from features.catalogue import CATALOGUE, Feature
from features.display import notebook_display
from features.program.evaluate import evaluate
from features.types import Matrix, Rows, Vector
from features.window import Window, lay_out

# Statements in a block, which one thread computes: its columns fit into the processor's cache, and
# a big table needs only constant memory in addition to itself.
ROWS_A_BLOCK = 50_000
FEATURE_NAMES = tuple(feature.name for feature in CATALOGUE)  # the columns of values_of()


@notebook_display
@dataclass(frozen=True, slots=True)
class Features:
    """The features of several accounts, in order of account.

    Attributes:
        accounts: The columns ``account_id``, ``product`` and ``as_of``.
        names: The names of the columns of ``values``.
        values: float64 (accounts, features), NaN = unknown, never infinite.
    """

    accounts: pl.DataFrame
    names: tuple[str, ...]
    values: Matrix

    def column(self, name: str) -> Vector:
        """One feature, float64 (accounts,).

        Raises:
            ValueError: There is no feature of that name.
        """
        return self.values[:, self._position(name)]

    def matrix(self, names: Sequence[str]) -> Matrix:
        """These features in this order, float64 (accounts, len(names)), C-contiguous.

        Raises:
            ValueError: There is no feature of one of these names.
        """
        positions = [self._position(name) for name in names]
        return np.take(self.values, positions, axis=1)

    def frame(self) -> pl.DataFrame:
        """The columns of ``accounts``, then one float64 column per feature with null = unknown."""
        table = pl.from_numpy(self.values, schema=list(self.names)).fill_nan(None)
        return pl.concat([self.accounts, table], how="horizontal")

    def _position(self, name: str) -> int:
        try:
            return self.names.index(name)
        except ValueError:
            raise ValueError(f"expected a feature of the catalogue, got {name!r}") from None


def build(statements: pl.DataFrame, catalogue: tuple[Feature, ...] = CATALOGUE) -> Features:
    """The features of each account in a table that :func:`features.schema.check` returned.

    An account's values are the same to the last bit whichever other accounts are in the table.
    """
    slices = list(_split_by_account(statements))
    if len(slices) == 1:
        return _build_block(slices[0], catalogue)
    # Polars and the compiled program release the GIL.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        blocks = list(pool.map(lambda block: _build_block(block, catalogue), slices))
    accounts = pl.concat([block.accounts for block in blocks])
    return Features(accounts, blocks[0].names, np.concatenate([block.values for block in blocks]))


def build_from_window(
    window: Window, accounts: pl.DataFrame, catalogue: tuple[Feature, ...] = CATALOGUE
) -> Features:
    """The features of the accounts of a window; ``accounts`` as in :func:`latest_accounts`."""
    names = tuple(feature.name for feature in catalogue)
    return Features(accounts, names, values_of(window, catalogue))


def latest_accounts(statements: pl.DataFrame, window: Window) -> pl.DataFrame:
    """The ``account_id``, ``product`` and ``as_of`` of each account of a window.

    ``statements`` is the table from which :func:`features.window.lay_out` made the window.
    """
    last = np.cumsum(window.months_observed.astype(np.int64)) - 1
    columns = [statements[name] for name in ("account_id", "product", "month")]
    if len(last) == 1:  # a slice, because Polars plans a query to gather a row
        latest = [column.slice(int(last[0]), 1) for column in columns]
    else:
        latest = [column[last] for column in columns]
    latest[2] = latest[2].rename("as_of")
    return pl.DataFrame(latest)


def values_of(window: Window, catalogue: tuple[Feature, ...] = CATALOGUE) -> Matrix:
    """The features of a window's accounts, float64 (accounts, features), NaN = unknown.

    Each is rounded to its :attr:`~features.catalogue.Feature.step`, so that a model is fitted on
    the numbers that it scores and that a customer reads.
    """
    return evaluate(window, catalogue)


def matrix_of(values: Matrix, names: tuple[str, ...]) -> Matrix:
    """These features in this order, of :func:`values_of` all; float64 (accounts, len(names)).

    Raises:
        ValueError: There is no feature of one of these names.
    """
    return values.take(places_of(names), axis=1)


@lru_cache(maxsize=64)  # a bundle has one tuple of names
def places_of(names: tuple[str, ...]) -> Rows:
    """The positions of these features in :data:`FEATURE_NAMES`, int64 (len(names),).

    Raises:
        ValueError: There is no feature of one of these names.
    """
    unknown = [name for name in names if name not in FEATURE_NAMES]
    if unknown:
        raise ValueError(f"expected features of the catalogue, got {unknown}")
    return np.array([FEATURE_NAMES.index(name) for name in names], dtype=np.int64)


def _build_block(statements: pl.DataFrame, catalogue: tuple[Feature, ...]) -> Features:
    window = lay_out(statements)
    return build_from_window(window, latest_accounts(statements, window), catalogue)


def _split_by_account(statements: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Slices of about ROWS_A_BLOCK rows, each with all rows of its accounts."""
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
