from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from serving.decision.bundle import Bundle
from serving.decision.pipeline import decide
from tests.support.each import each
from training.data.config import DataConfig, DataError
from training.data.dataset import Source
from training.data.labels import Labelled, soon_after
from training.data.splits import assign_splits
from training.evaluate.holdout import GROUPS, Evaluation, HoldOut, evaluate, select_hold_out


@pytest.fixture(scope="module")
def held_out(source: Source, simulated: Path) -> HoldOut:
    return select_hold_out(source, DataConfig(), simulated)


@pytest.fixture(scope="module")
def evaluated(bundle: Bundle, held_out: HoldOut) -> Evaluation:
    return evaluate("champion", bundle, held_out)


def test_it_holds_the_accounts_and_labels_that_a_fit_is_measured_on(
    data: Labelled, held_out: HoldOut
) -> None:
    test = data.take(data.rows("test"))
    expected = dict(zip(test.features.accounts["account_id"], test.label, strict=True))
    assert dict(zip(held_out.people["account_id"], held_out.label, strict=True)) == expected
    assert held_out.people["account_id"].is_sorted()
    assert set(assign_splits(held_out.people["account_id"], DataConfig())) == {"test"}


def test_it_says_of_each_account_what_would_be_served(
    evaluated: Evaluation, held_out: HoldOut
) -> None:
    accounts = held_out.people["account_id"]
    for place in each(np.linspace(0, len(accounts) - 1, 12).astype(int).tolist()):
        alone = held_out.statements.filter(pl.col("account_id") == accounts[place])
        decision = decide(alone, evaluated.bundle, soon_after(held_out.as_of))
        assert evaluated.probability[place] == decision.probability
        assert evaluated.actions[place] == decision.action
        cut = (
            decision.action == "suspend"
            or (decision.proposed_limit or decision.new_limit) < decision.credit_limit
        )
        assert evaluated.cut[place] == cut
        assert evaluated.first_reasons[place] == (
            decision.reasons[0].code if decision.reasons else ""
        )


def test_who_people_are_stands_beside_them(
    held_out: HoldOut, simulated: Path, source: Source
) -> None:
    people = pl.concat(
        [pl.read_parquet(file) for file in sorted((simulated / "accounts").glob("*.parquet"))]
    )
    known = held_out.people.join(people, on="account_id", how="inner", suffix="_there")
    assert known.height == held_out.people.height
    for group in GROUPS:
        assert (known[group] == known[f"{group}_there"].cast(pl.String)).all()
    nobody = select_hold_out(source, DataConfig()).people
    assert all(nobody[group].null_count() == nobody.height for group in GROUPS)


def test_parts_of_the_accounts_may_differ_in_types_and_columns(
    held_out: HoldOut, simulated: Path, source: Source, tmp_path: Path
) -> None:
    folder = tmp_path / "data[1]"
    (folder / "accounts").mkdir(parents=True)
    files = sorted((simulated / "accounts").glob("*.parquet"))
    people = pl.concat([pl.read_parquet(file) for file in files])
    texts = people.with_columns(pl.col(GROUPS).cast(pl.String))
    half = people.height // 2
    first = texts.head(half).select(reversed(texts.columns))
    second = texts.tail(-half).with_columns(pl.col("gender").cast(pl.Categorical)).drop("region")
    first.write_parquet(folder / "accounts" / "part-00000.parquet")
    second.write_parquet(folder / "accounts" / "part-00001.parquet")
    found = select_hold_out(source, DataConfig(), folder).people
    is_second = pl.col("account_id").is_in(second["account_id"].to_list())
    without = pl.when(is_second).then(None).otherwise(pl.col("region")).alias("region")
    assert found.equals(held_out.people.with_columns(without))


def test_two_rows_of_an_account_are_refused(
    simulated: Path, source: Source, tmp_path: Path
) -> None:
    (tmp_path / "accounts").mkdir()
    [file] = (simulated / "accounts").glob("*.parquet")
    people = pl.read_parquet(file)
    for number in range(2):
        people.write_parquet(tmp_path / "accounts" / f"part-{number:05d}.parquet")
    with pytest.raises(DataError, match=r"accounts: expected one row an account, got more for"):
        select_hold_out(source, DataConfig(), tmp_path)


def test_some_of_them_are_taken_together(evaluated: Evaluation, held_out: HoldOut) -> None:
    rows = np.array([0, 5, 17])
    some = evaluate("some", evaluated.bundle, held_out.take(rows))
    assert some.label.tolist() == held_out.label[rows].tolist()
    assert some.log_odds.tolist() == evaluated.log_odds[rows].tolist()


def test_an_account_is_in_a_hold_out_once(held_out: HoldOut) -> None:
    name = held_out.people["account_id"][5]
    expected = rf"one row an account, got several of 1, such as \['{name}'\]"
    with pytest.raises(DataError, match=expected):
        held_out.take(np.array([0, 5, 5]))
