"""Books whose outcome is a coin tossed once for each account."""

from __future__ import annotations

import datetime

import numpy as np
import polars as pl

from features.build import Features
from features.catalogue import CATALOGUE
from training.data.labels import Labelled

FEATURES = tuple(feature.name for feature in CATALOGUE)


def toss_coins(seed: int, accounts: int, months: int, rate: float = 0.1) -> Labelled:
    """Return a labelled frame of ``accounts`` x ``months`` rows, at most 12 months.

    Features differ between accounts and hardly between an account's months; none of them says how
    the coin fell.  ``rate`` is the chance of label 1.
    """
    random = np.random.default_rng(seed)
    coin = (random.random(accounts) < rate).astype(np.float64)
    level = random.normal(size=(accounts, len(FEATURES)))
    owner = np.repeat(np.arange(accounts), months)
    values = level[owner] + random.normal(0, 0.02, (len(owner), len(FEATURES)))
    month = np.tile(np.arange(1, months + 1), accounts)
    table = pl.DataFrame(
        {
            "account_id": [f"k{number:04}" for number in owner.tolist()],
            "product": "cash_loan",
            "as_of": [datetime.date(2026, number, 1) for number in month.tolist()],
        }
    )
    features = Features(table, FEATURES, values)
    return Labelled(features, coin[owner], np.full(len(owner), "train"))
