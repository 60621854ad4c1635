"""The reference of drift: the accounts that a service would have been asked about before.

A service is asked about every account, also one that is past due or whose outcome nobody knows yet.
The labelled hold-out leaves these out, because a label is not defined for them.  Compared with it,
every month would differ by the accounts past due alone.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from features.schema import check
from features.types import Vector
from serving.decision.bundle import Bundle
from serving.decision.pipeline import stages
from serving.decision.result import Stages
from training.data.config import DataConfig, DataError
from training.data.dataset import Source
from training.data.label_file import last_labelled_month
from training.data.labels import select_windows, soon_after
from training.data.observation import observe
from training.data.splits import assign_splits
from training.evaluate.drift import DriftSample


@dataclass(frozen=True, slots=True)
class ReferencePopulation:
    """Decisions on every account that no tree saw, in the last month of its product.

    ``months`` are the months by product; ``parts`` the decisions of each product.
    """

    months: Mapping[str, datetime.date]
    parts: tuple[Stages, ...]

    @property
    def probability(self) -> Vector:
        """Calibrated probability of each account, float64 in (0, 1)."""
        return np.concatenate([part.scores.probability for part in self.parts])

    def sample(self, names: tuple[str, ...]) -> DriftSample:
        """Return the inputs in these features, and the outputs."""
        matrices = [part.features.matrix(names) for part in self.parts]
        log_odds = [part.scores.log_odds for part in self.parts]
        decisions = [decision for part in self.parts for decision in part.decisions]
        reasons = [decision.reasons for decision in decisions]
        return DriftSample(
            matrix=np.concatenate(matrices),
            log_odds=np.concatenate(log_odds),
            first_reasons=[stated[0].code if stated else "" for stated in reasons],
        )


def decide_reference(
    source: Source,
    config: DataConfig,
    bundle: Bundle,
) -> ReferencePopulation:
    """Decide on the test accounts of a source, as the service would after the last statements.

    If the data bring labels, no account is held out, and all accounts of the last as_of are used.
    ``config`` is that of the bundle's fit.  Raises DataError where there is no such account.
    """
    months = {}
    parts = []
    for product, month in sorted(_last_months(source, config).items()):
        is_own = pl.col("product").cast(pl.String) == product
        windows = select_windows(source.statements.filter(is_own), month)
        accounts = windows["account_id"].unique().sort()
        if source.labels is None:
            accounts = accounts.filter(assign_splits(accounts, config) == "test")
        if accounts.is_empty():
            continue
        statements = windows.filter(pl.col("account_id").is_in(accounts.implode()))
        parts.append(stages(check(statements), bundle, soon_after(month)))
        months[product] = month
    if not parts:
        raise DataError("expected accounts that no tree saw in the last month, got none")
    return ReferencePopulation(months, tuple(parts))


def _last_months(source: Source, config: DataConfig) -> dict[str, datetime.date]:
    """The month of each product's reference."""
    if source.labels is None:
        return dict(observe(source.statements, config.default_days).ends)
    last = last_labelled_month(source.labels)
    products = source.statements["product"].cast(pl.String).unique().to_list()
    return dict.fromkeys(products, last)
