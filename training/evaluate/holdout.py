"""The hold-out, and a bundle evaluated on it: its scores, its decisions, and the known outcomes.

Every comparison, gate and report looks at models through :class:`Evaluation`: the same accounts for
each model, decided as the service would decide them.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.schema import check
from features.types import Mask, Rows, Vector
from serving.decision.bundle import Bundle
from serving.decision.pipeline import stages
from serving.decision.result import Stages
from training.data.config import DataConfig, DataError
from training.data.dataset import Source
from training.data.label_file import last_labelled_month
from training.data.labels import (
    Labelled,
    choose_as_ofs,
    label_accounts,
    label_accounts_at,
    select_windows,
    soon_after,
)
from training.data.outcome_counts import no_outcomes

GROUPS = ("gender", "age_band", "region")  # of ``accounts``: for measuring fairness, never features


@dataclass(frozen=True, slots=True)
class HoldOut:
    """Accounts on one day with their outcomes, in order of account id; the same for every bundle.

    ``statements`` are their checked windows up to ``as_of``; ``label`` their outcomes (float64, 0
    or 1).  ``people`` has one row an account: ``account_id``, ``product`` and the columns of
    :data:`GROUPS` (str, null where unknown).  ``data`` is the digest of the source.  ``outcomes``
    counts the accounts by how their outcome was observed, with those left out because it was not;
    see :func:`training.data.outcome_counts.count_outcomes`.

    Every test, interval and share of an evaluation counts its rows as independent ones: DataError
    where an account is in it twice.
    """

    as_of: datetime.date
    statements: pl.DataFrame
    label: Vector
    people: pl.DataFrame
    data: str
    outcomes: pl.DataFrame = field(default_factory=no_outcomes)

    def __post_init__(self) -> None:
        accounts = self.people["account_id"]
        repeated = accounts.filter(accounts.is_duplicated()).unique().sort()
        if len(repeated):
            raise DataError(
                f"hold-out of {self.as_of:%Y-%m}: expected one row an account, "
                f"got several of {len(repeated):,}, such as {repeated.head(3).to_list()}"
            )

    def take(self, rows: Rows) -> HoldOut:
        """Return the hold-out of these accounts alone; ``rows`` ascending."""
        people = self.people[rows.tolist()]
        statements = self.statements.join(
            people.select("account_id"),
            on="account_id",
            how="semi",
            maintain_order="left",
        )
        return HoldOut(
            as_of=self.as_of,
            statements=statements,
            label=self.label[rows],
            people=people,
            data=self.data,
            outcomes=self.outcomes,
        )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A bundle's scores and decisions on a hold-out; arrays in order of the hold-out's accounts.

    ``name`` is the model's name in tables and pages.
    """

    name: str
    bundle: Bundle
    hold_out: HoldOut
    stages: Stages

    @property
    def label(self) -> Vector:
        """The accounts' outcomes: float64, 0 or 1."""
        return self.hold_out.label

    @property
    def probability(self) -> Vector:
        """Calibrated probability of label 1, float64 in (0, 1)."""
        return self.stages.scores.probability

    @property
    def log_odds(self) -> Vector:
        """Calibrated log-odds, float64."""
        return self.stages.scores.log_odds

    @property
    def actions(self) -> NDArray[np.str_]:
        """``keep``, ``reduce``, ``suspend`` or ``review``."""
        return np.array([decision.action for decision in self.stages.decisions])

    @property
    def limits(self) -> tuple[Vector, Vector]:
        """Limits before and after the decision, CNY.

        Under ``review`` the limit after is the one proposed to the reviewer.
        """
        before = []
        after = []
        for decision in self.stages.decisions:
            proposed = decision.proposed_limit
            before.append(decision.credit_limit)
            after.append(decision.new_limit if proposed is None else proposed)
        return np.array(before), np.array(after)

    @property
    def cut(self) -> Mask:
        """Whether the limit is cut or suspended, or a cut is proposed, by model or rule."""
        before, after = self.limits
        # A suspension need not lower the limit: one that is drawn nearly in full keeps it.
        suspended = self.actions == "suspend"
        cut: Mask = (after < before) | suspended
        return cut

    @property
    def first_reasons(self) -> NDArray[np.str_]:
        """The code of the first reason; "" where a decision has no reason."""
        codes = []
        for decision in self.stages.decisions:
            reasons = decision.reasons
            codes.append(reasons[0].code if reasons else "")
        return np.array(codes)


def select_hold_out(
    source: Source,
    config: DataConfig,
    folder: Path | None = None,
    as_of: datetime.date | None = None,
) -> HoldOut:
    """Select the test accounts of a source on the last day whose outcome is known.

    If the data bring labels, all labelled accounts are selected.  ``folder`` is the source's; the
    fairness groups are read from its ``accounts``, if it has any.  ``as_of`` selects another month.
    Raises :class:`training.data.config.DataError` where the data are too short or have no such
    account.
    """
    data, day = _labelled_accounts(source, config, as_of)
    accounts = data.features.accounts
    windows = select_windows(source.statements, day)
    ids = accounts.select("account_id")
    statements = windows.join(ids, on="account_id", how="semi")
    # Decisions come back in order of account, whatever order the data have.
    order = np.argsort(accounts["account_id"].to_numpy(), kind="stable")
    products = accounts.select("account_id", pl.col("product").cast(pl.String))
    people = _join_groups(products[order.tolist()], folder)
    return HoldOut(
        as_of=day,
        statements=check(statements),
        label=data.label[order],
        people=people,
        data=source.digest,
        outcomes=data.outcomes,
    )


def evaluate(name: str, bundle: Bundle, on: HoldOut) -> Evaluation:
    """Decide on a hold-out with a bundle, as the service would soon after the month's statements.

    Raises DataError where the decisions are not one an account, in the hold-out's order.
    """
    decided_at = soon_after(on.as_of)
    result = stages(on.statements, bundle, decided_at)
    decided = result.features.accounts["account_id"].to_list()
    expected = on.people["account_id"].to_list()
    # Labels and decisions are joined by position; out of order, every measure would be wrong.
    if decided != expected:
        raise DataError("hold-out: expected one decision an account, in order of account")
    return Evaluation(name, bundle, on, result)


def _labelled_accounts(
    source: Source,
    config: DataConfig,
    as_of: datetime.date | None,
) -> tuple[Labelled, datetime.date]:
    if source.labels is None:
        day = as_of
        if day is None:
            as_ofs = choose_as_ofs(source.statements["month"], config)
            day, _ = as_ofs[-1]
        data = label_accounts_at(
            source.statements,
            day,
            frozenset({"test"}),
            config,
        )
        return data, day
    last = last_labelled_month(source.labels) if as_of is None else as_of
    data = label_accounts(source, config)
    is_last = data.features.accounts["as_of"] == last
    rows = np.flatnonzero(is_last.to_numpy())
    return data.take(rows), last


def _join_groups(accounts: pl.DataFrame, folder: Path | None) -> pl.DataFrame:
    """Add the columns of GROUPS from the folder's ``accounts``; null where they are unknown."""
    files = [] if folder is None else sorted((folder / "accounts").glob("*.parquet"))
    if not files:
        return accounts.with_columns(_null_column(group) for group in GROUPS)
    people = pl.concat([_read_groups(file) for file in files])
    repeated = people.filter(pl.col("account_id").is_duplicated())["account_id"]
    if not repeated.is_empty():
        first = repeated.unique(maintain_order=True).head(3).to_list()
        raise DataError(f"{files[0].parent}: expected one row an account, got more for {first}")
    return accounts.join(
        people,
        on="account_id",
        how="left",
        maintain_order="left",
    )


def _read_groups(file: Path) -> pl.DataFrame:
    # A path is no pattern: in the name "book[1]" the brackets are characters.
    people = pl.read_parquet(file, glob=False)
    known = [group for group in GROUPS if group in people.columns]
    unknown = [_null_column(group) for group in GROUPS if group not in known]
    # Numbers and enumerations as text: groups are only names.  Each part by itself, because parts
    # may differ in their types and columns.
    texts = pl.col("account_id", *known).cast(pl.String)
    return people.select(texts, *unknown).select("account_id", *GROUPS)


def _null_column(name: str) -> pl.Expr:
    return pl.lit(None, pl.String).alias(name)
