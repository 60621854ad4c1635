"""Peers: the tests of differences against hand and simulation, and a comparison with who is
installed.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_rel

from features.catalogue import BY_NAME, MODEL_FEATURES
from training.__main__ import main
from training.compare.peers import learners
from training.compare.peers.compare import PeerComparison, PeersConfig, compare
from training.compare.peers.fold_tests import difference, holm
from training.compare.peers.learners import CONTENDERS, Contender
from training.compare.peers.tuned import tune_config
from training.data.config import DataConfig
from training.data.dataset import load
from training.data.labels import label_accounts
from training.data.simulate.config import SimulationConfig
from training.data.simulate.output import write
from training.evaluate.metrics import auc
from training.fit.config import FitConfig
from training.fit.fit import train_booster
from training.tune import folds
from training.tune.search import TuneConfig

CONFIG = FitConfig(trees=20, leaves=6, depth=3, learning_rate=0.15, min_leaf=20)
HERE = ("Clearline", "LightGBM, our config unconstrained", "LightGBM", "logistic regression")
ABSENT = Contender("nobody's", "as nobody set it", "a_package_that_nobody_has", CONTENDERS[0].fit)


# The tests of differences


def test_the_corrected_test_is_student_s_on_a_wider_variance() -> None:
    random = np.random.default_rng(0)
    one, another = random.normal(0.80, 0.01, 6).tolist(), random.normal(0.79, 0.01, 6).tolist()
    plain = ttest_rel(one, another)
    assert difference(one, another, 0.0).p == pytest.approx(plain.pvalue)  # nothing to correct
    assert difference(one, another, 0.0).low == pytest.approx(plain.confidence_interval().low)
    corrected = difference(one, another, 1 / 5)
    assert (corrected.high - corrected.mean) / (
        difference(one, another, 0.0).high - corrected.mean
    ) == pytest.approx(math.sqrt(1 + 6 / 5))
    assert difference(another, one, 1 / 5).mean == -corrected.mean
    assert difference(another, one, 1 / 5).p == pytest.approx(corrected.p)


def test_folds_that_share_their_rows_seldom_show_what_is_not_there() -> None:
    """Half of the variance is shared by all folds, as by overlapping training sets."""
    random = np.random.default_rng(1)
    found = {0.0: 0, 1 / 4: 0}
    for _ in range(1000):
        gaps = random.normal(0, math.sqrt(0.2), 1) + random.normal(0, math.sqrt(0.8), 5)
        for correction in found:
            found[correction] += difference(gaps.tolist(), [0.0] * 5, correction).p < 0.05
    assert found[0.0] > 90  # the plain test
    assert found[1 / 4] < 60


def test_equal_in_every_fold_is_no_difference() -> None:
    assert difference([0.8, 0.7], [0.8, 0.7], 0.25).p == 1.0
    assert difference([0.75, 0.5], [0.5, 0.25], 0.25).p == 0.0
    with pytest.raises(ValueError, match="same two or more folds, got 1 and 1"):
        difference([0.8], [0.7], 0.25)


def test_holm_raises_in_order_and_never_above_one() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


# The comparison


class Run(NamedTuple):
    folder: Path
    compared: PeerComparison


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("peers") / "data"
    write(SimulationConfig(accounts=1200, seed=5), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.compare.peers.compare.CONTENDERS", (*CONTENDERS[:4], ABSENT))
        found = compare(
            folder, DataConfig(as_of_every=6), CONFIG, PeersConfig(peer_folds=3, tune_trials=0)
        )
    return Run(folder, found)


def test_everybody_is_scored_on_the_same_rows(run: Run) -> None:
    scores = run.compared.scores
    assert scores["contender"].unique(maintain_order=True).to_list() == list(HERE)
    assert scores.group_by("contender").len()["len"].to_list() == [3] * 4
    assert scores["auc"].is_between(0.5, 1).all()
    # The oracle cuts and fits by itself.
    data = label_accounts(load(run.folder), DataConfig(as_of_every=6))
    matrix = data.features.matrix(MODEL_FEATURES)
    for number, (fitted, held) in enumerate(
        folds.split_folds(data, 3, DataConfig(as_of_every=6), 0), start=1
    ):
        assert set(data.split[fitted]) == set(data.split[held]) == {"train"}
        probability = np.asarray(
            train_booster(matrix[fitted], data.label[fitted], CONFIG).predict(matrix[held])
        )
        row = scores.row(
            by_predicate=(pl.col("contender") == "Clearline") & (pl.col("fold") == number),
            named=True,
        )
        label = data.label[held]
        assert row["auc"] == auc(label, probability)
        assert row["brier"] == pytest.approx(np.mean((probability - label) ** 2))
        assert row["log_loss"] == pytest.approx(
            -np.mean(np.log(np.where(label == 1, probability, 1 - probability)))
        )


def test_every_other_is_tested_against_ours(run: Run) -> None:
    tested = run.compared.against()
    assert set(tested["contender"]) == set(HERE[1:])
    summary = {row["contender"]: row for row in run.compared.summary().iter_rows(named=True)}
    for row in tested.iter_rows(named=True):
        assert row["difference"] == pytest.approx(
            summary[row["contender"]][row["measure"]] - summary["Clearline"][row["measure"]],
            abs=1e-12,
        )
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["p"] <= row["p_holm"] <= 1
    assert run.compared.test_to_train == pytest.approx(0.5, abs=0.1)


def test_who_is_not_installed_is_named_with_the_command_and_no_reason_to_stop(run: Run) -> None:
    assert run.compared.missing == (("nobody's", "pip install a_package_that_nobody_has"),)
    page = run.compared.page()
    assert (
        "Not installed, so not compared: nobody's (`pip install a_package_that_nobody_has`)."
        in page
    )
    for name in HERE:
        assert f"| {name} |" in page
    assert "| less Clearline |" in page


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda c: c.name)
def test_a_contender_ranks_explains_and_keeps_its_input(run: Run, contender: Contender) -> None:
    if not contender.installed:
        pytest.skip(f"{contender.name} is not installed: the optional extra peers has it")
    data = label_accounts(load(run.folder), DataConfig(as_of_every=6))
    train = data.take(data.rows("train"))
    before = train.features.values.copy()
    model = contender.fit(train, CONFIG)
    matrix = train.features.matrix(MODEL_FEATURES)
    assert np.array_equal(train.features.values, before, equal_nan=True)
    probability = model.probability(matrix)
    assert probability.shape == (len(matrix),)
    assert ((probability >= 0) & (probability <= 1)).all()
    assert auc(train.label, probability) > 0.7
    explained = model.explain(matrix[:5])
    assert explained is not None
    assert len(explained) == 5


def test_ours_keeps_its_directions_and_is_explained_exactly(run: Run) -> None:
    data = label_accounts(load(run.folder), DataConfig(as_of_every=6))
    train = data.take(data.rows("train"))
    model = learners.fit_ours(train, CONFIG)
    matrix = train.features.matrix(MODEL_FEATURES)[:200]
    contributions = model.explain(matrix)
    assert contributions is not None
    probability = model.probability(matrix)
    base = np.log(probability / (1 - probability)) - contributions.sum(axis=1)
    assert np.ptp(base) < 1e-9
    for place, name in enumerate(MODEL_FEATURES):
        worse = matrix.copy()
        worse[:, place] += BY_NAME[name].direction
        known = ~np.isnan(matrix[:, place])
        assert (model.probability(worse)[known] >= probability[known] - 1e-12).all(), name


def test_tuning_inside_a_fold_sees_its_rows_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = label_accounts(load(run.folder), DataConfig(as_of_every=6))
    rows = data.rows("train")
    inner = data.take(rows[: len(rows) // 2])
    seen: list[set[str]] = []

    def watched(frame: object, parts: object) -> list[folds.Fold]:
        assert frame is inner
        made = list(parts)  # type: ignore[call-overload]
        names = inner.features.accounts["account_id"].to_numpy()
        seen.extend(set(names[fitted]) & set(names[held]) for fitted, held in made)
        return real(inner, made)

    real = folds.bin_folds
    monkeypatch.setattr(folds, "bin_folds", watched)
    config = tune_config(inner, CONFIG, 2, DataConfig(as_of_every=6))
    assert config.seed == CONFIG.seed
    assert config.monotone
    assert seen == [set()] * TuneConfig().search_folds


@pytest.mark.slow
def test_the_command_prints_or_writes_the_page(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [
        "--set",
        "only=logistic regression; LightGBM",
        "--set",
        "peer_folds=2",
        "--set",
        "as_of_every=6",
    ]
    capsys.readouterr()
    assert (
        main(
            [
                "peers",
                "--data",
                str(run.folder),
                "--quiet",
                *sets,
                "--page",
                str(tmp_path / "page.md"),
            ]
        )
        == 0
    )
    assert capsys.readouterr().out == f"the page: {tmp_path / 'page.md'}\n"
    page = (tmp_path / "page.md").read_text("utf-8")
    assert "| logistic regression | 0." in page
    assert "| Clearline |" not in page
    assert main(["peers", "--data", str(run.folder), "--quiet", "--set", "only=LightBGM"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("peers: only: expected some of [")
