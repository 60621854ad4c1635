"""The commands, from simulated accounts to a request of an account that no tree was fitted on."""

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
from tests.support.each import each
from tests.training.conftest import STORE_WARNINGS, Kept, copy_of
from training import api
from training.__main__ import main
from training.data.config import DataConfig
from training.data.dataset import load as load_data
from training.data.labels import label_accounts, soon_after
from training.data.sample_request import hold_out
from training.data.splits import assign_splits
from training.evaluate.model_lookup import find_model
from training.tracking import registry
from training.tracking.defaults import MODEL, STORE
from training.tracking.store import Store

pytestmark = STORE_WARNINGS
SPLIT = DataConfig(split_seed=1)  # not the default: a request must not take the default's hold-out


class Output(NamedTuple):
    """The exit code of a command, and what it printed."""

    code: int
    out: str
    err: str


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Output:
    capsys.readouterr()  # drops what earlier commands printed
    code = main([str(argument) for argument in arguments])
    return Output(code, *capsys.readouterr())


def set_all(*settings: str) -> list[str]:
    """The ``--set`` options of these settings."""
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "small"
    settings = set_all("accounts=1500", "seed=3", "first_month=2023-10-01")
    assert main(["simulate", *settings, "--quiet", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def store(kept: Kept, small: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the session's version 1, and the champion: version 2, fitted by the command."""
    store = copy_of(kept.store, tmp_path_factory.mktemp("commands") / "mlruns")
    split = f"split_seed={SPLIT.split_seed}"
    settings = set_all("trees=25", "min_leaf=20", "reference_size=50", split)
    folders = ["--data", str(small), "--store", str(store.folder)]
    assert main(["fit", *folders, "--quiet", *settings]) == 0
    registry.promote(store, MODEL, "2")
    return store


def test_simulate_prints_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    settings = set_all("accounts=200", "months=3")
    result = run(capsys, "simulate", *settings, "--quiet", "--out", folder)
    written = pl.read_parquet(folder / "statements")
    counts = f"{written['account_id'].n_unique()} accounts, {written.height} statements"
    assert result == Output(0, f"simulated {counts}: {folder}\n", "")
    assert written["month"].n_unique() == 3


def test_fit_prints_the_version_the_rows_and_the_measures(
    kept: Kept, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = copy_of(kept.store, tmp_path / "mlruns")
    settings = set_all("trees=5", "min_leaf=20", "reference_size=50")
    result = run(capsys, "fit", "--data", small, "--store", store.folder, "--quiet", *settings)
    assert result.code == 0
    first, rows, *lines = result.out.splitlines()
    measures, economics = lines[:5], lines[5:]
    version = store.client().get_model_version(MODEL, "2")
    bundle = version.tags["bundle"][:12]
    assert first == (
        f"run {version.run_id}: version 2 of limit-reduction, bundle {bundle}, "
        f"kept in {store.folder}"
    )
    data = label_accounts(load_data(small), DataConfig())
    counts = [f"{name} {len(data.rows(name)):,}" for name in ("train", "valid", "test")]
    assert rows == "rows: " + ", ".join(counts)
    assert [line.split()[0] for line in measures] == ["auc", "ks", "brier", "log_loss", "gini"]
    number = r"\d\.\d{4}"
    interval = rf"\[{number}, {number}\]|too few defaults for an interval"
    row = re.compile(rf"  \w+ +{number}  ({interval})")
    assert all(row.fullmatch(line) for line in measures)
    starts = [line.split(": 0.")[0] for line in economics]
    assert starts == [
        f"{measure} of {product}"
        for product in ("cash_loan", "pay_later")
        for measure in ("margin", "credit conversion")
    ]
    assert registry.fetch_parameters(store, MODEL, "2", "fit")["trees"] == "5"


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
    folders = ["--store", str(store.folder), "--data", str(small)]
    account = ["--action", action, "--number", str(number)]
    result = run(capsys, "request", *folders, *account, "--out", file)
    assert (result.code, result.err) == (0, "")
    request = parse(Request, file.read_bytes())
    last = request.statements[-1].month
    history = f"{len(request.statements)} statements up to {last}"
    assert result.out == f"account {request.account_id}, {history}: {file}\n"

    statements = statements_table([request])
    bundle = load(registry.fetch_bundle(store, MODEL, "2", tmp_path / "bundle"))
    decided_at = datetime.datetime.strptime(f"{last}-28 12:00 +0000", "%Y-%m-%d %H:%M %z")
    assert decide(statements, bundle, decided_at).action == action

    source = load_data(small)
    own = source.statements.filter(account_id=request.account_id).tail(24)
    assert statements.equals(own.select(statements.columns))
    data = label_accounts(source, SPLIT)
    fitted_on = data.features.accounts.filter(pl.Series(data.split != "test"))["account_id"]
    assert request.account_id not in fitted_on.to_list()
    assert assign_splits(pl.Series([request.account_id]), SPLIT).tolist() == ["test"]


@pytest.mark.slow
def test_answers_are_those_of_the_first_hold_out_accounts_that_are_cut(
    store: Store, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "answers.md"
    folders = ["--store", str(store.folder), "--data", str(small)]
    result = run(capsys, "answers", *folders, "--most", "3", "--out", file)
    assert (result.code, result.err) == (0, "")
    assert result.out == f"3 answers, each with its statements: {file}\n"

    model = find_model("2", store, MODEL)
    windows = hold_out(load_data(small), SPLIT)
    decided_at = soon_after(windows["month"].max())
    expected = []
    for (account,), window in windows.group_by("account_id", maintain_order=True):
        decision = decide(window, model.bundle, decided_at)
        if any(reason.contribution is not None for reason in decision.reasons):
            expected.append((account, decision, window))
        if len(expected) == 3:
            break
    page = file.read_text("utf-8")
    parts = page.split("\n## ")[1:]
    assert len(parts) == len(expected) == 3
    for part, (account, decision, window) in zip(each(parts), expected, strict=True):
        assert f" {account}, {decision.product}: {decision.action}, " in part
        unquoted = part.replace("\n> ", "\n").replace("\n>", "\n")
        assert decision.notice is not None
        assert decision.notice.text.en in unquoted
        assert decision.notice.text.zh in unquoted
        months = window["month"].dt.strftime("%Y-%m").to_list()[-13:]
        assert re.findall(r"^\| (\d{4}-\d\d) ", part, re.MULTILINE) == months


def test_answers_of_no_account_are_refused(
    store: Store, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "answers.md"
    folders = ["--store", str(store.folder), "--data", str(small)]
    result = run(capsys, "answers", *folders, "--most", "0", "--out", file)
    assert (result.code, result.out) == (2, "")
    assert "most: expected 1 account or more, got 0" in result.err
    assert not file.exists()


def test_each_number_is_another_account(store: Store, small: Path, tmp_path: Path) -> None:
    accounts = set()
    folders = ["--store", str(store.folder), "--data", str(small)]
    for number in ("1", "2"):
        file = tmp_path / f"{number}.json"
        options = ["--action", "keep", "--number", number, "--out", str(file)]
        assert main(["request", *folders, *options]) == 0
        accounts.add(parse(Request, file.read_bytes()).account_id)
    assert len(accounts) == 2


@pytest.mark.parametrize("command", ["simulate", "fit"])
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("acounts=5", "no setting is named 'acounts' (did you mean '"),
        ("zzz=5", "no setting is named 'zzz'; there are ["),
        ("seed=many", "setting seed: expected int, got 'many'"),
        ("seed", "--set: expected name=value, got 'seed'"),
    ],
)
def test_an_invalid_setting_is_an_error_of_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, setting: str, words: str
) -> None:
    option = "--out" if command == "simulate" else "--store"
    result = run(capsys, command, "--set", setting, "--quiet", option, tmp_path / "new")
    assert_refused(result, command, words)
    assert list(tmp_path.iterdir()) == []


def assert_refused(result: Output, command: str, words: str) -> None:
    """Exit code 2, and one line that names the command and the cause."""
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
def test_an_unknown_version_model_or_account_is_an_error_of_one_line(
    store: Store,
    small: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    options: list[str | Path] = ["--store", store.folder]
    if arguments[0] == "request":
        options += ["--data", small, "--out", tmp_path / "request.json"]
    result = run(capsys, *arguments, *options)
    assert_refused(result, arguments[0], words)
    assert list(tmp_path.iterdir()) == []
    assert registry.find_champion(store, MODEL) == "2"


def test_a_missing_folder_is_an_error_of_one_line_and_is_not_created(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing"
    no_folder = f"{missing}: there is no such folder"
    no_champion = "has no champion; promote a version first"
    fit = ("fit", "--data", missing, "--store", missing, "--quiet")
    request = ("request", "--out", tmp_path / "request.json", "--data", missing, "--store")
    promote = ("promote", "--store", missing)
    assert_refused(run(capsys, *fit), "fit", no_folder)
    assert_refused(run(capsys, *request, store.folder), "request", no_folder)
    assert_refused(run(capsys, *request, missing), "request", no_champion)
    assert_refused(run(capsys, *promote), "promote", "fit one first")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [["promote", "--set", "name=x"], ["request", "--set", "split_seed=1"], ["fit", "--name", "x"]],
)
def test_an_option_of_another_command_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The split of a request is that of the fit, and the name of a fit's model is a setting."""
    with pytest.raises(SystemExit):
        main(arguments)
    assert "unrecognized arguments" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interruption_is_printed_and_recorded_in_the_run(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.fit.run.fit_and_measure", interrupt)
    result = run(capsys, "fit", "--data", small, "--store", tmp_path / "mlruns", "--quiet")
    state = "no version was registered; run the same command again"
    assert result.code == 130
    assert result.err.strip() == f"fit: interrupted; {state}"
    store = Store(tmp_path / "mlruns")
    [recorded] = store.client().search_runs([store.experiment_id()])
    assert recorded.info.status == "KILLED"
    assert recorded.data.tags["ended_by"] == "interrupted"


@pytest.mark.slow
def test_a_bug_has_another_exit_code_than_a_negative_result(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own exit code is 1, which also means "not better" in a comparison."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("training.fit.run.fit_and_measure", fail)
    result = run(capsys, "fit", "--data", small, "--store", tmp_path / "mlruns", "--quiet")
    assert result.code == 2
    assert "Traceback" in result.err
    store = Store(tmp_path / "mlruns")
    [recorded] = store.client().search_runs([store.experiment_id()])
    assert recorded.info.status == "FAILED"
    assert recorded.data.tags["ended_by"] == "ZeroDivisionError: "


def test_a_store_that_cannot_be_written_is_an_error_of_one_line(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlruns").mkdir()
    # Not by chmod: root, who may run the tests, can write to every folder.
    monkeypatch.setattr("training.tracking.store.os.access", lambda place, mode: False)
    result = run(capsys, "fit", "--data", small, "--store", tmp_path / "mlruns", "--quiet")
    assert_refused(result, "fit", f"{tmp_path / 'mlruns'}: cannot be written")


def test_a_missing_file_is_named(
    store: Store, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "gates.toml"
    folders = ["--data", str(small), "--store", str(store.folder)]
    result = run(capsys, "promote", *folders, "--gates", missing, "--quiet")
    assert_refused(result, "promote", f"{missing}: no such file or directory")


@pytest.mark.slow
def test_trees_without_a_split_are_refused_and_no_version_is_registered(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "mlruns"
    settings = set_all("min_leaf=1000000")
    result = run(capsys, "fit", "--data", small, "--store", store, "--quiet", *settings)
    assert_refused(result, "fit", "got no split at all")
    assert registry.versions_with_bundle(Store(store), MODEL) == []


@pytest.mark.parametrize("command", api.COMMANDS)
def test_the_help_states_the_defaults(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # argparse breaks lines at hyphens
    with pytest.raises(SystemExit):
        main([command, "--help"])
    words = " ".join(capsys.readouterr().out.split())
    for option, default in {"--store STORE": STORE, "--name NAME": MODEL}.items():
        if option in words.split("options:")[0]:
            described = words.split("options:")[1].split(option)[1].split(" --")[0]
            assert described.endswith(f"(default: {default})")


# What an option belongs to is missing, or something else was asked for.
IGNORED = [
    ("promote --why because", "--why: expected --force too, of which it is the reason"),
    ("promote --challenger --force", "--force: expected none with --challenger"),
    ("promote --challenger --gates g.toml", "--gates: expected none with --challenger"),
    ("promote --challenger --data other", "--data: expected none with --challenger"),
    ("policy --effect r --labels l --page p.md", "--page: expected none with --effect"),
    ("policy --effect r --labels l --version 2", "--version: expected none with --effect"),
    ("policy --effect r --labels l --set points=3", "--set: expected none with --effect"),
    (
        "policy --effect r --labels l --cap-income-multiple 2 --from 2026-01",
        "--cap-income-multiple: expected none with --effect",
    ),
    (
        "policy --effect r --labels l --from 2026-01",
        "--cap-income-multiple and --from: expected both or neither",
    ),
    (
        "policy --max-good-cut 0.1 --set max_good_cut=0.2",
        "--set max_good_cut: expected none with --max-good-cut",
    ),
    ("tune --trials 3 --set trials=4", "--set trials: expected none with --trials"),
]


@pytest.mark.parametrize(("arguments", "message"), IGNORED)
def test_an_option_that_would_be_ignored_is_refused(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments.split()
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(f"{words[0]}: {message}")
