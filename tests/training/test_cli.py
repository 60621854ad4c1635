"""The commands as a person gives them, from simulated accounts to a request of one that no tree
saw.
"""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from serving.decision.golden import load
from serving.decision.pipeline import decide
from serving.schemas.base import parse
from serving.schemas.decision import Request, statements_table
from tests.training.conftest import STORE_WARNINGS, Kept, copy_of
from training.__main__ import main
from training.data.config import DataConfig
from training.data.dataset import load as load_data
from training.data.labels import label_accounts
from training.data.splits import assign_splits
from training.tracking import registry
from training.tracking.store import Store

pytestmark = STORE_WARNINGS
NAME = "limit-reduction"
SPLIT = DataConfig(split_seed=1)  # not the default: a request must not take the default's hold-out


class Said(NamedTuple):
    """What a command gave back and wrote."""

    code: int
    out: str
    err: str


def said(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Said:
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    return Said(code, *capsys.readouterr())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "small"
    assert (
        main(
            [
                "simulate",
                "--set",
                "accounts=1500",
                "--set",
                "seed=3",
                "--quiet",
                "--out",
                str(folder),
            ]
        )
        == 0
    )
    return folder


@pytest.fixture(scope="module")
def store(kept: Kept, small: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the session's version 1, and version 2: fitted by the command on the small data,
    and champion.
    """
    store = copy_of(kept.store, tmp_path_factory.mktemp("commands") / "mlruns")
    settings = ["trees=25", "min_leaf=20", "reference_size=50", f"split_seed={SPLIT.split_seed}"]
    sets = [word for setting in settings for word in ("--set", setting)]
    assert main(["fit", "--data", str(small), "--store", str(store.folder), "--quiet", *sets]) == 0
    registry.promote(store, NAME, "2")
    return store


def test_simulate_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = said(
        capsys,
        "simulate",
        "--set",
        "accounts=200",
        "--set",
        "months=3",
        "--quiet",
        "--out",
        tmp_path / "data",
    )
    written = pl.read_parquet(tmp_path / "data" / "statements")
    assert result == Said(
        0,
        f"simulated {written['account_id'].n_unique()} accounts, {written.height} statements: "
        f"{tmp_path / 'data'}\n",
        "",
    )
    assert written["month"].n_unique() == 3


def test_fit_says_what_it_kept(
    kept: Kept, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = copy_of(kept.store, tmp_path / "mlruns")
    sets = ["--set", "trees=5", "--set", "min_leaf=20", "--set", "reference_size=50"]
    result = said(capsys, "fit", "--data", small, "--store", store.folder, "--quiet", *sets)
    assert result.code == 0
    first, rows, *measures = result.out.splitlines()
    version = store.client().get_model_version(NAME, "2")
    assert first == (
        f"run {version.run_id}: version 2 of limit-reduction, bundle "
        f"{version.tags['bundle'][:12]}, kept in {store.folder}"
    )
    data = label_accounts(load_data(small), DataConfig())
    assert rows == "rows: " + ", ".join(
        f"{name} {len(data.rows(name)):,}" for name in ("train", "valid", "test")
    )
    assert [line.split()[0] for line in measures] == ["auc", "ks", "brier", "gini"]
    assert all(
        re.fullmatch(r"  \w+ +\d\.\d{4}  \[\d\.\d{4}, \d\.\d{4}\]", line) for line in measures
    )
    assert registry.fetch_parameters(store, NAME, "2", "fit")["trees"] == "5"


@pytest.mark.parametrize(
    ("action", "number"), [("reduce", 1), ("reduce", 2), ("keep", 3), ("review", 1)]
)
def test_request_is_of_a_hold_out_account_that_gets_the_action(
    store: Store,
    small: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    action: str,
    number: int,
) -> None:
    file = tmp_path / "new" / "request.json"
    result = said(
        capsys,
        "request",
        "--store",
        store.folder,
        "--data",
        small,
        "--action",
        action,
        "--number",
        str(number),
        "--out",
        file,
    )
    assert (result.code, result.err) == (0, "")
    asked = parse(Request, file.read_bytes())
    last = asked.statements[-1].month
    assert (
        result.out
        == f"account {asked.account_id}, {len(asked.statements)} statements up to {last}: {file}\n"
    )

    bundle = load(registry.fetch_bundle(store, NAME, "2", tmp_path / "bundle"))
    decided_at = datetime.datetime.strptime(f"{last}-28 12:00 +0000", "%Y-%m-%d %H:%M %z")
    decision = decide(statements_table([asked]), bundle, decided_at)
    assert decision.action == action

    source = load_data(small)
    own = source.statements.filter(pl.col("account_id") == asked.account_id).tail(24)
    assert statements_table([asked]).equals(own.select(statements_table([asked]).columns))
    data = label_accounts(source, SPLIT)
    seen = data.features.accounts.filter(pl.Series(data.split != "test"))["account_id"]
    assert asked.account_id not in seen.to_list()
    assert assign_splits(pl.Series([asked.account_id]), SPLIT).tolist() == ["test"]


def test_each_number_is_another_account(store: Store, small: Path, tmp_path: Path) -> None:
    found = set()
    for number in ("1", "2"):
        file = tmp_path / f"{number}.json"
        asked = [
            "request",
            "--store",
            str(store.folder),
            "--data",
            str(small),
            "--action",
            "keep",
            "--number",
            number,
        ]
        assert main([*asked, "--out", str(file)]) == 0
        found.add(parse(Request, file.read_bytes()).account_id)
    assert len(found) == 2


@pytest.mark.parametrize("command", ["simulate", "fit"])
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("acounts=5", "no field is named 'acounts' (did you mean '"),
        ("zzz=5", "no field is named 'zzz'; there are ["),
        ("seed=many", "--set seed: expected int, got 'many'"),
        ("seed", "--set: expected name=value, got 'seed'"),
    ],
)
def test_a_setting_that_cannot_be_set_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, setting: str, words: str
) -> None:
    where = ["--out" if command == "simulate" else "--store", tmp_path / "new"]
    result = said(capsys, command, "--set", setting, "--quiet", *where)
    refused(result, command, words)
    assert list(tmp_path.iterdir()) == []


def refused(result: Said, command: str, words: str) -> None:
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"{command}: ")
    assert result.err.count("\n") == 1
    assert words in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["promote", "--version", "99"],
            "expected a version of limit-reduction among ['1', '2'], got 99",
        ),
        (["promote", "--name", "another"], "no version of another is registered"),
        (["request", "--version", "99"], "among ['1', '2'], got 99"),
        (["request", "--name", "another"], "another has no champion; promote a version first"),
        (
            ["request", "--action", "suspend", "--number", "2001"],
            "expected 2001 hold-out accounts with action suspend, found ",
        ),
        (["request", "--number", "0"], "expected 1 for the first account"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_there_is_one_line(
    store: Store,
    small: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    data: list[str | Path] = (
        ["--data", small, "--out", tmp_path / "request.json"] if arguments[0] == "request" else []
    )
    result = said(capsys, *arguments, "--store", store.folder, *data)
    refused(result, arguments[0], words)
    assert list(tmp_path.iterdir()) == []
    assert registry.find_champion(store, NAME) == "2"


def test_a_folder_without_data_or_store_is_one_line_and_stays_as_it_was(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing"
    words = f"{missing}: there is no such folder"
    refused(said(capsys, "fit", "--data", missing, "--store", missing, "--quiet"), "fit", words)
    asked: list[str | Path] = [
        "request",
        "--out",
        tmp_path / "request.json",
        "--data",
        missing,
        "--store",
    ]
    refused(said(capsys, *asked, store.folder), "request", words)
    refused(said(capsys, *asked, missing), "request", "has no champion; promote a version first")
    refused(said(capsys, "promote", "--store", missing), "promote", "fit one first")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [["promote", "--set", "name=x"], ["request", "--set", "split_seed=1"], ["fit", "--name", "x"]],
)
def test_an_option_that_would_do_nothing_or_harm_is_not_taken(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A request's split is its fit's; a fit's name is a setting."""
    with pytest.raises(SystemExit):
        main(arguments)
    assert "unrecognized arguments" in capsys.readouterr().err


def test_an_interruption_is_one_line_and_a_run_that_says_so(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.fit.run.fit_and_measure", interrupted)
    asked = said(capsys, "fit", "--data", small, "--store", tmp_path / "mlruns", "--quiet")
    assert asked.code == 130
    assert (
        asked.err.strip()
        == "fit: interrupted; nothing can be served of it: give the same command again"
    )
    store = Store(tmp_path / "mlruns")
    [run] = store.client().search_runs([store.experiment_id()])
    assert (run.info.status, run.data.tags["ended_by"]) == ("KILLED", "interrupted")


def test_a_fault_of_ours_is_no_answer(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own exit code is 1, which is also the answer "not better" of a comparison."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("training.fit.run.fit_and_measure", broken)
    asked = said(capsys, "fit", "--data", small, "--store", tmp_path / "mlruns", "--quiet")
    assert asked.code == 2
    assert "Traceback" in asked.err
    store = Store(tmp_path / "mlruns")
    [run] = store.client().search_runs([store.experiment_id()])
    assert (run.info.status, run.data.tags["ended_by"]) == ("FAILED", "ZeroDivisionError: ")


def test_a_store_that_cannot_be_written_is_one_line(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlruns").mkdir()
    # Whoever runs the tests may be root, to whom every mode is writable; a mount that is read only
    # is not.
    monkeypatch.setattr("training.tracking.store.os.access", lambda place, mode: False)
    asked = said(capsys, "fit", "--data", small, "--store", tmp_path / "mlruns", "--quiet")
    refused(asked, "fit", f"{tmp_path / 'mlruns'}: cannot be written")


def test_a_file_that_is_not_there_is_named(
    store: Store, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "gates.toml"
    asked = said(
        capsys, "promote", "--data", small, "--store", store.folder, "--gates", missing, "--quiet"
    )
    refused(asked, "promote", f"{missing}: no such file or directory")


def test_trees_without_a_split_are_refused_and_register_nothing(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "mlruns"
    asked = said(
        capsys, "fit", "--data", small, "--store", store, "--quiet", "--set", "min_leaf=1000000"
    )
    refused(asked, "fit", "got no split at all")
    assert registry.versions_with_bundle(Store(store), NAME) == []
