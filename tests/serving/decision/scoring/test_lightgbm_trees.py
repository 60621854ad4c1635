from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.decision.scoring import kernels, shapley_tables
from serving.decision.scoring.kernels import route_value
from serving.decision.scoring.lightgbm_trees import MAX_DEPTH, Forest, Tree, TreeError, read_trees
from serving.decision.scoring.shapley_tables import flatten_trees
from tests.support.boosters import ODD, Case, case, cases
from tests.support.paths import GOLDEN, ROOT

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(300, 4))


def leaf_of(tree: Tree, row: np.ndarray) -> int:
    """The leaf that a row falls into, by one split after the other."""
    node = 0 if tree.feature else ~0
    while node >= 0:
        value = route_value(
            row[tree.feature[node]], tree.missing[node], int(tree.default_left[node])
        )
        node = tree.left[node] if value <= tree.threshold[node] else tree.right[node]
    return ~node


@pytest.mark.integration
@settings(max_examples=150)
@given(cases(most_reference=40))
def test_rows_fall_into_lightgbms_leaves(drawn: Case) -> None:
    rows = np.vstack([drawn.rows, drawn.reference])
    trees = read_trees(drawn.model).trees
    expected = np.asarray(drawn.model.predict(rows, pred_leaf=True)).reshape(len(rows), -1)
    found = [[leaf_of(tree, row) for tree in trees] for row in rows]
    assert np.array_equal(found, expected)


def test_leaves_are_worth_what_lightgbm_says() -> None:
    for kind in ("binary", "regression", "rf"):
        drawn = case(
            features=3,
            reference=50,
            missing="seen",
            depth=5,
            leaves=20,
            trees=6,
            levels=0,
            kind=kind,
            seed=3,
        )
        forest = read_trees(drawn.model)
        raw = [
            sum(tree.leaf[leaf_of(tree, row)] for tree in forest.trees) for row in drawn.reference
        ]
        assert raw == pytest.approx(drawn.model.predict(drawn.reference, raw_score=True), rel=1e-12)
        for tree in forest.trees:
            for split in range(len(tree.feature)):
                sent = [tree.share_sent(split, child) for child in tree.children(split)]
                assert sum(sent) == pytest.approx(1.0)
                assert min(sent) > 0


@given(
    st.sampled_from(ODD) | st.floats(),
    st.sampled_from([0, 1, 2]),
    st.booleans(),
    st.floats(allow_nan=False),
)
def test_a_settled_value_is_lightgbms_numerical_decision(
    value: float, missing: int, left: bool, threshold: float
) -> None:
    """As tree.h has it, for a value read from a dense row, where what is within 1e-35 of zero is
    not kept.
    """
    tiny = float(np.float32(1e-35))
    read = 0.0 if abs(value) <= tiny else value
    if np.isnan(read) and missing != 2:
        read = 0.0
    gone = (missing == 1 and abs(read) <= tiny) or (missing == 2 and np.isnan(read))
    expected = left if gone else read <= threshold
    assert (route_value(value, missing, int(left)) <= threshold) == expected


def test_the_trees_are_those_that_predict() -> None:
    """A model that stopped early predicts with its best trees, and these are explained."""
    label = (ROWS[:, 0] > 0).astype(float)
    model = lgb.train({"objective": "binary", "verbose": -1}, lgb.Dataset(ROWS, label), 12)
    model.best_iteration = 5
    assert len(read_trees(model).trees) == 5


def fitted_with(
    label: np.ndarray, data: dict[str, Any] | None = None, **parameters: Any
) -> lgb.Booster:
    options = {"verbose": -1, "min_data_in_leaf": 1, "num_threads": 1, **parameters}
    return lgb.train(options, lgb.Dataset(ROWS, label, params=options, **(data or {})), 2)


def refused() -> dict[str, lgb.Booster]:
    codes = np.floor(ROWS * 2) + 10
    categorical = lgb.Dataset(
        codes, RANDOM.random(300), categorical_feature=[0], params={"verbose": -1}
    )
    steps = np.arange(300.0)
    return {
        "tree 0: expected splits by threshold, got a categorical one": lgb.train(
            {"verbose": -1, "min_data_in_leaf": 1, "min_data_per_group": 1, "cat_smooth": 0},
            categorical,
            1,
        ),
        "got linear ones; fit with linear_tree=false": fitted_with(
            ROWS[:, 0] * 3, linear_tree=True
        ),
        "got 3: a model of several classes": fitted_with(
            np.digitize(ROWS[:, 0], [-0.5, 0.5]), objective="multiclass", num_class=3
        ),
        "expected at most 8 splits on a path, got": fitted_with(
            np.exp(steps / 20), num_leaves=120, max_depth=-1
        ),
    }


@pytest.mark.parametrize("message", refused())
def test_what_cannot_be_explained_exactly_is_refused(message: str) -> None:
    with pytest.raises(TreeError, match=message):
        read_trees(refused()[message])


def test_a_deep_model_is_told_what_it_would_take() -> None:
    model = fitted_with(np.exp(np.arange(300.0) / 20), num_leaves=120, max_depth=MAX_DEPTH + 1)
    with pytest.raises(
        TreeError,
        match=r"tables for the paths beyond would take [\d.]+ MiB; fit with max_depth=8 or less",
    ):
        read_trees(model)
    read_trees(fitted_with(np.exp(np.arange(300.0) / 20), num_leaves=120, max_depth=MAX_DEPTH))


def test_the_limits_are_what_the_arrays_hold() -> None:
    assert shapley_tables.MAX_BYTES == 2**30
    assert np.iinfo(flatten_trees(Forest(1, ())).split_bin.dtype).max == shapley_tables.MAX_CUTS
    assert MAX_DEPTH == kernels.WIDTH == np.iinfo(np.uint8).bits


def test_a_chain_of_any_length_is_refused() -> None:
    length = 3000
    chain = Tree(
        feature=(0,) * length,
        threshold=tuple(map(float, range(length))),
        missing=(0,) * length,
        default_left=(True,) * length,
        left=(*range(1, length), -1),
        right=tuple(range(-2, -2 - length, -1)),
        split_cover=(2,) * length,
        leaf=(0.0,) * (length + 1),
        leaf_cover=(1,) * (length + 1),
    )
    with pytest.raises(TreeError, match="got 3000: tables for the paths beyond would take"):
        Forest(1, (chain,))


def test_leaves_without_a_finite_value_are_refused() -> None:
    model = fitted_with(ROWS[:, 0])
    model.set_leaf_output(1, 0, float("nan"))
    with pytest.raises(TreeError, match=r"tree 1: expected finite leaf values, got \[nan\]"):
        read_trees(model)


def test_tables_beyond_a_gibibyte_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    forest = read_trees(fitted_with(ROWS[:, 0], num_leaves=16, max_depth=4))
    flatten_trees(forest)
    monkeypatch.setattr(shapley_tables, "MAX_BYTES", 1000)
    with pytest.raises(
        TreeError, match=r"2 trees: expected tables of at most 0 MiB, these would take \d+ MiB"
    ):
        flatten_trees(forest)


def test_a_feature_with_too_many_thresholds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stump = Tree((0,), (0.0,), (0,), (True,), (-1,), (-2,), (2,), (0.0, 1.0), (1, 1))
    forest = Forest(1, tuple(Tree((0,), (float(cut),), *_rest(stump)) for cut in range(40)))
    flatten_trees(forest)
    monkeypatch.setattr(shapley_tables, "MAX_CUTS", 39)
    with pytest.raises(TreeError, match="feature 0: expected at most 39 thresholds, got 40"):
        flatten_trees(forest)


def _rest(tree: Tree) -> tuple[Any, ...]:
    return (
        tree.missing,
        tree.default_left,
        tree.left,
        tree.right,
        tree.split_cover,
        tree.leaf,
        tree.leaf_cover,
    )


def test_another_text_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted_with(ROWS[:, 0])
    text = model.model_to_string().replace("version=v4", "version=v5")
    monkeypatch.setattr(model, "model_to_string", lambda: text)
    with pytest.raises(TreeError, match="text of version v4, got v5"):
        read_trees(model)


@pytest.mark.integration
def test_loops_are_compiled_where_no_folder_keeps_them(tmp_path: Path) -> None:
    """numba refuses to cache where neither the source's folder nor the home can be written: then it
    must do without.
    """
    place = tmp_path / "alone"
    place.mkdir()
    shutil.copy(str(kernels.__file__), place / "kernels.py")
    (place / "__pycache__").write_text("a file where the folder should be", encoding="utf-8")
    environment = {
        **os.environ,
        "HOME": "/dev/null",
        "XDG_CACHE_HOME": "/dev/null/none",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    code = "from kernels import route_value as f; print(f(3.0, 0, 0), type(f._cache).__name__)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.split() == ["3.0", "NullCache"], run.stderr
    # The control: here they are kept.
    assert type(kernels.route_value._cache).__name__ == "_TolerantCache"  # type: ignore[attr-defined]


START = """
import sys
from pathlib import Path
from features.program import machine, row_text
from serving.decision.golden import load
from serving.decision.scoring import kernels
load(Path(sys.argv[1]))
of_kernels = [kernels.explain_rows, kernels.find_patterns, kernels.add_lines]
loops = [*of_kernels, machine.run, row_text.write_rows]
print([len(loop.signatures) for loop in loops])
"""


@pytest.mark.torture  # it compiles twice; test_evaluate.py has an unusable cache in CI
def test_a_cache_that_cannot_be_used_is_done_without(tmp_path: Path) -> None:
    """Its files cut short, or emptied, as a power loss leaves them; and the next start finds whole
    ones.
    """
    golden = GOLDEN

    def start() -> None:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", START, str(golden)]
        run = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT
        )
        # Each loop is compiled before a bundle is served, and for one kind of array.
        assert run.stdout.split("\n")[0] == "[1, 1, 1, 1, 1]", run.stderr

    start()
    # One a loop: of the kernels, of the features' program and of the text of rows.
    indexes, contents = (sorted(tmp_path.rglob(f"*.{suffix}")) for suffix in ("nbi", "nbc"))
    assert len(indexes) >= 7 + 13 + 5
    # One a loop and kind of arguments.
    assert {file.stem for file in indexes} == {file.stem.rpartition(".")[0] for file in contents}
    whole = {file: file.stat().st_size for file in indexes + contents}
    # A loop has one file of each kind: of every other loop the first is damaged, and of the rest
    # the second, so that one start meets both.
    for file in indexes[::2]:
        file.write_bytes(b"")
    for file in contents[1::2]:
        file.write_bytes(file.read_bytes()[:100])
    start()
    assert {file: file.stat().st_size for file in whole} == whole
