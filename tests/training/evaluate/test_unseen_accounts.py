"""Which accounts models may be compared on, and which models not at all."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from serving.decision.bundle import Bundle
from training.data.config import DataConfig, DataError
from training.data.dataset import Source
from training.data.splits import assign_splits
from training.evaluate.model_lookup import Model
from training.evaluate.unseen_accounts import select_unseen

OTHER = DataConfig(split_seed=1)


@pytest.fixture(scope="module")
def model(bundle: Bundle) -> Model:
    return Model("a", bundle, DataConfig(), "1", "0" * 32, "2026-09")


def fitted_otherwise(model: Model, **provenance: str) -> Model:
    changed = replace(model.bundle.provenance, **provenance)  # type: ignore[arg-type]
    return replace(model, selector="b", bundle=replace(model.bundle, provenance=changed))


def test_models_of_one_split_are_compared_on_its_test_accounts(
    model: Model, source: Source, simulated: Path
) -> None:
    found = select_unseen(source, simulated, [model, replace(model, selector="b")])
    assert set(assign_splits(found.hold_out.people["account_id"], DataConfig())) == {"test"}
    assert set(assign_splits(found.earlier.people["account_id"], DataConfig())) == {"test"}
    assert f"{found.earlier.as_of:%Y-%m} {found.hold_out.as_of:%Y-%m}" == "2025-09 2026-03"
    assert found.notes == ()


def test_outcomes_that_nobody_saw_are_noted(model: Model, source: Source, simulated: Path) -> None:
    """The notes stand in comparisons, promotions and reports."""
    is_seen = (pl.col("product") == "pay_later") | (pl.col("month") <= datetime.date(2026, 5, 1))
    ended = replace(source, statements=source.statements.filter(is_seen))
    found = select_unseen(ended, simulated, [model])
    whole = select_unseen(source, simulated, [model]).hold_out
    lost = len(whole.label) - len(found.hold_out.label)
    (note,) = found.notes
    assert note == (
        f"the outcome of {lost / len(whole.label):.1%} of the accounts was not observed: "
        f"product ended {lost} (cash_loan {lost})"
    )


@pytest.mark.parametrize("other", [OTHER, DataConfig(test_share=0.2)], ids=["seed", "share"])
def test_another_split_is_refused_with_how_many_accounts_overlap(
    model: Model, source: Source, simulated: Path, other: DataConfig
) -> None:
    accounts = select_unseen(source, simulated, [model]).hold_out.people["account_id"]
    held_out = assign_splits(accounts, other) == "test"
    with pytest.raises(DataError, match="cannot be compared fairly") as refusal:
        select_unseen(source, simulated, [model, replace(model, selector="b", config=other)])
    expected = (
        f"b was fitted with another split, and {(~held_out).sum():,} "
        f"of the hold-out's {len(accounts):,}"
    )
    assert expected in str(refusal.value)
    assert f"{held_out.sum():,} accounts were unseen by all: --shared compares on these" in str(
        refusal.value
    )


def test_shared_is_the_accounts_that_every_model_left_out(
    model: Model, source: Source, simulated: Path
) -> None:
    every = select_unseen(source, simulated, [model]).hold_out
    found = select_unseen(
        source, simulated, [model, replace(model, selector="b", config=OTHER)], shared=True
    )
    for on in (found.hold_out, found.earlier):
        for config in (DataConfig(), OTHER):
            assert set(assign_splits(on.people["account_id"], config)) == {"test"}
    fair = assign_splits(every.people["account_id"], OTHER) == "test"
    assert found.hold_out.label.tolist() == every.label[fair].tolist()
    assert 0 < fair.sum() < 0.5 * len(fair)
    (note,) = found.notes
    assert note.startswith(
        f"on the {fair.sum():,} accounts that no model has seen: b was fitted with another split"
    )


def test_other_data_are_said_even_where_no_account_overlaps(
    model: Model, source: Source, simulated: Path
) -> None:
    older = fitted_otherwise(model, training_data="f" * 64)
    every, found = (
        select_unseen(source, simulated, [model]),
        select_unseen(source, simulated, [model, older]),
    )
    assert np.array_equal(found.hold_out.label, every.hold_out.label)
    assert found.notes == (
        "b was fitted on other data; by its split it has seen none of the hold-out's accounts",
    )
    otherwise = replace(older, config=OTHER)
    with pytest.raises(
        DataError, match=r"b was fitted on other data, and [1-9][\d,]* of the hold-out's"
    ):
        select_unseen(source, simulated, [model, otherwise])


def test_a_model_that_knows_what_came_after_is_refused(
    model: Model, source: Source, simulated: Path
) -> None:
    with pytest.raises(
        DataError, match=r"b was fitted on statements up to 2026-10, the data end in 2026-09"
    ):
        select_unseen(
            source,
            simulated,
            [model, replace(model, selector="b", last_month="2026-10")],
            shared=True,
        )


def test_another_outcome_is_refused(model: Model, source: Source, simulated: Path) -> None:
    later = replace(model, selector="b", config=DataConfig(horizon_months=9))
    with pytest.raises(
        DataError, match="b predicts another outcome than a: horizon_months is 9 there and 6 here"
    ):
        select_unseen(source, simulated, [model, later], shared=True)


def test_models_of_data_with_labels_of_their_own_have_no_unseen_accounts(
    model: Model, source: Source, simulated: Path
) -> None:
    taiwan = fitted_otherwise(model, label="default next month")
    with pytest.raises(
        DataError,
        match=r"b was fitted on all rows of data with labels of their own \(default next month\)",
    ):
        select_unseen(source, simulated, [model, taiwan], shared=True)
    labels = source.statements.select("account_id").unique()
    with pytest.raises(DataError, match="the data bring labels of their own"):
        select_unseen(replace(source, labels=labels), simulated, [model])


def test_too_few_shared_accounts_are_refused(model: Model, source: Source, simulated: Path) -> None:
    sliver = replace(model, selector="b", config=DataConfig(split_seed=2, test_share=0.01))
    with pytest.raises(
        DataError,
        match="expected at least two accounts of each label that all models left unseen, got ",
    ):
        select_unseen(source, simulated, [model, sliver], shared=True)
