"""Hundreds of damaged bundles: none is accepted whose answers differ from its golden rows.

Copies with wrong digests are read in this process, because they are rejected before anything is
parsed.  Copies with correct digests ("sealed again" after the damage) are read in a process each,
because LightGBM's parser may terminate the process or never return, which is not an acceptance.
Golden rows that were rewritten to match the damage cannot be noticed; the digest in every answer
exists for that case.
"""

from __future__ import annotations

import datetime
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest

from features import schema
from serving.decision import bundle as bundle_module
from serving.decision import golden
from serving.decision.bundle import FILES, SEAL, Bundle, BundleError
from serving.decision.golden import load
from serving.decision.scoring.lightgbm_trees import read_trees
from serving.decision.scoring.score import Calibration, Scorer, score
from serving.decision.scoring.shapley import make_explainer
from serving.decision.scoring.shapley_tables import flatten_trees
from tests.support.damage import GOLDEN, MANIFEST, RESEALED, UNSEALED, Files, copies, put, truncated
from tests.support.paths import ROOT

CPU_SECONDS = 3  # for reading a bundle, which takes a tenth of a second
PATIENCE = 60.0  # seconds; a busy machine may give a process little of its time
MOST_MEMORY = 8 * 2**30  # of addresses: a damaged count asks for any amount
TOLERANCE = 1e-9
HELD = ("account_id", "action", "new_limit", "reasons")
CLOSE = ("log_odds", "base_log_odds", "contributions")
EACH_UNSEALED, EACH_RESEALED = 70, 8  # copies of every kind: more than 500 together
_LIGHTGBM = lgb.basic._LIB  # type: ignore[attr-defined]  # the library itself: no other way leads to its parser
PARSERS = ((_LIGHTGBM, "LGBM_BoosterLoadModelFromString"), (pl, "read_parquet"), (tomllib, "loads"))

Reader = Literal["load", "rows_skipped", "digests_skipped"]


class Told(NamedTuple):
    """How the reading of one bundle ended; the answers of an accepted one to the undamaged bundle's
    windows and to its own.
    """

    kind: str
    folder: Path
    end: Literal["accepted", "refused", "raised", "died", "hung"]
    said: str = ""
    answers: tuple[dict[str, Any], ...] = ()
    own: tuple[dict[str, Any], ...] = ()


# The child that reads them: this module run as a program, which forks for each bundle.


def attend() -> None:
    """Read the bundle that each line of stdin names, and tell on stdout how that ended, a line
    each.
    """
    _warm_up()
    for order in sys.stdin:
        reader, folder = order.rstrip("\n").split("\t")
        print(json.dumps(_attended(reader, Path(folder))), flush=True)  # noqa: T201  # the answer


def _warm_up() -> None:
    """Load what was compiled, for all children at once.

    Polars is left alone: its threads would not survive the fork.
    """
    model = lgb.Booster(model_file=GOLDEN / "model.txt")
    rows = np.zeros((1, model.num_feature()))
    score(
        rows,
        ["any"],
        Scorer(
            model,
            Calibration(1.0, 0.0),
            {"any": make_explainer(flatten_trees(read_trees(model)), rows)},
        ),
    )


def _attended(reader: str, folder: Path) -> dict[str, Any]:
    told = folder.with_suffix(".told")
    child = os.fork()
    if child == 0:
        os._exit(_read_one(reader, folder, told))
    until = time.monotonic() + PATIENCE
    ended, status = os.waitpid(child, os.WNOHANG)
    while not ended and time.monotonic() < until:
        time.sleep(0.002)
        ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return {"end": "hung"}
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        return {"end": "hung"}
    if status:
        return {"end": "died", "said": f"status {status}"}
    found: dict[str, Any] = json.loads(told.read_text("utf-8"))
    return found


def _read_one(reader: str, folder: Path, told: Path) -> int:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)  # LightGBM's last words
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    try:
        found = _tried(reader, folder)
        told.write_text(json.dumps(found), "utf-8")
    except BaseException:  # noqa: BLE001  # the fork must not go on as its parent; pyo3's panics are no Exception
        return 3
    return 0


def _tried(reader: str, folder: Path) -> dict[str, Any]:
    try:
        bundle = _READERS[reader](folder)
    except BundleError as error:
        return {"end": "refused", "said": str(error)}
    except BaseException as error:  # noqa: BLE001  # anything else is what is looked for
        return {"end": "raised", "said": f"{type(error).__name__}: {error}"}
    try:
        return {
            "end": "accepted",
            "answers": answers(bundle, GOLDEN),
            "own": answers(bundle, folder),
        }
    except Exception as error:  # noqa: BLE001  # accepted all the same: such an answer equals no other
        return {"end": "accepted", "said": f"{type(error).__name__}: {error}"}


def answers(bundle: Bundle, folder: Path) -> list[dict[str, Any]]:
    """What the bundle answers to the windows of the golden rows in a folder."""
    content = json.loads((folder / "golden.json").read_text("utf-8"))
    records = [dict(zip(schema.NAMES, row, strict=True)) for row in content["statements"]]
    windows = schema.table(
        [r | {"month": datetime.date.fromisoformat(r["month"])} for r in records]
    )
    decided_at = datetime.datetime.fromisoformat(content["decided_at"])
    found: list[dict[str, Any]] = json.loads(golden.make(bundle, windows, decided_at))["answers"]
    return found


def _without_digests(folder: Path) -> Bundle:
    def unverified(folder: Path) -> tuple[Files, str]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}, ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle_module, "_verified", unverified)
        return load(folder)


_READERS: Mapping[str, Callable[[Path], Bundle]] = {
    "load": load,
    "rows_skipped": bundle_module.read,
    "digests_skipped": _without_digests,
}


def told_of(
    made: Iterable[tuple[str, Files]], scratch: Path, reader: Reader = "load"
) -> list[Told]:
    """How the reading of each copy ended, in a process of its own."""
    placed = [
        (kind, put(files, scratch / f"{number:04d}")) for number, (kind, files) in enumerate(made)
    ]
    alone = {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "POLARS_MAX_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    run = subprocess.run(
        [sys.executable, __file__],
        input="".join(f"{reader}\t{folder}\n" for _, folder in placed),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | alone,
        check=True,
    )
    lines = run.stdout.splitlines()
    assert len(lines) == len(placed), run.stderr
    return [
        Told(kind, folder, **json.loads(line))
        for (kind, folder), line in zip(placed, lines, strict=True)
    ]


def same(one: Iterable[Mapping[str, Any]], other: Iterable[Mapping[str, Any]]) -> bool:
    """Whether two lists of answers say the same; written apart from what golden.py compares."""
    pairs = list(zip(one, other, strict=False))
    if not pairs or len(list(one)) != len(list(other)):
        return False
    held = all(a[key] == b[key] for a, b in pairs for key in HELD)
    return held and all(
        np.abs(np.subtract(a[key], b[key])).max() <= TOLERANCE for a, b in pairs for key in CLOSE
    )


def told_in(folder: Path) -> list[dict[str, Any]]:
    """The answers of a folder's golden rows."""
    found: list[dict[str, Any]] = json.loads((folder / "golden.json").read_text("utf-8"))["answers"]
    return found


def check_told(told: Told) -> None:
    """The promise, of one copy that was sealed again."""
    if told.end in ("died", "hung"):
        assert (told.folder / "model.txt").read_bytes() != (GOLDEN / "model.txt").read_bytes(), told
    elif told.end == "accepted":
        assert same(told.answers, told_in(GOLDEN)), told
        assert same(told.own, told_in(told.folder)), told
        assert same(told.own, told_in(GOLDEN)), told
    else:
        assert told.end == "refused", told


def check_all(found: Iterable[Told]) -> None:
    for told in found:
        check_told(told)


@contextmanager
def parsings() -> Iterator[Counter[str]]:
    """How often each parser of a bundle's files was reached inside the block."""
    counted: Counter[str] = Counter()

    def counting(name: str, parser: Callable[..., Any]) -> Callable[..., Any]:
        def parse(*given: Any, **named: Any) -> Any:
            counted[name] += 1
            return parser(*given, **named)

        return parse

    with pytest.MonkeyPatch.context() as patch:
        for module, name in PARSERS:
            patch.setattr(module, name, counting(name, getattr(module, name)))
        yield counted


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.torture) for seed in range(2, 12))]
)
def test_what_does_not_match_its_digests_is_refused_before_anything_is_parsed(
    seed: int, tmp_path: Path
) -> None:
    with parsings() as counted:
        for number, (kind, files) in enumerate(copies(UNSEALED, EACH_UNSEALED, seed, seal=False)):
            folder = put(files, tmp_path / f"{number:04d}")
            with pytest.raises(BundleError):
                pytest.fail(f"{kind} was read: {load(folder)}")
            shutil.rmtree(folder)
    assert counted == {}


def test_the_count_of_parsings_sees_each_parser() -> None:
    """The control."""
    with parsings() as counted:
        load(GOLDEN)
    assert set(counted) == {name for _, name in PARSERS}


@pytest.mark.parametrize("name", [*FILES, MANIFEST, SEAL])
def test_a_folder_in_place_of_a_file_is_refused(name: str, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(GOLDEN, damaged)
    (damaged / name).unlink()
    (damaged / name).mkdir()
    with pytest.raises(BundleError):
        load(damaged)


@pytest.mark.parametrize(
    ("seed", "count"),
    [
        (1, 3),
        *(pytest.param(seed, EACH_RESEALED, marks=pytest.mark.torture) for seed in range(1, 12)),
    ],
)
@pytest.mark.slow
def test_no_damage_that_was_sealed_again_is_accepted_with_other_answers(
    seed: int, count: int, tmp_path: Path
) -> None:
    """So many copies of every kind."""
    found = told_of(copies(RESEALED, count, seed, seal=True), tmp_path)
    assert len(found) == count * len(RESEALED)
    check_all(found)
    assert {told.end for told in found if told.kind == "inert"} == {"accepted"}
    assert "refused" in {told.end for told in found if told.kind == "golden answer"}
    shutil.rmtree(tmp_path)


@pytest.mark.torture
def test_a_reader_without_golden_rows_accepts_other_answers(tmp_path: Path) -> None:
    """Control: the same copies; the reader of the test above accepted none with other answers."""
    kinds = {
        kind: RESEALED[kind]
        for kind in ("leaf", "split", "calibration", "reference rows", "golden answer")
    }
    found = told_of(copies(kinds, EACH_RESEALED, 1, seal=True), tmp_path, "rows_skipped")
    accepted = [told for told in found if told.end == "accepted" and not told.said]
    assert {told.kind for told in accepted if not same(told.own, told_in(told.folder))} == set(
        kinds
    )
    with pytest.raises(AssertionError):
        check_all(accepted)


@pytest.mark.torture
def test_a_reader_without_digests_loses_its_process(tmp_path: Path) -> None:
    """The control: why digests are verified first."""
    kinds = {"truncated": partial(truncated, among=["model.txt"])}
    found = told_of(copies(kinds, 2 * EACH_RESEALED, 1, seal=False), tmp_path, "digests_skipped")
    assert "died" in {told.end for told in found}


if __name__ == "__main__":
    attend()
