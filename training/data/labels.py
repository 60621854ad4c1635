"""Statements to a labelled frame: what was known at ``as_of``, and what became of the account.

``label`` is 1 where the account becomes 60 days past due or worse within the 6 months after
``as_of``, unless the data bring their own (``labels.parquet``).  Accounts that are already in
default at ``as_of`` are left out.

Features see the window up to ``as_of`` and nothing later; labels see only what is later.  The test
months lie after all training months and their outcomes.

The label asks what happens if nothing is done, and some accounts were cut in the meantime:
``DataConfig.treated`` says how training and validation rows are corrected for that (see
:mod:`training.data.censoring`).  Test rows keep what was observed, and labels that the data bring
are taken as they are.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.build import Features, build
from features.months import month_index, month_of
from features.schema import LONGEST_WINDOW
from training.data.censoring import (
    ObservedOutcomes,
    censoring_weights,
    observe_outcomes,
    select_rows,
)
from training.data.config import DataConfig, DataError
from training.data.dataset import Source
from training.data.splits import Split, assign_splits


@dataclass(frozen=True, slots=True)
class Labelled:
    """Accounts at as_of dates: ``features`` in rows, ``label`` (0 or 1) and ``split`` beside them,
    float64 and str arrays.

    ``weight`` is what each row counts in a fit, float64 above 0; None = each counts once.
    """

    features: Features
    label: NDArray[np.float64]
    split: NDArray[np.str_]
    weight: NDArray[np.float64] | None = None

    def rows(self, split: Split) -> NDArray[np.int64]:
        """Where the rows of a split stand, int64."""
        return np.flatnonzero(self.split == split)

    def take(self, rows: NDArray[np.int64]) -> Labelled:
        """These rows in their order, as often as they are named."""
        features = Features(
            self.features.accounts[rows], self.features.names, self.features.values[rows]
        )
        return Labelled(features, self.label[rows], self.split[rows], self.weights(rows))

    def weights(self, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """The weights of these rows, None where each counts once."""
        return None if self.weight is None else self.weight[rows]


def label_accounts(source: Source, config: DataConfig) -> Labelled:
    """The labelled frame of a source.

    With labels of its own: every labelled account at its as_of, split ``train`` (folds are cut
    later, see fit).  Otherwise training accounts at several as_ofs, validation accounts at the
    same, test accounts at the last as_of whose outcome is known; a training outcome is over before
    the test as_of.
    """
    if source.labels is not None:
        return _with_own_labels(source.statements, source.labels)
    dates = choose_as_ofs(source.statements["month"], config)
    observed = _stack(
        [label_accounts_at(source.statements, as_of, splits, config) for as_of, splits in dates]
    )
    return (
        observed
        if config.treated == "keep"
        else _corrected_for_censoring(observed, source.statements, config)
    )


def label_accounts_at(
    statements: pl.DataFrame, as_of: datetime.date, splits: frozenset[Split], config: DataConfig
) -> Labelled:
    """The accounts of these splits that are not in default at ``as_of``, with what was seen to
    become of them.

    DataError where none is.
    """
    seen = select_windows(statements, as_of)
    last = seen.filter(pl.col("month") == as_of)
    eligible = last.filter(pl.col("days_past_due") < config.default_days).select("account_id")
    split = assign_splits(eligible["account_id"], config)
    wanted = np.isin(split, list(splits))
    chosen = eligible.filter(pl.Series(wanted))
    if chosen.is_empty():
        raise DataError(
            f"{as_of:%Y-%m}: expected accounts of {sorted(splits)} that are not in default, got none"
        )
    features = build(seen.join(chosen, on="account_id", how="semi", maintain_order="left"))
    return Labelled(features, _outcome(statements, chosen, as_of, config), split[wanted])


def choose_as_ofs(
    months: pl.Series, config: DataConfig
) -> list[tuple[datetime.date, frozenset[Split]]]:
    """The as_of dates with the splits that use them, in order of time.

    DataError where the data are too short.
    """
    first, last = (month_index(_date(month)) for month in (months.min(), months.max()))
    test = last - config.horizon_months
    latest = test - config.horizon_months
    earliest = first + config.earliest_history - 1
    if latest < earliest:
        needed = config.earliest_history + 2 * config.horizon_months
        raise DataError(f"statements: expected at least {needed} months, got {last - first + 1}")
    training = range(latest, earliest - 1, -config.as_of_every)
    dates = [
        (month_of(index), frozenset[Split]({"train", "valid"})) for index in reversed(training)
    ]
    return [*dates, (month_of(test), frozenset[Split]({"test"}))]


def _date(month: object) -> datetime.date:
    if not isinstance(month, datetime.date):
        raise DataError(f"expected a month, got {month!r}")
    return month


def select_windows(statements: pl.DataFrame, as_of: datetime.date) -> pl.DataFrame:
    """The windows that a decision at ``as_of`` may see, of the accounts that have a statement of
    that month.
    """
    first = month_of(month_index(as_of) - LONGEST_WINDOW + 1)
    seen = statements.filter(pl.col("month").is_between(first, as_of))
    present = seen.filter(pl.col("month") == as_of).select("account_id")
    return seen.join(present, on="account_id", how="semi", maintain_order="left")


def _outcome(
    statements: pl.DataFrame, accounts: pl.DataFrame, as_of: datetime.date, config: DataConfig
) -> NDArray[np.float64]:
    """1 where the account defaults within the horizon, in order of ``accounts``."""
    end = month_of(month_index(as_of) + config.horizon_months)
    later = statements.filter((pl.col("month") > as_of) & (pl.col("month") <= end))
    defaulted = (
        later.filter(pl.col("days_past_due") >= config.default_days).select("account_id").unique()
    )
    hit = accounts.with_row_index().join(defaulted, on="account_id", how="semi")["index"]
    label = np.zeros(accounts.height)
    label[hit.to_numpy()] = 1.0
    return label


def _corrected_for_censoring(
    observed: Labelled, statements: pl.DataFrame, config: DataConfig
) -> Labelled:
    """The rows for fitting as ``config.treated`` takes those that were cut; the test rows as they
    were.
    """
    fitting = np.flatnonzero(observed.split != "test")
    accounts = observed.features.accounts[fitting.tolist()]
    followed = observe_outcomes(statements, accounts, config.horizon_months, config.default_days)
    kept, label, weight = (
        np.ones(len(observed.label), dtype=np.bool_),
        observed.label.copy(),
        np.ones(len(observed.label)),
    )
    kept[fitting], label[fitting] = select_rows(config.treated, followed)
    reweighted = config.treated == "reweight"
    if reweighted:
        weight[fitting] = _weights(statements, accounts, followed)
    rows = np.flatnonzero(kept)
    values = Features(
        observed.features.accounts[rows.tolist()],
        observed.features.names,
        observed.features.values[rows],
    )
    return Labelled(values, label[rows], observed.split[rows], weight[rows] if reweighted else None)


def _weights(
    statements: pl.DataFrame, accounts: pl.DataFrame, followed: ObservedOutcomes
) -> NDArray[np.float64]:
    theirs = statements.join(
        accounts.select("account_id").unique(), on="account_id", how="semi", maintain_order="left"
    )
    return censoring_weights(
        theirs, accounts, followed, lambda month: build(select_windows(theirs, month))
    )


def _with_own_labels(statements: pl.DataFrame, labels: pl.DataFrame) -> Labelled:
    frames = []
    for (as_of,), chosen in sorted(labels.group_by("as_of"), key=lambda item: item[0]):
        if not isinstance(as_of, datetime.date):
            raise DataError(f"labels.parquet: expected dates in as_of, got {as_of!r}")
        seen = select_windows(statements, as_of).join(
            chosen, on="account_id", how="semi", maintain_order="left"
        )
        features = build(seen)
        label = features.accounts.join(chosen, on="account_id", how="left", maintain_order="left")[
            "label"
        ]
        frames.append(
            Labelled(features, label.cast(pl.Float64).to_numpy(), np.full(len(label), "train"))
        )
    return _stack(frames)


def _stack(frames: Sequence[Labelled]) -> Labelled:
    features = Features(
        pl.concat([frame.features.accounts for frame in frames]),
        frames[0].features.names,
        np.concatenate([frame.features.values for frame in frames]),
    )
    return Labelled(
        features,
        np.concatenate([frame.label for frame in frames]),
        np.concatenate([frame.split for frame in frames]),
    )


def soon_after(month: object) -> datetime.datetime:
    """A time soon after a month's statement: the last day that every month has, noon UTC."""
    if not isinstance(month, datetime.date):
        raise TypeError(f"expected a month, got {month!r}")
    return datetime.datetime(month.year, month.month, 28, 12, tzinfo=datetime.UTC)
