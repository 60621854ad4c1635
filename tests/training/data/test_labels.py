from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.schema import StatementError
from tests.support.each import each
from training.data.config import DataConfig, DataError
from training.data.dataset import Source, load
from training.data.labels import Labelled, choose_as_ofs, label_accounts_at
from training.data.splits import assign_splits

CONFIG = DataConfig()


def test_no_account_stands_on_both_sides_and_tests_lie_after_training(data: Labelled) -> None:
    accounts = data.features.accounts.with_columns(split=pl.Series(data.split))
    assert accounts.group_by("account_id").agg(pl.col("split").n_unique())["split"].max() == 1
    latest = accounts.filter(pl.col("split") != "test")["as_of"].max()
    first = accounts.filter(pl.col("split") == "test")["as_of"].min()
    assert isinstance(latest, datetime.date)
    assert isinstance(first, datetime.date)
    # A training outcome is over before the test's as_of.
    months = (first.year - latest.year) * 12 + first.month - latest.month
    assert months >= CONFIG.horizon_months


def test_the_future_changes_labels_and_no_feature(source: Source, data: Labelled) -> None:
    for as_of in each(sorted(data.features.accounts["as_of"].unique())):
        # Everything after as_of as bad as it gets.
        later = pl.col("month") > as_of
        changed = source.statements.with_columns(
            balance=pl.when(later).then(1e6).otherwise("balance"),
            payment=pl.when(later).then(0.0).otherwise("payment"),
            days_past_due=pl.when(later).then(90).otherwise("days_past_due").cast(pl.Int32),
        )
        splits = frozenset(
            data.split[(data.features.accounts["as_of"] == as_of).to_numpy()].tolist()
        )
        before = label_accounts_at(source.statements, as_of, splits, CONFIG)
        after = label_accounts_at(changed, as_of, splits, CONFIG)
        assert after.features.accounts.equals(before.features.accounts)
        assert after.features.values.tobytes() == before.features.values.tobytes()
        # The control: the same change is seen by every label whose account goes on.
        assert after.label.mean() > 0.9
        assert before.label.mean() < 0.2


def test_labels_follow_their_definition(source: Source, data: Labelled) -> None:
    drawn = np.random.default_rng(0).choice(len(data.label), 200, replace=False)
    for row in each(drawn.tolist()):
        account, _, as_of = data.features.accounts.row(row)
        history = source.statements.filter(pl.col("account_id") == account)
        later = history.filter(
            pl.col("month").is_between(as_of, as_of.replace(day=2), closed="none")
            | (pl.col("month") > as_of)
        )
        within = later.sort("month").filter(pl.col("month") <= pl.lit(as_of).dt.offset_by("6mo"))
        assert data.label[row] == float((within["days_past_due"] >= 60).any())
        assert history.filter(pl.col("month") == as_of)["days_past_due"][0] < 60


@given(
    st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=50, unique=True),
    st.integers(0, 5),
)
def test_a_split_follows_the_account_alone(names: list[str], seed: int) -> None:
    config = DataConfig(split_seed=seed)
    splits = assign_splits(pl.Series(names), config)
    assert assign_splits(pl.Series(names[::-1]), config).tolist() == splits.tolist()[::-1]
    assert set(splits) <= {"train", "valid", "test"}


def test_shares_are_met() -> None:
    splits = assign_splits(pl.Series([f"account-{i}" for i in range(20_000)]), CONFIG)
    for name, share in (("test", 0.3), ("valid", 0.2), ("train", 0.5)):
        assert np.mean(splits == name) == pytest.approx(share, abs=0.02)


def test_another_seed_redraws_the_split() -> None:
    names = pl.Series([f"account-{i}" for i in range(20_000)])
    ours = assign_splits(names, CONFIG) == "test"
    for seed in (1, 2, 5, 42):
        theirs = assign_splits(names, DataConfig(split_seed=seed)) == "test"
        assert np.mean(theirs[ours]) == pytest.approx(0.3, abs=0.03), seed


def test_a_config_out_of_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"DataConfig.horizon_months: expected 1 to 24, got 0"):
        DataConfig(horizon_months=0)
    with pytest.raises(ValueError, match=r"at most 0\.95"):
        DataConfig(valid_share=0.5, test_share=0.5)


def test_too_few_months_are_refused() -> None:
    months = pl.Series([datetime.date(2024, 1, 1), datetime.date(2025, 11, 1)])
    with pytest.raises(DataError, match="at least 24 months, got 23"):
        choose_as_ofs(months, CONFIG)


def test_bad_folders_name_the_file(simulated: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none"):
        load(tmp_path)
    part = tmp_path / "statements" / "part-00000.parquet"
    part.parent.mkdir()
    part.write_bytes(b"PAR1 this is no Parquet PAR1")
    with pytest.raises(DataError, match=r"part-00000.parquet: expected a Parquet file"):
        load(tmp_path)
    whole = pl.read_parquet(simulated / "statements" / "*.parquet").head(500)
    whole.drop("income").write_parquet(part)
    with pytest.raises(StatementError, match=r"statements: .*missing \['income'\]"):
        load(tmp_path)
    whole.with_columns(balance=pl.lit("much")).write_parquet(part)
    with pytest.raises(StatementError, match="balance: expected Float64, got String"):
        load(tmp_path)
    whole.with_columns(credit_limit=-pl.col("credit_limit")).write_parquet(part)
    with pytest.raises(StatementError, match=r"0 <= credit_limit.*account sim-"):
        load(tmp_path)
    whole.clear().write_parquet(part)
    with pytest.raises(StatementError, match="at least one row"):
        load(tmp_path)
    whole.write_parquet(part)
    pl.DataFrame({"account_id": ["x"], "label": [1]}).write_parquet(tmp_path / "labels.parquet")
    with pytest.raises(DataError, match=r"labels.parquet: expected the columns"):
        load(tmp_path)


def test_the_digest_follows_the_bytes(simulated: Path, source: Source, tmp_path: Path) -> None:
    folder = tmp_path / "statements"
    folder.mkdir()
    (content,) = [file.read_bytes() for file in (simulated / "statements").glob("*.parquet")]
    (folder / "part-00000.parquet").write_bytes(content)
    assert load(tmp_path).digest == source.digest
    pl.read_parquet(folder / "part-00000.parquet").head(100).write_parquet(
        folder / "part-00000.parquet"
    )
    assert load(tmp_path).digest != source.digest
