"""A search: scored as a fit, the same from the same seed, resumed after a kill, hold-out unseen."""

from __future__ import annotations

import itertools
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from features.catalogue import MODEL_FEATURES
from tests.support.each import each
from tests.support.paths import ROOT
from tests.training.conftest import STORE_WARNINGS, Kept, copy_of
from training.__main__ import main
from training.data.config import DataConfig
from training.data.labels import Labelled
from training.data.simulate.config import SimulationConfig
from training.data.simulate.output import write
from training.data.splits import assign_folds
from training.evaluate.metrics import auc
from training.fit.bundle import BundleConfig
from training.fit.config import FitConfig, FitError
from training.fit.fit import train_booster
from training.tracking import registry, runs
from training.tracking.config import as_text, override
from training.tracking.store import Store
from training.tune import folds
from training.tune.pareto import pareto_front, smallest_within_noise
from training.tune.search import TuneConfig, search
from training.tune.space import SPACE, config_at, point_of, starting_points
from training.tune.study import StudyError, Trial, open_study
from training.tune.tune import TuneResult, code_digest, tune

pytestmark = STORE_WARNINGS
BASE = FitConfig(trees=40, leaves=6, depth=3, learning_rate=0.15, min_leaf=30, stop_after=5)
CONFIG = TuneConfig(trials=8, search_folds=2, startup=2, prune=False)


@pytest.fixture(scope="module")
def small(data: Labelled) -> Labelled:
    """Every tenth row: enough to search in, and fast."""
    return data.take(np.arange(0, len(data.label), 10))


@pytest.fixture(scope="module")
def prepared(small: Labelled) -> list[folds.Fold]:
    return folds.bin_folds(small, list(folds.split_folds(small, 4, DataConfig(), 0)))


def searched(
    folder: Path, prepared: list[folds.Fold], config: TuneConfig, stop_at: int | None = None
) -> list[Trial]:
    """Search in a study of its own; stop after ``stop_at`` trials."""
    trials: list[Trial] = []
    with open_study(folder, "s", {"code": "1"}, config.search_seed, config.startup) as study:
        for trials in search(study, prepared, BASE, config):
            if len(trials) == stop_at:
                break
    return trials


def reproducible(trials: list[Trial]) -> list[object]:
    """What two searches share: not seconds, nor numbers, which skip killed trials."""
    return [(dict(t.point), t.scored.auc, t.scored.leaves, t.whole) for t in trials]


# The folds


def test_folds_are_the_training_accounts_each_in_one(data: Labelled) -> None:
    parts = list(folds.split_folds(data, 4, DataConfig(), 0))
    accounts = data.features.accounts["account_id"]
    names = accounts.to_numpy()
    held = np.concatenate([side for _, side in parts])
    assert np.array_equal(np.sort(held), data.rows("train"))
    for fitted, side in each(parts):
        # Neither hold-out nor validation accounts.
        assert set(data.split[fitted]) == set(data.split[side]) == {"train"}
        assert not set(names[fitted]) & set(names[side])
        assert len(side) == pytest.approx(len(held) / 4, rel=0.1)
    other = assign_folds(accounts, 4, DataConfig(split_seed=1))
    assert not np.array_equal(other, assign_folds(accounts, 4, DataConfig()))


def test_data_with_their_own_labels_are_folded_by_label(data: Labelled) -> None:
    as_of = data.features.accounts["as_of"]
    first_month = np.flatnonzero((as_of == as_of.min()).to_numpy())
    rows = np.intersect1d(data.rows("train"), first_month)
    own = data.take(rows)  # each account once
    parts = list(folds.split_folds(own, 3, DataConfig(), 0))
    rates = [own.label[side].mean() for _, side in parts]
    assert max(rates) - min(rates) < 0.002
    assert folds.bin_folds(own, parts)[0].stop is None
    rare = replace(own, label=(np.arange(len(rows)) < 2).astype(float))
    with pytest.raises(FitError, match=r"expected 5 accounts or more with label 1 .* got 2 and"):
        list(folds.split_folds(rare, 5, DataConfig(), 0))


def test_a_fold_is_scored_as_a_fit_would_score(data: Labelled) -> None:
    """The oracle bins each fold by itself and fits with ``train_booster``; only edges differ."""
    parts = list(folds.split_folds(data, 2, DataConfig(), 0))
    (fitted, held), valid = parts[0], data.rows("valid")
    matrix = data.features.matrix(MODEL_FEATURES)
    config = FitConfig(trees=60, min_leaf=30)
    booster = train_booster(
        matrix[fitted], data.label[fitted], config, (matrix[valid], data.label[valid])
    )
    expected = auc(data.label[held], np.asarray(booster.predict(matrix[held])))
    found, leaves = folds.score_fold(folds.bin_folds(data, parts)[0], config)
    assert found == pytest.approx(expected, abs=0.004)
    assert leaves == pytest.approx(booster.trees_to_dataframe()["left_child"].isna().sum(), rel=0.2)


def test_trees_are_stopped_on_the_validation_accounts_alone(data: Labelled) -> None:
    parts = list(folds.split_folds(data, 2, DataConfig(), 0))
    for fold in each(folds.bin_folds(data, parts)):
        assert fold.stop is not None
        assert np.array_equal(np.asarray(fold.stop.get_label()), data.label[data.rows("valid")])


def test_threads_and_company_change_no_score(prepared: list[folds.Fold]) -> None:
    alone = folds.score_fold(prepared[0], replace(BASE, threads=1))
    folds.score_fold(prepared[0], replace(BASE, min_leaf=500))  # another trial on the same bins
    assert folds.score_fold(prepared[0], replace(BASE, threads=2)) == alone


# The space


def test_a_point_of_the_space_is_a_config_and_back() -> None:
    point = point_of(FitConfig())
    assert config_at(point, FitConfig()) == FitConfig()
    assert set(point) == set(SPACE) <= set(asdict(FitConfig()))
    assert "monotone" not in SPACE
    for end in ("low", "high"):
        ends = dict(point)
        for name, distribution in SPACE.items():
            ends[name] = getattr(distribution, end, point[name])
        # FitConfig allows every end.
        assert point_of(config_at(ends, FitConfig())) == ends


# The search


@pytest.mark.parametrize(
    ("config", "number"),
    [
        (FitConfig(), 5),
        (FitConfig(leaves=2), 3),
        (FitConfig(learning_rate=0.9), 3),
        (FitConfig(leaves=4, learning_rate=1.0), 2),
    ],
)
def test_starting_points_are_inside_the_space_and_differ(config: FitConfig, number: int) -> None:
    begun = starting_points(config)
    assert begun[0] == point_of(config)
    assert len(begun) == number
    assert all(point_of(config_at(point, config)) == point for point in begun)
    assert all(point not in begun[:place] for place, point in enumerate(begun))


@pytest.mark.slow
def test_the_same_seed_makes_the_same_trials_and_another_does_not(
    prepared: list[folds.Fold], tmp_path: Path
) -> None:
    first = searched(tmp_path / "a", prepared[:2], CONFIG)
    assert reproducible(searched(tmp_path / "b", prepared[:2], CONFIG)) == reproducible(first)
    assert len(first) == CONFIG.trials
    begun = starting_points(BASE)
    assert [trial.point for trial in first[: len(begun)]] == begun
    assert begun[0] == point_of(BASE)
    other = searched(tmp_path / "c", prepared[:2], replace(CONFIG, search_seed=1))
    assert reproducible(other)[: len(begun)] == reproducible(first)[: len(begun)]
    assert reproducible(other)[len(begun) :] != reproducible(first)[len(begun) :]


def test_a_resumed_search_makes_the_trials_of_an_uninterrupted_one(
    prepared: list[folds.Fold], tmp_path: Path
) -> None:
    whole = searched(tmp_path / "a", prepared[:2], CONFIG)
    searched(tmp_path / "b", prepared[:2], CONFIG, stop_at=3)
    with open_study(tmp_path / "b", "s", {"code": "1"}, 0, 2) as study:
        study.ask(starting_points(BASE))  # a trial that a killed process leaves running
    assert reproducible(searched(tmp_path / "b", prepared[:2], CONFIG)) == reproducible(whole)


@pytest.mark.torture
def test_pruning_leaves_the_front_as_it_was_and_saves_folds(
    prepared: list[folds.Fold], tmp_path: Path
) -> None:
    """On the same points: what the sampler draws after a pruned trial may differ."""
    config = replace(CONFIG, trials=24, startup=1000)
    whole = searched(tmp_path / "whole", prepared, config)
    pruned = searched(
        tmp_path / "pruned", prepared, replace(config, prune=True, prune_margin_se=1.0)
    )
    assert [t.point for t in whole] == [t.point for t in pruned]
    for trial in each([trial for trial in pruned if not trial.whole]):
        assert len(trial.scored.auc) == 2
    of_whole = [trial.scored for trial in whole]
    of_pruned = [trial.scored for trial in pruned if trial.whole]
    front = [score.number for score in pareto_front(of_whole)]
    assert [score.number for score in pareto_front(of_pruned)] == front
    selected = smallest_within_noise(of_whole)
    assert smallest_within_noise(of_pruned).number == selected.number


# The study


def test_a_study_begun_otherwise_is_refused_with_what_differs(tmp_path: Path) -> None:
    with open_study(tmp_path, "s", {"code": "1", "data": "a", "same": "x"}, 0, 2):
        pass
    with (
        pytest.raises(
            StudyError,
            match=r"'s' was begun otherwise: code was 1, is 2; data was a, is not there; begin an",
        ),
        open_study(tmp_path, "s", {"code": "2", "same": "x"}, 0, 2),
    ):
        pass
    with open_study(tmp_path, "t", {"code": "2"}, 0, 2) as other:
        assert other.trials() == []


def test_a_study_is_searched_by_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        open_study(tmp_path, "s", {}, 0, 2),
        pytest.raises(StudyError, match="another process is searching in it"),
        open_study(tmp_path, "s", {}, 0, 2),
    ):
        pass


@pytest.mark.parametrize("name", ["", "../s", "a b", ".hidden"])
def test_a_study_has_a_plain_name(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(StudyError, match="--study: expected letters"),
        open_study(tmp_path, name, {}, 0, 2),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_code_digest_has_modules_that_are_added_later(tmp_path: Path) -> None:
    digests = [code_digest(tmp_path)]
    for name in ("features/new.py", "training/fit/package/module.py", "training/tune/__init__.py"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("ONE = 1\n", encoding="utf-8")
        digests.append(code_digest(tmp_path))
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving" / "service.py").write_text("", encoding="utf-8")  # no score depends on it
    assert len(set(digests)) == 4
    assert code_digest(tmp_path) == digests[-1]


# The whole, with MLflow

SETS = [
    f"{name}={getattr(BASE, name)}"
    for name in ("trees", "leaves", "depth", "learning_rate", "min_leaf", "stop_after")
]
SETS += ["as_of_every=6", "search_folds=2", "startup=2"]


def words(sets: list[str]) -> list[str]:
    return [word for setting in sets for word in ("--set", setting)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "searched"
    write(SimulationConfig(accounts=1500, seed=3), folder)
    return folder


@pytest.fixture(scope="module")
def tuned(
    kept: Kept, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Store, TuneResult]:
    """A search that was killed with SIGKILL after some trials, and then finished."""
    store = copy_of(kept.store, tmp_path_factory.mktemp("tuned") / "mlruns")
    command = [sys.executable, "-m", "training", "tune", "--quiet", "--trials", "1000"]
    command += ["--data", str(folder), "--store", str(store.folder), *words(SETS)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    database = store.folder / "studies" / "limit-reduction.db"
    try:
        for _ in range(600):
            time.sleep(0.1)
            if database.exists() and finished(database) >= 3:
                break
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = finished(database)
    assert 3 <= before < 1000
    data, base, config = override([DataConfig(), FitConfig(), TuneConfig(trials=before + 2)], SETS)
    return store, tune(folder, store.folder, config, (data, base, BundleConfig()))


def finished(database: Path) -> int:
    """The number of complete trials; 0 before the database has its tables."""
    query = "select count(*) from trials where state = 'COMPLETE'"
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            return int(connection.execute(query).fetchone()[0])
    except sqlite3.Error:
        return 0


@pytest.mark.slow
def test_a_killed_search_goes_on_and_mlflow_has_every_trial_once(
    tuned: tuple[Store, TuneResult],
) -> None:
    store, found = tuned
    client = store.client()
    parent = client.get_run(found.run)
    assert parent.info.status == "FINISHED"
    count, mean_auc = len(found.trials), found.selected.mean_auc
    assert parent.info.run_name == f"tune limit-reduction {count} trials auc {mean_auc:.3f}"
    children = client.search_runs(
        [store.experiment_id()], f"tags.`mlflow.parentRunId` = '{found.run}'"
    )
    names = [f"trial {trial.number:03d}" for trial in found.trials]
    assert sorted(child.info.run_name for child in children) == names
    by_name = {child.info.run_name: child for child in children}
    for trial in each(found.trials):
        child = by_name[f"trial {trial.number:03d}"]
        assert child.info.status == "FINISHED"
        assert child.data.metrics["auc"] == trial.scored.mean_auc
        assert child.data.metrics["leaves"] == trial.scored.mean_leaves
        assert child.data.params == {
            f"fit.{name}": str(value) for name, value in trial.point.items()
        }


@pytest.mark.slow
def test_a_search_keeps_its_trials_and_a_figure(
    tuned: tuple[Store, TuneResult], tmp_path: Path
) -> None:
    store, found = tuned
    folder = Path(store.client().download_artifacts(found.run, "", str(tmp_path)))
    table = pl.read_csv(folder / "tables" / "trials.csv")
    assert table["trial"].to_list() == [t.number for t in found.trials]
    assert set(table.filter("on_front")["trial"]) == {s.number for s in found.front}
    with Image.open(folder / "figures" / "front.png") as image:
        assert 0.01 < np.mean(np.asarray(image.convert("L")) < 250) < 0.6


@pytest.mark.slow
def test_the_command_fits_the_selected_config(
    tuned: tuple[Store, TuneResult],
) -> None:
    _, found = tuned
    points = {trial.number: trial.point for trial in found.trials}
    assert config_at(points[found.selected.number], found.chosen) == found.chosen
    words_of_command = shlex.split(found.command)
    assert words_of_command[:4] == ["python", "-m", "training", "fit"]
    rest = words_of_command[4:]
    settings = [word for flag, word in itertools.pairwise(rest) if flag == "--set"]
    data, config = override([DataConfig(), FitConfig()], settings)
    assert (data.as_of_every, config) == (6, found.chosen)


@pytest.mark.slow
def test_tune_fits_straight_away_and_says_what_it_did(
    tuned: tuple[Store, TuneResult], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, found = tuned
    capsys.readouterr()
    command = ["tune", "--data", str(folder), "--store", str(store.folder), "--quiet", "--fit"]
    command += ["--trials", str(len(found.trials))]
    assert main([*command, *words([*SETS, "reference_size=50"])]) == 0
    out = capsys.readouterr().out
    assert f"study limit-reduction: {len(found.trials)} trials" in out
    assert "--set reference_size=50" in out
    fitted = registry.fetch_parameters(store, "limit-reduction", "2", "fit")
    assert fitted == {name: as_text(value) for name, value in asdict(found.chosen).items()}


@pytest.mark.slow
def test_a_study_of_other_data_or_settings_is_one_line(
    tuned: tuple[Store, TuneResult], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, _ = tuned
    capsys.readouterr()
    command = ["tune", "--data", str(folder), "--store", str(store.folder), "--quiet"]
    command += ["--trials", "1", *words([*SETS, "l2=3", "split_seed=4"])]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith(
        "tune: study 'limit-reduction' was begun otherwise: "
        "split_seed was 0, is 4; l2 was 10.0, is 3.0;"
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("trials=0", "TuneConfig.trials: expected 1 to 100000, got 0"),
        ("serch_folds=3", "(did you mean 'search_folds'?)"),
    ],
)
def test_bad_settings_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, message: str
) -> None:
    capsys.readouterr()
    assert main(["tune", "--store", str(tmp_path), "--quiet", "--set", setting]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_logging_a_trial_is_cheap(tuned: tuple[Store, TuneResult]) -> None:
    store, found = tuned
    children = runs.Children(store, found.run)
    trial = runs.Child(
        "probe", {f"p{n}": n for n in range(9)}, {f"m{n}": 0.5 for n in range(8)}, {"kind": "trial"}
    )
    times = []
    for _ in range(15):
        begun = time.process_time()  # not the clock's: other tests run beside this one
        children.log(trial)
        times.append(time.process_time() - begun)
    assert min(times) < 0.05
