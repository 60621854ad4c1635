"""A fit's measures against a slow recomputation by account; `make torture` runs it."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from features.catalogue import MODEL_FEATURES
from features.types import Vector
from tests.support.coins import toss_coins
from training.data.labels import Labelled
from training.fit.config import FitConfig, FitError
from training.fit.fit import Fitted, fit, train_booster
from training.fit.tables import fit_tables

pytestmark = pytest.mark.torture
CONFIG = FitConfig(trees=25, leaves=8, depth=3, min_leaf=10, monotone=False, threads=1)
RESAMPLES = 400


def draw_book(seed: int) -> Labelled:
    """A book of a random size: a coin an account, in half of the books one that features know."""
    dice = np.random.default_rng(seed)
    accounts, months = int(dice.integers(60, 160)), int(dice.integers(1, 11))
    book = toss_coins(seed, accounts, months, rate=0.25)
    if dice.random() < 0.5:
        place = book.features.names.index(MODEL_FEATURES[3])
        book.features.values[:, place] += 1.5 * book.label
    return book


def auc_by_groups(book: Labelled) -> float:
    """The AUC of other models, in folds of scikit-learn's own grouping."""
    matrix = book.features.matrix(MODEL_FEATURES)
    names = book.features.accounts["account_id"].to_numpy()
    score = np.zeros(len(book.label))
    for rows, held in GroupKFold(5).split(matrix, book.label, names):
        booster = train_booster(matrix[rows], book.label[rows], CONFIG)
        score[held] = np.asarray(booster.predict(matrix[held]))
    return float(roc_auc_score(book.label, score))


def resampled_aucs(book: Labelled, fitted: Fitted, seed: int) -> Vector:
    """AUCs of resampled accounts: lists of rows in dictionaries, and scikit-learn's AUC."""
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(book.features.accounts["account_id"].to_list()):
        rows_of.setdefault(name, []).append(row)
    dice = random.Random(seed)
    everybody = list(rows_of)
    found = []
    for _ in range(RESAMPLES):
        names = dice.choices(everybody, k=len(everybody))
        rows = [row for name in names for row in rows_of[name]]
        found.append(roc_auc_score(book.label[rows], fitted.probability[rows]))
    return np.array(found)


def test_a_fit_s_measures_are_those_of_a_grouped_recomputation() -> None:
    compared = refused = 0
    for seed in range(40):
        book = draw_book(seed)
        try:
            fitted = fit(book, CONFIG)
        except FitError:
            # The coin ranked backwards, which a fit refuses.
            refused += 1
            continue
        row = fit_tables(fitted)["discrimination"].filter(measure="auc").row(0, named=True)
        assert row["value"] == pytest.approx(roc_auc_score(book.label, fitted.probability))
        draws = resampled_aucs(book, fitted, seed)
        error = draws.std(ddof=1)
        low, high = np.quantile(draws, [0.025, 0.975])
        # An end of 200 resamples varies by 0.19 errors, one of 400 by 0.13.
        assert abs(row["low"] - low) < 1.0 * error, seed
        assert abs(row["high"] - high) < 1.0 * error, seed
        assert abs(row["value"] - auc_by_groups(book)) < 4.0 * error + 0.02, seed
        compared += 1
    assert compared >= 20
    assert refused <= 20


def test_the_interval_of_a_coin_holds_a_half() -> None:
    held = []
    for seed in range(100, 160):
        book = toss_coins(seed, 100, 8, rate=0.25)
        try:
            fitted = fit(book, CONFIG)
        except FitError:
            continue
        table = fit_tables(fitted)["discrimination"]
        low, high = table.filter(pl.col("measure") == "auc").select("low", "high").row(0)
        held.append(low <= 0.5 <= high)
    # Coins that rank backwards are refused: what is left lies high, and is held less often.
    assert len(held) >= 15
    assert np.mean(held) >= 0.75
