"""Whether all statements of each account of a portfolio were in one file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from serving.portfolio.errors import PortfolioError
from serving.portfolio.order import Order
from serving.portfolio.worker import Done


def check_accounts(found: Sequence[Done], order: Order) -> None:
    """Raise :class:`PortfolioError` if an account is in two partitions."""
    hashes, sources = [], []
    for place, done in enumerate(found):
        for name in done.decisions:
            ids = pl.read_parquet(order.decisions / name, columns=["account_id"])["account_id"]
            hashes.append(ids.hash().to_numpy())
            sources.append(np.full(len(ids), place, dtype=np.int32))
    if not hashes:
        return
    together = np.concatenate(hashes)
    in_order = np.argsort(together, kind="stable")
    twice = np.flatnonzero(np.diff(together[in_order]) == 0)
    if len(twice) == 0:
        return
    # Hashes of two names may be equal by chance: only the names of a few files are compared.
    of_account = np.concatenate(sources)[in_order]
    for first in twice.tolist():
        pair = found[of_account[first]], found[of_account[first + 1]]
        _check_pair(*pair, order)


def _check_pair(one: Done, other: Done, order: Order) -> None:
    names, others = (_account_ids(done, order) for done in (one, other))
    both = sorted(names & others) if one.name != other.name else []
    if both:
        more = f" and {len(both) - 1} more" if len(both) > 1 else ""
        raise PortfolioError(
            f"{order.statements}: expected all statements of an account in one file, got account "
            f"{both[0]}{more} in {one.name}.parquet and in {other.name}.parquet"
        )


def _account_ids(done: Done, order: Order) -> set[str]:
    ids: set[str] = set()
    for name in done.decisions:
        table = pl.read_parquet(order.decisions / name, columns=["account_id"])
        ids.update(table["account_id"])
    return ids
