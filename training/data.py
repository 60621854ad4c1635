"""Statements to a labelled frame: what was known at ``as_of``, and what became of the account.

``label`` is 1 where the account becomes 60 days past due or worse within the 6 months after ``as_of``, unless the data bring
their own (``labels.parquet``).  Accounts that are already there at ``as_of`` are no question and stand in no frame.

Features see the window up to ``as_of`` and nothing later; labels see only what is later.  Accounts are split by a hash of
their name, so that one never stands on both sides, and the test months lie after all training months with their outcomes.

The label asks what becomes of the account if nothing is done, and some were cut meanwhile: ``DataConfig.treated`` says how
training and validation rows take them (see :mod:`training.treated`).  Test rows keep what was observed, and labels that the
data bring are taken as they are.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.build import Features, build
from features.schema import LONGEST_WINDOW, StatementError, check
from training.settings import in_ranges
from training.treated import TREATED, Followed, follow, take, weigh

Split = Literal["train", "valid", "test"]
OWN_LABEL = "60 days past due or worse within the 6 months after as_of"


class DataError(ValueError):
    """A data folder that cannot be used: which file, what was expected and what stands there."""


@dataclass(frozen=True, slots=True)
class DataConfig:
    """How accounts and months are put to use."""

    horizon_months: int = 6  # the label looks this far beyond as_of
    default_days: int = 60  # days past due from which an account has defaulted
    earliest_history: int = 12  # months of data before the first training as_of
    as_of_every: int = 2  # months between training as_ofs
    valid_share: float = 0.2  # of the accounts, for early stopping and calibration
    test_share: float = 0.3  # of the accounts, seen by nothing but the final measures
    split_seed: int = 0  # another seed puts other accounts on each side
    treated: str = "keep"  # accounts cut within the horizon: keep, drop, censor or reweight, see training/treated.py

    def __post_init__(self) -> None:
        in_ranges(
            self,
            horizon_months=(1, 24),
            default_days=(1, 3650),
            earliest_history=(1, 600),
            as_of_every=(1, 600),
            valid_share=(0.01, 0.9),
            test_share=(0.01, 0.9),
            split_seed=(0, 2**63 - 1),
        )
        if self.valid_share + self.test_share > 0.95:
            raise ValueError(f"DataConfig: expected valid_share + test_share of at most 0.95, got {self}")
        if self.treated not in TREATED:
            raise ValueError(f"DataConfig.treated: expected one of {TREATED}, got {self.treated!r}")


@dataclass(frozen=True, slots=True)
class Source:
    """A data folder, read: the statements in canonical form, its labels where it brings them, and its digest."""

    statements: pl.DataFrame
    labels: pl.DataFrame | None
    label_definition: str
    digest: str

    @property
    def last_month(self) -> str:
        """The month of the last statements, such as "2026-09"."""
        last = self.statements["month"].max()
        if not isinstance(last, datetime.date):
            raise DataError(f"statements: expected months, got {last!r}")
        return f"{last:%Y-%m}"


@dataclass(frozen=True, slots=True)
class Labelled:
    """Accounts at as_of dates: ``features`` in rows, ``label`` (0 or 1) and ``split`` beside them, float64 and str arrays.

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
        features = Features(self.features.accounts[rows], self.features.names, self.features.values[rows])
        return Labelled(features, self.label[rows], self.split[rows], self.weights(rows))

    def weights(self, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """The weights of these rows, None where each counts once."""
        return None if self.weight is None else self.weight[rows]


def load(folder: Path) -> Source:
    """The data that ``simulate`` or ``ingest`` wrote into ``folder``.

    Raises :class:`DataError` for files that are missing, empty or no Parquet, StatementError for statements that break the
    schema; both name the file.
    """
    files = sorted((folder / "statements").glob("*.parquet"))
    if not files:
        where = (
            f"expected Parquet files in {folder / 'statements'}, found none" if folder.is_dir() else "there is no such folder"
        )
        raise DataError(f"{folder}: {where}; `python -m training simulate` and `ingest` write such a folder")
    statements = pl.concat([_read(file) for file in files])
    try:
        statements = check(statements, window=False)
    except StatementError as error:
        raise StatementError(f"{folder / 'statements'}: {error}", error.violations) from None
    labels_file = folder / "labels.parquet"
    labels = _labels(labels_file) if labels_file.exists() else None
    definition = OWN_LABEL if labels is None else _definition(folder)
    return Source(statements, labels, definition, digest([*files, *([labels_file] if labels is not None else [])]))


def labelled(source: Source, config: DataConfig) -> Labelled:
    """The labelled frame of a source.

    With labels of its own: every labelled account at its as_of, split ``train`` (folds are cut later, see fit).  Otherwise
    training accounts at several as_ofs, validation accounts at the same, test accounts at the last as_of whose outcome is
    known; a training outcome is over before the test as_of.
    """
    if source.labels is not None:
        return _with_own_labels(source.statements, source.labels)
    dates = as_ofs(source.statements["month"], config)
    observed = _stack([labelled_at(source.statements, as_of, splits, config) for as_of, splits in dates])
    return observed if config.treated == "keep" else _treated(observed, source.statements, config)


def labelled_at(statements: pl.DataFrame, as_of: datetime.date, splits: frozenset[Split], config: DataConfig) -> Labelled:
    """The accounts of these splits that are not in default at ``as_of``, with what was seen to become of them.

    DataError where none is.
    """
    seen = window(statements, as_of)
    last = seen.filter(pl.col("month") == as_of)
    eligible = last.filter(pl.col("days_past_due") < config.default_days).select("account_id")
    split = splits_of(eligible["account_id"], config)
    wanted = np.isin(split, list(splits))
    chosen = eligible.filter(pl.Series(wanted))
    if chosen.is_empty():
        raise DataError(f"{as_of:%Y-%m}: expected accounts of {sorted(splits)} that are not in default, got none")
    features = build(seen.join(chosen, on="account_id", how="semi", maintain_order="left"))
    return Labelled(features, _outcome(statements, chosen, as_of, config), split[wanted])


def as_ofs(months: pl.Series, config: DataConfig) -> list[tuple[datetime.date, frozenset[Split]]]:
    """The as_of dates with the splits that use them, in order of time.  DataError where the data are too short."""
    first, last = _index(months.min()), _index(months.max())
    test = last - config.horizon_months
    latest = test - config.horizon_months
    earliest = first + config.earliest_history - 1
    if latest < earliest:
        needed = config.earliest_history + 2 * config.horizon_months
        raise DataError(f"statements: expected at least {needed} months, got {last - first + 1}")
    training = range(latest, earliest - 1, -config.as_of_every)
    dates = [(_month(index), frozenset[Split]({"train", "valid"})) for index in reversed(training)]
    return [*dates, (_month(test), frozenset[Split]({"test"}))]


def window(statements: pl.DataFrame, as_of: datetime.date) -> pl.DataFrame:
    """The windows that a decision at ``as_of`` may see, of the accounts that have a statement of that month."""
    first = _month(_index(as_of) - LONGEST_WINDOW + 1)
    seen = statements.filter(pl.col("month").is_between(first, as_of))
    present = seen.filter(pl.col("month") == as_of).select("account_id")
    return seen.join(present, on="account_id", how="semi", maintain_order="left")


def splits_of(accounts: pl.Series, config: DataConfig) -> NDArray[np.str_]:
    """The split of each account, by a hash of its name and the seed: the same in any table and any order."""
    draws = _draws(accounts, config.split_seed.to_bytes(8, "big"))
    return np.where(
        draws < config.test_share, "test", np.where(draws < config.test_share + config.valid_share, "valid", "train")
    )


def folds_of(accounts: pl.Series, count: int, config: DataConfig) -> NDArray[np.int64]:
    """The fold of each account, 0 to ``count - 1``, by another hash of its name: all months of an account share one."""
    return (_draws(accounts, b"folds" + config.split_seed.to_bytes(8, "big")) * count).astype(np.int64)


def digest(files: Sequence[Path]) -> str:
    """sha256 over the files' bytes in order."""
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def _draws(accounts: pl.Series, key: bytes) -> NDArray[np.float64]:
    """A number in [0, 1) an account, the same for the same name and key."""
    # Not a checksum: those are linear, so that another seed moves all accounts alike and redraws nothing.
    hashes = (hashlib.blake2b(name.encode(), digest_size=8, key=key).digest() for name in accounts.to_list())
    # 53 bits: what a float64 holds, so that no draw is rounded up to 1.
    return np.fromiter((int.from_bytes(digest, "big") >> 11 for digest in hashes), np.float64, len(accounts)) / 2**53


def _outcome(statements: pl.DataFrame, accounts: pl.DataFrame, as_of: datetime.date, config: DataConfig) -> NDArray[np.float64]:
    """1 where the account defaults within the horizon, in order of ``accounts``."""
    end = _month(_index(as_of) + config.horizon_months)
    later = statements.filter((pl.col("month") > as_of) & (pl.col("month") <= end))
    defaulted = later.filter(pl.col("days_past_due") >= config.default_days).select("account_id").unique()
    hit = accounts.with_row_index().join(defaulted, on="account_id", how="semi")["index"]
    label = np.zeros(accounts.height)
    label[hit.to_numpy()] = 1.0
    return label


def _treated(observed: Labelled, statements: pl.DataFrame, config: DataConfig) -> Labelled:
    """The rows for fitting as ``config.treated`` takes those that were cut; the test rows as they were."""
    fitting = np.flatnonzero(observed.split != "test")
    accounts = observed.features.accounts[fitting.tolist()]
    followed = follow(statements, accounts, config.horizon_months, config.default_days)
    kept, label, weight = np.ones(len(observed.label), dtype=np.bool_), observed.label.copy(), np.ones(len(observed.label))
    kept[fitting], label[fitting] = take(config.treated, followed)
    reweighted = config.treated == "reweight"
    if reweighted:
        weight[fitting] = _weights(statements, accounts, followed)
    rows = np.flatnonzero(kept)
    values = Features(observed.features.accounts[rows.tolist()], observed.features.names, observed.features.values[rows])
    return Labelled(values, label[rows], observed.split[rows], weight[rows] if reweighted else None)


def _weights(statements: pl.DataFrame, accounts: pl.DataFrame, followed: Followed) -> NDArray[np.float64]:
    theirs = statements.join(accounts.select("account_id").unique(), on="account_id", how="semi", maintain_order="left")
    return weigh(theirs, accounts, followed, lambda month: build(window(theirs, month)))


def _with_own_labels(statements: pl.DataFrame, labels: pl.DataFrame) -> Labelled:
    frames = []
    for (as_of,), chosen in sorted(labels.group_by("as_of"), key=lambda item: item[0]):
        if not isinstance(as_of, datetime.date):
            raise DataError(f"labels.parquet: expected dates in as_of, got {as_of!r}")
        seen = window(statements, as_of).join(chosen, on="account_id", how="semi", maintain_order="left")
        features = build(seen)
        label = features.accounts.join(chosen, on="account_id", how="left", maintain_order="left")["label"]
        frames.append(Labelled(features, label.cast(pl.Float64).to_numpy(), np.full(len(label), "train")))
    return _stack(frames)


def _stack(frames: Sequence[Labelled]) -> Labelled:
    features = Features(
        pl.concat([frame.features.accounts for frame in frames]),
        frames[0].features.names,
        np.concatenate([frame.features.values for frame in frames]),
    )
    return Labelled(
        features, np.concatenate([frame.label for frame in frames]), np.concatenate([frame.split for frame in frames])
    )


def _read(file: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{file}: expected a Parquet file: {str(error).splitlines()[0]}") from error


def _labels(file: Path) -> pl.DataFrame:
    labels = _read(file)
    expected = {"account_id": pl.String(), "as_of": pl.Date(), "label": pl.Int8()}
    if dict(labels.schema) != expected:
        raise DataError(f"{file}: expected the columns {expected}, got {dict(labels.schema)}")
    return labels


def _definition(folder: Path) -> str:
    file = folder / "ingest.json"
    if not file.exists():
        raise DataError(f"{file}: expected the label's definition beside labels.parquet, found no such file")
    return str(json.loads(file.read_text())["label"]["definition"])


def _index(month: object) -> int:
    if not isinstance(month, datetime.date):
        raise DataError(f"expected a month, got {month!r}")
    return month.year * 12 + month.month - 1


def _month(index: int) -> datetime.date:
    return datetime.date(index // 12, index % 12 + 1, 1)


def soon_after(month: object) -> datetime.datetime:
    """A time soon after a month's statement: the last day that every month has, noon UTC."""
    if not isinstance(month, datetime.date):
        raise TypeError(f"expected a month, got {month!r}")
    return datetime.datetime(month.year, month.month, 28, 12, tzinfo=datetime.UTC)
