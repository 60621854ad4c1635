"""Packing, and the commands as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from serving.__main__ import main
from serving.decision.bundle import Bundle
from serving.operations.client import settings_for
from serving.operations.pack import PackError, fetch
from serving.schemas import examples
from serving.schemas.decision import Answer
from serving.storage.bundles.store import BUNDLE_FOLDER, MODEL
from tests.support.served import Server

# mlflow 3.17.2 with today's SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture(scope="module")
def request_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("requests") / "request.json"
    file.write_text(json.dumps(examples.REQUEST), encoding="utf-8")
    return file


# Of each version its bundle's tag and what the gates said, as far as that is not said of it.
OTHER = "0" * 64
VERSIONS: tuple[dict[str, str], ...] = (
    {},  # 1, the champion
    {"bundle": OTHER},
    {"promotion.run": ""},  # no gate has judged it
    {"promotion.outcome": "refused", "promotion.refused_by": "calibration, cost"},
    {"version": f"{MODEL} 1"},
    {"promotion.bundle": OTHER},
    {"promotion.outcome": "forced", "promotion.why": "the regulator requires it"},
    {"kind": "fit"},
    {"promotion.run": "f" * 32},  # no such run
)


@pytest.fixture(scope="module")
def registry(
    bundle_folder: Path,
    bundle: Bundle,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """A registry with VERSIONS, tagged as `python -m training promote` does."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("mlruns")
    address = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(address, address)
    experiment = client.create_experiment(
        "packed", artifact_location=(folder / "artifacts").as_uri()
    )
    client.create_registered_model(MODEL)
    for number, differs in enumerate(VERSIONS, start=1):
        run_id = client.create_run(experiment).info.run_id
        client.log_artifacts(run_id, str(bundle_folder), BUNDLE_FOLDER)
        verdict = {
            "kind": "promotion",
            "version": f"{MODEL} {number}",
            "promotion.bundle": bundle.digest,
            "promotion.outcome": "promoted",
        }
        judged = client.create_run(experiment, tags=verdict | differs).info.run_id
        tags = {"bundle": bundle.digest, "promotion.run": judged} | differs
        client.create_model_version(MODEL, f"runs:/{run_id}/model", run_id, tags=tags)
    client.set_registered_model_alias(MODEL, "champion", "1")
    client.set_registered_model_alias(MODEL, "moved-by-hand", "3")
    return address


@pytest.mark.parametrize("which", ["champion", "1", "7"])
def test_fetch_gives_the_bundle_that_was_registered(
    registry: str,
    bundle_folder: Path,
    tmp_path: Path,
    which: str,
) -> None:
    fetched = fetch(which, registry, tmp_path / "new")
    assert {file.name: file.read_bytes() for file in fetched.iterdir()} == {
        file.name: file.read_bytes() for file in bundle_folder.iterdir()
    }


def test_fetch_leaves_the_environment_as_it_was(
    registry: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # serving.__main__ sets it, and other tests import that.
    monkeypatch.delenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", raising=False)
    before = dict(os.environ)
    fetch("champion", registry, tmp_path / "new")
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("2", "version 2: expected bundle 0000"),
        ("77", "'77'"),
        ("challenger", "'challenger'"),
        ("3", "version 3: no gate has judged it; `python -m training promote --version 3` does"),
        ("moved-by-hand", "version 3: no gate has judged it"),
        ("4", "version 4: refused by calibration, cost"),
        ("5", f"version 5: expected a promotion of {MODEL} 5, its run [0-9a-f]+ is of {MODEL} 1"),
        (
            "6",
            "version 6: expected a promotion of bundle [0-9a-f]{12}, .* is of bundle 000000000000",
        ),
        ("8", "version 8: expected a run of kind promotion, .* is of kind fit"),
        ("9", "version 9: the run of its promotion, f+, is not in the store"),
    ],
)
def test_fetch_refuses_what_was_not_registered(
    registry: str,
    tmp_path: Path,
    which: str,
    words: str,
) -> None:
    with pytest.raises(PackError, match=words):
        fetch(which, registry, tmp_path)


@pytest.mark.parametrize("which", ["3", "moved-by-hand", "4", "5", "6", "8", "9"])
def test_a_reason_forces_what_the_gates_did_not_pass(
    registry: str,
    tmp_path: Path,
    which: str,
) -> None:
    assert fetch(which, registry, tmp_path / "new", force="an emergency").is_dir()


def test_no_reason_is_wanted_for_a_folder_that_holds_no_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        assert main(["pack", "--bundle", str(folder), "--no-bento"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(str(folder))
        assert "--force" not in error


def test_no_reason_forces_a_bundle_that_was_not_registered(registry: str, tmp_path: Path) -> None:
    with pytest.raises(PackError, match="version 2: expected bundle 0000"):
        fetch("2", registry, tmp_path, force="an emergency")


def test_pack_refuses_an_alias_that_was_moved_by_hand_until_it_is_forced(
    registry: str,
    bundle: Bundle,
    bundle_folder: Path,
    bentoml_home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["pack", "--tracking-uri", registry, "--alias", "moved-by-hand", "--no-bento"]
    before = sorted(bentoml_home.glob("models/*/*"))
    assert main(command) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert "no gate has judged it" in written.err
    assert "--force" in written.err
    assert main([*command, "--force", "  "]) == 2
    assert "expected a reason, got an empty text" in capsys.readouterr().err
    # A folder was not judged either: no registry knows it.
    assert main(["pack", "--bundle", str(bundle_folder), "--no-bento"]) == 2
    assert "--force" in capsys.readouterr().err
    assert sorted(bentoml_home.glob("models/*/*")) == before

    assert main([*command, "--force", "an emergency"]) == 0
    shown = capsys.readouterr().out
    assert "packed by force, because: an emergency" in shown


def test_pack_makes_no_store_where_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing" / "mlflow.db"
    assert main(["pack", "--tracking-uri", f"sqlite:///{missing}"]) == 2
    assert f"{missing}: there is no MLflow store" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_pack_stores_the_registered_bundle_once(
    registry: str,
    bundle: Bundle,
    bundle_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    assert main(["pack", "--tracking-uri", registry, "--no-bento"]) == 0
    printed = capsys.readouterr().out.split()
    folder = tmp_path / "models" / printed[1].replace(":", "/")
    assert printed == ["model", printed[1], str(folder / BUNDLE_FOLDER)]
    assert main(["pack", "--tracking-uri", registry, "--no-bento"]) == 0
    assert capsys.readouterr().out.split() == printed
    assert f"digest: {bundle.digest}" in (folder / "model.yaml").read_text(encoding="utf-8")
    assert (folder / BUNDLE_FOLDER / "manifest.json").read_bytes() == (
        bundle_folder / "manifest.json"
    ).read_bytes()


# bentoml 1.4.39 where it writes the Bento's entry point.
@pytest.mark.filterwarnings(r"ignore:path is deprecated\. Use files\(\):DeprecationWarning")
def test_pack_builds_a_bento_of_code_alone(
    bundle_folder: Path,
    bentoml_home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["pack", "--bundle", str(bundle_folder), "--force", "a test"]) == 0
    printed = capsys.readouterr().out.split()
    model, tag = printed[1], printed[-1]
    bento = bentoml_home / "bentos" / tag.replace(":", "/")
    code = {
        str(file.relative_to(bento / "src"))
        for file in (bento / "src").rglob("*")
        if file.is_file()
    }
    assert {
        "features/schema.py",
        "serving/service.py",
        "serving/decision/config/policy.toml",
    } <= code
    assert {Path(file).parts[0] for file in code} == {"features", "serving", "bentofile.yaml"}
    assert {Path(file).suffix for file in code} == {".py", ".toml", ".yaml"}
    needed = (bento / "env" / "python" / "requirements.txt").read_text(encoding="utf-8")
    assert "polars" in needed
    assert not any(word in needed for word in ("mlflow", "shap", "http://", "https://"))
    assert f"tag: {model}" in (bento / "bento.yaml").read_text(encoding="utf-8")
    assert "/v1/decisions/batch" in (bento / "apis" / "openapi.yaml").read_text(encoding="utf-8")


def test_pack_refuses_a_damaged_bundle_with_one_line(
    bundle_folder: Path,
    bentoml_home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle_folder, damaged)
    policy = damaged / "policy.toml"
    policy.write_text(policy.read_text(encoding="utf-8").replace("0.75", "0.76"), encoding="utf-8")
    before = sorted(bentoml_home.glob("models/*/*"))
    assert main(["pack", "--bundle", str(damaged), "--force", "a test"]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert len(written.err.splitlines()) == 1
    assert "policy.toml" in written.err
    assert sorted(bentoml_home.glob("models/*/*")) == before


def test_explain_shows_every_stage(
    request_file: Path,
    bundle_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["explain", str(request_file), "--bundle", str(bundle_folder)]) == 0
    shown = capsys.readouterr().out
    titles = [
        "Statements",
        "Features",
        "Contributions to the log-odds",
        "Reason groups",
        "Score",
        "Policy",
        "Reasons",
    ]
    places = [shown.index(f"{title}\n{'=' * len(title)}") for title in titles]
    assert places == sorted(places)
    assert "utilization_mean_3" in shown
    assert "expected loss" in shown


def test_ask_prints_both_languages_and_saves_the_answer(
    server: Server,
    request_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    saved = tmp_path / "answer.json"
    for name, value in settings_for(server.log.parent).items():
        monkeypatch.setenv(name, value)
    assert main(["ask", str(request_file), "--url", server.url, "--out", str(saved)]) == 0
    shown = capsys.readouterr().out
    answer = Answer.model_validate_json(saved.read_bytes())
    assert answer.decision_id in shown
    assert str(saved) in shown
    for reason in answer.reasons:
        assert reason.text.en in shown
        assert reason.text.zh in shown
        assert all(feature.name in shown for feature in reason.features)


@pytest.mark.slow
def test_ask_starts_a_service_and_leaves_nothing_behind(
    server: Server,
    bentoml_home: Path,
    request_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = processes_with(bentoml_home)
    assert before  # the control: the session's own service is found
    assert main(["ask", str(request_file), "--start"]) == 0
    assert "Action" in capsys.readouterr().out
    assert processes_with(bentoml_home) == before


def processes_with(home: Path) -> set[str]:
    """The processes whose environment has this BENTOML_HOME."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # ended, or of another user
        if f"BENTOML_HOME={home}".encode() in environment:
            found.add(folder.name)
    return found


@pytest.mark.parametrize("command", ["explain", "ask"])
def test_user_errors_are_one_line(
    command: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        options = (
            ["--url", f"http://127.0.0.1:{nobody.getsockname()[1]}"]
            if command == "ask"
            else ["--bundle", str(tmp_path)]
        )
        missing, there = tmp_path / "missing.json", tmp_path / "there.json"
        there.write_text("{}", encoding="utf-8")
        for file in (missing, there):
            assert main([command, str(file), *options]) == 2
            written = capsys.readouterr()
            assert written.out == ""
            assert len(written.err.splitlines()) == 1


def test_explain_names_the_faults_of_a_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(examples.REQUEST | {"currency": "EUR"}), encoding="utf-8")
    assert main(["explain", str(file)]) == 2
    assert "$.currency" in capsys.readouterr().err


def test_help_loads_no_library_of_a_command() -> None:
    program = (
        "import sys; from serving.__main__ import make_parser; make_parser().format_help(); "
        "print(*sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.split())
    assert "argparse" in loaded
    assert not loaded & {"bentoml", "sqlalchemy", "lightgbm", "polars", "numpy", "pydantic"}
