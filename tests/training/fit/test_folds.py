"""Folds and measures of accounts with several rows: a coin tossed once an account is no signal."""

from __future__ import annotations

import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from features.catalogue import MODEL_FEATURES
from serving.decision.scoring.score import Calibration
from tests.support.coins import toss_coins
from tests.support.each import each
from training.data.labels import Labelled
from training.evaluate.metrics import auc
from training.fit import fit as fit_module
from training.fit.config import FitConfig, FitError
from training.fit.fit import Fitted, fit, last_rows, train_booster
from training.fit.folds import stratified_folds
from training.fit.tables import fit_tables


def interval(fitted: Fitted) -> tuple[float, float, float]:
    table = fit_tables(fitted)["discrimination"].filter(measure="auc")
    value, low, high = table.select("value", "low", "high").row(0)
    return value, low, high


@pytest.mark.torture
@pytest.mark.integration
def test_a_coin_tossed_once_an_account_is_not_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    # A coin's scores may rank backwards, which the calibration refuses.  It changes no rank.
    monkeypatch.setattr(fit_module, "calibrate", lambda *_: Calibration(1.0, 0.0))
    loose = FitConfig(trees=60, leaves=31, depth=6, min_leaf=5, l2=0.0, monotone=False)
    # With 40 accounts of either label, below which no interval is given.
    books = [toss_coins(seed, 600, 10) for seed in range(4)]
    found = [interval(fit(data, loose)) for data in books]
    assert abs(np.mean([value for value, _, _ in found]) - 0.5) < 0.1
    # Not all: the folds' models share most of their accounts, and an interval takes them as given.
    assert sum(low <= 0.5 <= high for _, low, high in found) >= 3
    # The control, folds of rows: the model knows the coin from the account's other months.
    data = books[0]
    matrix = data.features.matrix(MODEL_FEATURES)
    raw = np.zeros(len(data.label))
    one_row_each = pl.Series(np.arange(len(data.label))).cast(pl.String)
    for rows, held in stratified_folds(one_row_each, data.label, 5, 0):
        booster = train_booster(matrix[rows], data.label[rows], loose)
        raw[held] = np.asarray(booster.predict(matrix[held], raw_score=True))
    assert auc(data.label, raw) > 0.8


@given(
    st.lists(st.sampled_from([f"a{n}" for n in range(25)]), min_size=60, max_size=120),
    st.integers(0, 2**31 - 1),
)
def test_an_account_is_in_one_fold(accounts: list[str], seed: int) -> None:
    random = np.random.default_rng(seed)
    label = random.integers(0, 2, len(accounts)).astype(np.float64)
    try:
        parts = stratified_folds(pl.Series(accounts), label, 3, seed)
    except FitError:
        return
    names = np.array(accounts)
    held = np.concatenate([side for _, side in parts])
    assert np.array_equal(np.sort(held), np.arange(len(names)))
    for fitted, side in each(parts):
        assert not set(names[fitted]) & set(names[side])
        assert set(label[fitted]) == set(label[side]) == {0.0, 1.0}


@given(st.integers(0, 2**31 - 1), st.integers(2, 6))
def test_with_one_row_an_account_folds_are_scikit_learn_s(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    label = (random.random(90) < 0.3).astype(np.float64)
    label[: 2 * count] = np.tile([0.0, 1.0], count)
    names = pl.Series(random.permutation(90)).cast(pl.String)
    expected = StratifiedKFold(count, shuffle=True, random_state=seed).split(label, label)
    found = stratified_folds(names, label, count, seed)
    for (fitted, side), (rows, held) in zip(each(found), expected, strict=True):
        assert fitted.tolist() == rows.tolist()
        assert side.tolist() == held.tolist()


def test_too_few_accounts_of_a_label_are_refused_with_their_number() -> None:
    data = toss_coins(0, 60, 4, rate=0.0)
    label = data.label.copy()
    label[:12] = 1.0  # twelve rows, of three accounts
    coins = Labelled(data.features, label, data.split)
    expected = "expected 5 accounts or more with label 1 .*, got 3 and 57 of 60 accounts"
    with pytest.raises(FitError, match=expected):
        fit(coins, FitConfig(trees=2))


def test_the_last_row_of_each_account_counts_once() -> None:
    data = toss_coins(1, 7, 3)
    shuffled = data.take(np.random.default_rng(2).permutation(21))
    rows = last_rows(shuffled, np.arange(21))
    accounts = shuffled.features.accounts[rows.tolist()]
    assert sorted(accounts["account_id"]) == sorted(set(data.features.accounts["account_id"]))
    assert set(accounts["as_of"]) == {datetime.date(2026, 3, 1)}
    once = shuffled.take(rows)
    assert last_rows(once, np.arange(7)).tolist() == list(range(7))
