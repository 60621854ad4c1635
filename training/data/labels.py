"""Statements to a labelled frame: the features known at ``as_of``, and the outcome after it.

``label`` is 1 if the account becomes 60 days past due or worse within the 6 months after ``as_of``,
unless the data have labels of their own (``labels.parquet``).  Accounts that are in default at
``as_of`` are left out.

Features depend on statements up to ``as_of`` only, labels on later ones only.  The test months come
after all training months and their outcomes.

An outcome that was not observed is not a good one: see :mod:`training.data.observation`.  Rows
without a known outcome are left out and counted; ``DataConfig.unobserved`` says whether the others
represent them in a fit.  Test rows have no weights.

The label says what happens if the lender does nothing, but some accounts were cut within the
horizon: ``DataConfig.treated`` says how training and validation rows are corrected for that (see
:mod:`training.data.censoring`).  Test rows keep the observed outcome, and labels of
the data's own are not corrected.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.build import Features, build
from features.display import notebook_display
from features.months import add_months, month_index, month_of
from features.schema import LONGEST_WINDOW
from features.types import Rows, Vector
from training.data.censoring import (
    ObservedOutcomes,
    censoring_weights,
    follow_amounts,
    observe_outcomes,
    select_rows,
)
from training.data.config import DataConfig, DataError
from training.data.dataset import Source
from training.data.observation import Observation, follow, observation_weights, observe
from training.data.outcome_counts import (
    add_outcomes,
    count_outcomes,
    describe_censored,
    no_outcomes,
)
from training.data.splits import Split, assign_splits


@notebook_display
@dataclass(frozen=True, slots=True)
class Labelled:
    """Accounts at as_of dates with their features and outcomes; one row each.

    ``outcomes`` counts the rows by ``split``, ``product`` and ``outcome`` (one of
    :data:`training.data.observation.OUTCOMES`), with those that were left out because their outcome
    was not observed.  It has no rows if the data bring labels.
    """

    features: Features
    label: Vector  # 0 or 1
    split: NDArray[np.str_]
    weight: Vector | None = None  # of each row in a fit, above 0; None = 1
    outcomes: pl.DataFrame = field(default_factory=no_outcomes)
    # Of the rows for fitting with a known outcome, cut ones included, what they owed and drew later
    # (training.data.censoring.follow_amounts); None where nothing was followed.
    amounts: pl.DataFrame | None = None

    def rows(self, split: Split) -> Rows:
        """Return the row numbers of a split."""
        return np.flatnonzero(self.split == split)

    def take(self, rows: Rows) -> Labelled:
        """Return the rows by position; repeats are allowed."""
        features = Features(
            accounts=self.features.accounts[rows],
            names=self.features.names,
            values=self.features.values[rows],
        )
        return Labelled(
            features,
            label=self.label[rows],
            split=self.split[rows],
            weight=self.weights(rows),
            outcomes=self.outcomes,
            amounts=self.amounts,
        )

    def weights(self, rows: Rows) -> Vector | None:
        """Return the weights of these rows; None if all are 1."""
        if self.weight is None:
            return None
        return self.weight[rows]


def label_accounts(source: Source, config: DataConfig) -> Labelled:
    """Return the labelled frame of a source.

    If the source has labels: every labelled account at its as_of, all in split ``train``; a fit
    makes its folds later.  Otherwise training and validation accounts at several as_ofs, and test
    accounts at the last as_of whose outcome is known; the outcomes of training rows end before it.

    Raises :class:`DataError` if the statements cover too few months, for statements after the end
    of their product, and where no account of a month has a known outcome.
    """
    if source.labels is not None:
        return _with_own_labels(source.statements, source.labels)
    statements = source.statements
    observation = observe(statements, config.default_days)
    frames = []
    for as_of, splits in choose_as_ofs(statements["month"], config):
        frame = label_accounts_at(statements, as_of, splits, config, observation)
        frames.append(frame)
    observed = _follow_amounts(_stack(frames), statements, config)
    if config.treated == "keep":
        return observed
    return _corrected_for_censoring(observed, statements, config)


def label_accounts_at(
    statements: pl.DataFrame,
    as_of: datetime.date,
    splits: frozenset[Split],
    config: DataConfig,
    observation: Observation | None = None,
) -> Labelled:
    """Return the accounts of these splits that are not in default at ``as_of``.

    Labels are the observed outcomes; accounts whose outcome is not known are left out.
    ``observation`` is that of the statements; None = find it.  Raises :class:`DataError` if there
    is no such account.
    """
    windows = select_windows(statements, as_of)
    is_last = pl.col("month") == as_of
    is_eligible = is_last & (pl.col("days_past_due") < config.default_days)
    eligible = windows.filter(is_eligible).select("account_id")
    split = assign_splits(eligible["account_id"], config)
    wanted = np.isin(split, list(splits))
    accounts = eligible.filter(pl.Series(wanted))
    if accounts.is_empty():
        raise DataError(
            f"{as_of:%Y-%m}: expected accounts of {sorted(splits)} that are not in default, "
            "got none"
        )
    own = _keep_accounts(windows, accounts)
    observation = observation or observe(statements, config.default_days)
    default = _months_to_default(statements, accounts, as_of, config)
    horizon = config.horizon_months
    followed = follow(observation, accounts, as_of, horizon, default)
    weight = None
    if config.unobserved == "weight":
        weight = observation_weights(observation, followed, as_of, horizon)
        # Test rows are measured as they are: the measures know no weights.
        weight[split[wanted] == "test"] = 1.0
    everyone = Labelled(
        features=build(own),
        label=np.isfinite(default).astype(np.float64),
        split=split[wanted],
        weight=weight,
        outcomes=count_outcomes(split[wanted], followed),
    )
    if followed.known.all():
        return everyone
    if not followed.known.any():
        raise DataError(
            f"{as_of:%Y-%m}: expected accounts of {sorted(splits)} whose outcome is known, got "
            f"none of {accounts.height}: {describe_censored(everyone.outcomes)}"
        )
    return everyone.take(np.flatnonzero(followed.known))


def choose_as_ofs(
    months: pl.Series, config: DataConfig
) -> list[tuple[datetime.date, frozenset[Split]]]:
    """Return the as_of dates with the splits that use them, in order of time.

    ``months`` are those of the statements.  Raises :class:`DataError` if they are too few.
    """
    first = month_index(as_date(months.min()))
    last = month_index(as_date(months.max()))
    # Two horizons: the outcomes of the last training rows end where those of the test begin.
    test = last - config.horizon_months
    latest = test - config.horizon_months
    earliest = first + config.earliest_history - 1
    if latest < earliest:
        needed = config.earliest_history + 2 * config.horizon_months
        months_present = last - first + 1
        raise DataError(f"statements: expected at least {needed} months, got {months_present}")
    # Backwards from the latest, whose outcome is known exactly at the test as_of.
    training = reversed(range(latest, earliest - 1, -config.as_of_every))
    fitting = frozenset[Split]({"train", "valid"})
    testing = frozenset[Split]({"test"})
    dates = [(month_of(index), fitting) for index in training]
    dates.append((month_of(test), testing))
    return dates


def as_date(value: object) -> datetime.date:
    """Return a value of a date column as a date; :class:`DataError` if the column is empty."""
    if not isinstance(value, datetime.date):
        raise DataError(f"expected a month, got {value!r}")
    return value


def select_windows(statements: pl.DataFrame, as_of: datetime.date) -> pl.DataFrame:
    """Return the statements that decisions at ``as_of`` depend on.

    Accounts without a statement of that month are left out.
    """
    # The month of as_of is the last of the window.
    first = add_months(as_of, 1 - LONGEST_WINDOW)
    recent = statements.filter(pl.col("month").is_between(first, as_of))
    has_statement = pl.col("month") == as_of
    present = recent.filter(has_statement).select("account_id")
    return _keep_accounts(recent, present)


def _keep_accounts(statements: pl.DataFrame, accounts: pl.DataFrame) -> pl.DataFrame:
    """Return the statements of these accounts, in their order."""
    # maintain_order, because Polars promises no order of a join: features need that of the months.
    return statements.join(
        accounts,
        on="account_id",
        how="semi",
        maintain_order="left",
    )


def _months_to_default(
    statements: pl.DataFrame,
    accounts: pl.DataFrame,
    as_of: datetime.date,
    config: DataConfig,
) -> Vector:
    """Return the months from as_of to each account's first default within the horizon, else inf."""
    end = add_months(as_of, config.horizon_months)
    is_later = pl.col("month").is_between(as_of, end, closed="right")
    is_default = pl.col("days_past_due") >= config.default_days
    bad_months = statements.filter(is_later & is_default)
    first = bad_months.group_by("account_id").agg(pl.col("month").min())
    numbered = accounts.with_row_index("row")
    defaulted = numbered.join(first, on="account_id", how="inner")
    numbers = [month_index(month) for month in defaulted["month"].to_list()]
    months = np.full(accounts.height, np.inf)
    months[defaulted["row"].to_numpy()] = np.array(numbers) - month_index(as_of)
    return months


def _follow_amounts(
    observed: Labelled,
    statements: pl.DataFrame,
    config: DataConfig,
) -> Labelled:
    """Return the frame with what its rows for fitting owed and drew later.

    The hold-out is not followed: nothing may be learnt from it.
    """
    fitting = np.flatnonzero(observed.split != "test")
    accounts = observed.features.accounts[fitting.tolist()]
    amounts = follow_amounts(
        statements,
        accounts,
        config.horizon_months,
        config.default_days,
    )
    return replace(observed, amounts=amounts)


def _corrected_for_censoring(
    observed: Labelled,
    statements: pl.DataFrame,
    config: DataConfig,
) -> Labelled:
    """Return the frame with the rows for fitting as ``config.treated`` says."""
    fitting = np.flatnonzero(observed.split != "test")
    accounts = observed.features.accounts[fitting.tolist()]
    outcomes = observe_outcomes(
        statements,
        accounts,
        config.horizon_months,
        config.default_days,
    )
    # Test rows keep their outcome and their place: the measures are those of accounts as observed.
    count = len(observed.label)
    selected = np.ones(count, dtype=np.bool_)
    label = observed.label.copy()
    selected[fitting], label[fitting] = select_rows(config.treated, outcomes)
    weight = observed.weight
    if config.treated == "reweight":
        weight = np.ones(count) if weight is None else weight.copy()
        weight[fitting] *= _weights(statements, accounts, outcomes)
    corrected = Labelled(
        observed.features,
        label,
        observed.split,
        weight,
        observed.outcomes,
        observed.amounts,
    )
    return corrected.take(np.flatnonzero(selected))


def _weights(
    statements: pl.DataFrame,
    accounts: pl.DataFrame,
    outcomes: ObservedOutcomes,
) -> Vector:
    # Without the test accounts: a model of cuts that saw them would leak into the weights.
    fitted = accounts.select("account_id").unique()
    own = _keep_accounts(statements, fitted)

    def features_at(month: datetime.date) -> Features:
        return build(select_windows(own, month))

    return censoring_weights(own, accounts, outcomes, features_at)


def _with_own_labels(statements: pl.DataFrame, labels: pl.DataFrame) -> Labelled:
    frames = []
    for as_of in labels["as_of"].unique().sort().to_list():
        if as_of is None:
            raise DataError("labels.parquet: expected dates in as_of, got None")
        chosen = labels.filter(pl.col("as_of") == as_of)
        windows = select_windows(statements, as_of)
        features = build(_keep_accounts(windows, chosen))
        # Joined to the features: the labels come in the order of the file, not in theirs.
        rows = features.accounts.join(
            chosen,
            on="account_id",
            how="left",
            maintain_order="left",
        )
        label = rows["label"].cast(pl.Float64).to_numpy()
        split = np.full(len(label), "train")
        frames.append(Labelled(features, label, split))
    return _stack(frames)


def _stack(frames: Sequence[Labelled]) -> Labelled:
    parts = [frame.features for frame in frames]
    features = Features(
        accounts=pl.concat([part.accounts for part in parts]),
        names=parts[0].names,
        values=np.concatenate([part.values for part in parts]),
    )
    weights = [frame.weight for frame in frames if frame.weight is not None]
    counts = [frame.outcomes for frame in frames]
    return Labelled(
        features,
        label=np.concatenate([frame.label for frame in frames]),
        split=np.concatenate([frame.split for frame in frames]),
        weight=np.concatenate(weights) if weights else None,
        outcomes=add_outcomes(counts),
    )


def soon_after(month: object) -> datetime.datetime:
    """Return a time soon after a month's statement: noon UTC on the 28th, which every month has."""
    if not isinstance(month, datetime.date):
        raise TypeError(f"expected a month, got {month!r}")
    return datetime.datetime(month.year, month.month, 28, 12, tzinfo=datetime.UTC)
