"""Accounts to splits and folds, by a hash of the account id: all rows of an account are on one
side.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data.config import DataConfig

Split = Literal["train", "valid", "test"]


def assign_splits(accounts: pl.Series, config: DataConfig) -> NDArray[np.str_]:
    """The split of each account, by a hash of its name and the seed: the same in any table and any
    order.
    """
    draws = _draws(accounts, config.split_seed.to_bytes(8, "big"))
    return np.where(
        draws < config.test_share,
        "test",
        np.where(draws < config.test_share + config.valid_share, "valid", "train"),
    )


def assign_folds(accounts: pl.Series, count: int, config: DataConfig) -> NDArray[np.int64]:
    """The fold of each account, 0 to ``count - 1``, by another hash of its name: all months of an
    account share one.
    """
    return (_draws(accounts, b"folds" + config.split_seed.to_bytes(8, "big")) * count).astype(
        np.int64
    )


def _draws(accounts: pl.Series, key: bytes) -> NDArray[np.float64]:
    """A number in [0, 1) an account, the same for the same name and key."""
    # Not a checksum: those are linear, so that another seed moves all accounts alike and redraws
    # nothing.
    hashes = (
        hashlib.blake2b(name.encode(), digest_size=8, key=key).digest()
        for name in accounts.to_list()
    )
    # 53 bits: what a float64 holds, so that no draw is rounded up to 1.
    return (
        np.fromiter(
            (int.from_bytes(digest, "big") >> 11 for digest in hashes), np.float64, len(accounts)
        )
        / 2**53
    )
