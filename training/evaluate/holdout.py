"""A bundle put to accounts that none of its trees saw: what it says of them, what it would do, and
what became of them.

Whatever compares, gates or reports looks at models through this: the same accounts for each,
decided as they would be served.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.schema import check
from features.types import Vector
from serving.decision.bundle import Bundle
from serving.decision.pipeline import stages
from serving.decision.result import Stages
from training.data.config import DataConfig, DataError
from training.data.dataset import Source
from training.data.labels import (
    Labelled,
    choose_as_ofs,
    label_accounts,
    label_accounts_at,
    select_windows,
    soon_after,
)

GROUPS = ("gender", "age_band", "region")  # of ``accounts``: for measuring fairness, never features


@dataclass(frozen=True, slots=True)
class HoldOut:
    """Accounts on one day, in order of name, with what became of them: the same for every bundle
    that is put to them.

    ``statements`` are their checked windows up to ``as_of``; ``label`` (float64, 0 or 1) is theirs;
    ``people`` has one row an account: ``account_id``, ``product`` and the columns of :data:`GROUPS`
    (str, null where not known).  ``data`` is the digest of the source.
    """

    as_of: datetime.date
    statements: pl.DataFrame
    label: Vector
    people: pl.DataFrame
    data: str

    def take(self, rows: NDArray[np.int64]) -> HoldOut:
        """These accounts alone; ``rows`` ascending."""
        people = self.people[rows.tolist()]
        seen = self.statements.join(
            people.select("account_id"), on="account_id", how="semi", maintain_order="left"
        )
        return HoldOut(self.as_of, seen, self.label[rows], people, self.data)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a bundle makes of a hold-out; arrays in order of its accounts.

    ``name`` is how it was asked for.
    """

    name: str
    bundle: Bundle
    hold_out: HoldOut
    stages: Stages

    @property
    def label(self) -> Vector:
        """What became of them: float64, 0 or 1."""
        return self.hold_out.label

    @property
    def probability(self) -> Vector:
        """Float64 in (0, 1)."""
        return self.stages.scores.probability

    @property
    def log_odds(self) -> Vector:
        """Calibrated, float64."""
        return self.stages.scores.log_odds

    @property
    def actions(self) -> NDArray[np.str_]:
        """``keep``, ``reduce``, ``suspend`` or ``review``."""
        return np.array([decision.action for decision in self.stages.decisions])

    @property
    def limits(self) -> tuple[Vector, Vector]:
        """CNY before and after; under ``review`` after is what a person is asked to confirm."""
        made = self.stages.decisions
        after = [d.new_limit if d.proposed_limit is None else d.proposed_limit for d in made]
        return np.array([d.credit_limit for d in made]), np.array(after)

    @property
    def cut(self) -> NDArray[np.bool_]:
        """Whose limit is cut or suspended, or proposed to be, by the model or by a rule."""
        before, after = self.limits
        cut: NDArray[np.bool_] = (after < before) | (self.actions == "suspend")
        return cut

    @property
    def first_reasons(self) -> NDArray[np.str_]:
        """The code of the first reason; "" where there is none."""
        return np.array([d.reasons[0].code if d.reasons else "" for d in self.stages.decisions])


def hold_out(
    source: Source,
    config: DataConfig,
    folder: Path | None = None,
    as_of: datetime.date | None = None,
) -> HoldOut:
    """The test accounts of a source on the last day whose outcome is known; every labelled one
    where the data bring labels.

    ``folder`` is the source's: who people are is read from its ``accounts``, where it has any.
    ``as_of`` is another month to look at them in.  Raises :class:`training.data.config.DataError`
    where the data are too short or hold no such account.
    """
    found, as_of = _labelled(source, config, as_of)
    accounts = found.features.accounts
    seen = select_windows(source.statements, as_of).join(
        accounts.select("account_id"), on="account_id", how="semi"
    )
    order = np.argsort(accounts["account_id"].to_numpy(), kind="stable")
    named = accounts.select(pl.col("account_id"), pl.col("product").cast(pl.String))[order.tolist()]
    return HoldOut(
        as_of, check(seen), found.label[order], _with_groups(named, folder), source.digest
    )


def evaluate(name: str, bundle: Bundle, on: HoldOut) -> Evaluation:
    """What the bundle says of a hold-out, decided as it would be served, soon after the month's
    statements came.
    """
    made = stages(on.statements, bundle, soon_after(on.as_of))
    if made.features.accounts["account_id"].to_list() != on.people["account_id"].to_list():
        raise DataError("hold-out: expected one decision an account, in order of account")
    return Evaluation(name, bundle, on, made)


def _labelled(
    source: Source, config: DataConfig, as_of: datetime.date | None
) -> tuple[Labelled, datetime.date]:
    if source.labels is None:
        month = choose_as_ofs(source.statements["month"], config)[-1][0] if as_of is None else as_of
        return label_accounts_at(source.statements, month, frozenset({"test"}), config), month
    last = source.labels["as_of"].max() if as_of is None else as_of
    if not isinstance(last, datetime.date):
        raise DataError(f"labels.parquet: expected dates in as_of, got {last!r}")
    every = label_accounts(source, config)
    chosen = np.flatnonzero((every.features.accounts["as_of"] == last).to_numpy())
    return every.take(chosen), last


def _with_groups(named: pl.DataFrame, folder: Path | None) -> pl.DataFrame:
    files = [] if folder is None else sorted((folder / "accounts").glob("*.parquet"))
    if not files:
        return named.with_columns(pl.lit(None, pl.String).alias(group) for group in GROUPS)
    people = pl.concat([pl.read_parquet(file) for file in files])
    known = people.select(
        "account_id",
        *(pl.col(group).cast(pl.String) for group in GROUPS if group in people.columns),
    )
    joined = named.join(known, on="account_id", how="left", maintain_order="left")
    absent = [
        pl.lit(None, pl.String).alias(group) for group in GROUPS if group not in people.columns
    ]
    return joined.with_columns(absent)
