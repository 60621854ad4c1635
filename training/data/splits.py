"""Accounts to splits and folds, by a hash of the account id: an account is in one of each."""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.types import Rows, Vector
from training.data.config import DataConfig

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


def assign_splits(accounts: pl.Series, config: DataConfig) -> NDArray[np.str_]:
    """Return the split of each account id.

    It depends on the id and ``config.split_seed`` only: it is the same in any table and order.
    """
    draws = draw(accounts, config.split_seed.to_bytes(8, "big"))
    # The test accounts have the lowest draws: another valid_share moves none of them.
    fitting = np.where(
        draws < config.test_share + config.valid_share,
        "valid",
        "train",
    )
    return np.where(draws < config.test_share, "test", fitting)


def assign_folds(
    accounts: pl.Series,
    count: int,
    config: DataConfig,
) -> Rows:
    """Return the fold of each account id, 0 to ``count - 1``.

    The hash is another than that of :func:`assign_splits`: otherwise the training accounts, which
    have the highest draws, would all be in the last folds.
    """
    seed = config.split_seed.to_bytes(8, "big")
    draws = draw(accounts, b"folds" + seed)
    return (draws * count).astype(np.int64)


def draw(accounts: pl.Series, key: bytes) -> Vector:
    """Return a number in [0, 1) for each account id, a function of the id and the key."""
    # Not a checksum such as CRC: those are linear, so another seed would move all accounts alike
    # and redraw nothing.
    digests = (
        hashlib.blake2b(
            name.encode(),
            digest_size=8,
            key=key,
        ).digest()
        for name in accounts.to_list()
    )
    # 53 bits are what a float64 holds, so that no draw is rounded up to 1.
    integers = (int.from_bytes(digest, "big") >> 11 for digest in digests)
    numerators = np.fromiter(integers, np.float64, len(accounts))
    return numerators / 2**53
