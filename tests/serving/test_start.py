"""A start that cannot succeed ends with a sentence and an exit code; all workers serve one bundle.

BentoML alone starts a failing worker again and again, and holds the port meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, cast

import bentoml
import psutil
import pytest
from pysqlite3 import dbapi2 as sqlite

from serving import PROJECT
from serving.api.described_service import DescribedService
from serving.auth.local_token import read_token
from serving.decision.bundle import Bundle, BundleError
from serving.operations.client import (
    SERVICE,
    ServiceError,
    ask,
    free_port,
    settings_for,
    start_service_process,
)
from serving.operations.pack import store
from serving.operations.serve.run import run_service
from serving.schemas import examples
from serving.service import LimitReduction
from serving.storage.bundles.store import BUNDLE_FOLDER, MODEL, newest_bundle
from serving.storage.errors import StorageError
from tests.golden.remake import BUNDLE
from tests.support.each import each
from tests.support.paths import ROOT
from tests.support.served import local_token

SERVED = cast(DescribedService, LimitReduction)
OLD_RECORD = ROOT / "tests" / "golden" / "record_f825547"
BODY = json.dumps(examples.REQUEST).encode()
COMMANDS = {
    "run": ["-m", "serving", "run", "--port"],
    "bentoml": ["-m", "bentoml", "serve", SERVICE, "--port"],
}
# "Hung" on a busy machine; a start that fails takes about three seconds.
SECONDS_TO_END = 180.0
Break = Callable[[Path], dict[str, str]]


def put_beside_old_checkpoints(folder: Path) -> dict[str, str]:
    for name in ("checkpoints.jsonl", "secrets.json"):
        shutil.copy(OLD_RECORD / name, folder / name)
    (folder / "secrets.json").chmod(0o600)
    return {}


def empty_the_secrets(folder: Path) -> dict[str, str]:
    (folder / "secrets.json").write_text("{}", encoding="utf-8")
    (folder / "secrets.json").chmod(0o600)
    return {}


def show_the_secrets(folder: Path) -> dict[str, str]:
    shutil.copy(OLD_RECORD / "secrets.json", folder / "secrets.json")
    (folder / "secrets.json").chmod(0o644)
    return {}


def name_no_server(folder: Path) -> dict[str, str]:
    return {"CLEARLINE_RECORD": f"postgresql://lender@127.0.0.1:{free_port()}/none"}


def name_no_database(folder: Path) -> dict[str, str]:
    return {"CLEARLINE_RECORD": "mysql://lender@127.0.0.1/none"}


def break_the_database(folder: Path) -> dict[str, str]:
    (folder / "record.db").write_bytes(b"no database" * 200)
    return {}


def damage_the_database(folder: Path) -> dict[str, str]:
    """Destroy a page of its rows; what is read when a database is opened stays whole."""
    SERVED.inner.check()
    file = folder / "record.db"
    with closing(sqlite.connect(file)) as connection:
        [page_size] = connection.execute("PRAGMA page_size").fetchone()
        [page] = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'secrets_marker'"
        ).fetchone()
    with file.open("r+b") as content:
        content.seek((page - 1) * page_size)
        content.write(b"x" * page_size)
    return {}


def put_a_folder_at(name: str) -> Break:
    """Whoever runs the tests may read every file, but nobody can read a folder as one."""

    def put(folder: Path) -> dict[str, str]:
        (folder / name).mkdir()
        return {}

    return put


def tear_the_checkpoints(folder: Path) -> dict[str, str]:
    (folder / "checkpoints.jsonl").write_bytes(b"\xff no checkpoint\n")
    return {}


def drain_for_ever(folder: Path) -> dict[str, str]:
    return {"CLEARLINE_DRAIN": "for ever"}


# How each is broken, and words of the sentence.
BROKEN: dict[str, tuple[Break, str]] = {
    "another record": (put_beside_old_checkpoints, "there are checkpoints of one in"),
    "empty secrets": (empty_the_secrets, "secrets.json: expected"),
    "open secrets": (show_the_secrets, "only their owner can read"),
    "no server": (name_no_server, "does not open"),
    "no such database": (name_no_database, "expected a database at sqlite"),
    "no database": (break_the_database, "does not open"),
    "damaged database": (damage_the_database, "record.db cannot be read: database disk image"),
    "unreadable database": (put_a_folder_at("record.db"), "record.db"),
    "unreadable secrets": (put_a_folder_at("secrets.json"), "secrets.json"),
    "unreadable checkpoints": (put_a_folder_at("checkpoints.jsonl"), "checkpoints.jsonl"),
    "torn checkpoints": (tear_the_checkpoints, "checkpoints.jsonl"),
    "no drain delay": (drain_for_ever, "CLEARLINE_DRAIN: expected seconds"),
}


@pytest.fixture
def environment(
    bentoml_home: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, str]:
    """The variables of a service in an empty folder; the golden bundle is the newest model."""
    store(BUNDLE)
    # BentoML writes the version that "latest" was into the tag when it first resolves it, and other
    # tests of this process may have stored another bundle since.
    monkeypatch.setattr(SERVED.inner, "stored", bentoml.models.BentoModel(f"{MODEL}:latest"))
    SERVED.inject_config()  # as BentoML does before `check`
    settings = settings_for(tmp_path)
    # What this process or a worker that is killed would remove at its end, and never comes to.
    left = str(tmp_path_factory.mktemp("left"))
    monkeypatch.setattr(tempfile, "tempdir", left)
    monkeypatch.setenv("TMPDIR", left)
    # `check` sets it, as in a process that starts workers.
    monkeypatch.setenv("CLEARLINE_SUPERVISOR", "{}")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.mark.parametrize("name", BROKEN)
def test_the_supervising_process_refuses_what_a_worker_would(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    SERVED.inner.check()  # the control
    for file in each(list(tmp_path.iterdir())):
        file.unlink()
    make_broken, words = BROKEN[name]
    for variable, value in make_broken(tmp_path).items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(StorageError, match=words):
        SERVED.inner.check()


def test_the_supervising_process_refuses_a_bundle_that_cannot_be_read(
    environment: dict[str, str],
) -> None:
    for file in each(sorted(newest_bundle().iterdir())):
        content = file.read_bytes()
        file.unlink()
        file.mkdir()
        try:
            with pytest.raises(BundleError, match=file.name):
                SERVED.inner.check()
        finally:
            file.rmdir()
            file.write_bytes(content)


def test_the_supervising_process_refuses_a_damaged_bundle(environment: dict[str, str]) -> None:
    model = newest_bundle() / "model.txt"
    content = model.read_bytes()
    try:
        model.write_bytes(content + b" ")
        with pytest.raises(BundleError, match=r"model\.txt"):
            SERVED.inner.check()
    finally:
        model.write_bytes(content)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("127.0.0.1", "cannot listen at 127.0.0.1 port"),
        ("192.0.2.1", "cannot listen at 192.0.2.1"),
        ("localhost", "expected an IP address"),
    ],
)
def test_run_names_an_address_that_it_cannot_have(host: str, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = Namespace(host=host, port=taken.getsockname()[1])
        with pytest.raises(ServiceError, match=words):
            run_service(options)


def test_run_says_which_ports_there_are() -> None:
    with pytest.raises(ServiceError, match=r"^expected a port from 0 to 65535, got 99999$"):
        run_service(Namespace(host="127.0.0.1", port=99999))


def test_only_a_port_in_use_makes_run_ask_for_another_service() -> None:
    with pytest.raises(ServiceError) as refused:
        run_service(Namespace(host="192.0.2.1", port=3000))
    assert "another one" not in str(refused.value)


def end_of(command: str, port: int, settings: dict[str, str]) -> tuple[int, str]:
    """The exit code of a service that cannot start, and its last line."""
    ended = subprocess.run(
        [sys.executable, *COMMANDS[command], str(port)],
        cwd=PROJECT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=SECONDS_TO_END,
        check=False,
    )
    if command == "run":
        assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stderr.strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", pytest.param("bentoml", marks=pytest.mark.torture)])
def test_a_start_beside_old_checkpoints_ends(
    environment: dict[str, str], tmp_path: Path, command: str
) -> None:
    put_beside_old_checkpoints(tmp_path)
    port = free_port()
    code, last_line = end_of(command, port, environment)
    assert code != 0
    assert "there are checkpoints of one in" in last_line
    assert not (tmp_path / "record.db").exists(), "it would be in the way of a copy"
    assert is_free(port)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", pytest.param("bentoml", marks=pytest.mark.torture)])
def test_a_start_on_a_port_in_use_ends(environment: dict[str, str], command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, last_line = end_of(command, taken.getsockname()[1], environment)
    assert code != 0
    assert "in use" in last_line


@pytest.mark.slow
def test_a_start_without_a_model_ends(tmp_path: Path) -> None:
    settings = settings_for(tmp_path) | {"BENTOML_HOME": str(tmp_path / "home")}
    code, last_line = end_of("run", free_port(), settings)
    assert code == 2
    assert last_line == "no bundle is stored; `python -m serving pack` stores one"


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# A worker that is started again


@pytest.fixture
def second_bundle(bundle_folder: Path, bundle: Bundle) -> Iterator[Callable[[], str]]:
    """Store another bundle than the golden one, which is removed afterwards; its digest."""
    tags: list[str] = []

    def pack() -> str:
        tags.append(store(bundle_folder))
        return bundle.digest

    yield pack
    for tag in tags:
        bentoml.models.delete(tag)


def kill_worker(process: subprocess.Popen[bytes]) -> None:
    """Kill the service's worker, and wait until it is gone."""
    [worker] = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "_bentoml_impl.worker.service" in child.cmdline()
    ]
    worker.kill()
    worker.wait(60)


def served_digest(url: str, token: str) -> str:
    """The bundle of the service's answers, once its new worker is ready."""
    until = time.monotonic() + SECONDS_TO_END
    while True:
        try:
            answer: dict[str, Any] = json.loads(ask(url, BODY, key=token))
        except ServiceError:
            assert time.monotonic() < until
            time.sleep(0.1)
            continue
        digest: str = answer["model"]["bundle"]
        return digest


@pytest.mark.slow
def test_a_worker_that_is_started_again_serves_the_same_bundle(
    environment: dict[str, str], tmp_path: Path, second_bundle: Callable[[], str]
) -> None:
    with start_service_process(tmp_path / "log") as (url, process):
        token = local_token(tmp_path)
        first = served_digest(url, token)
        packed = second_bundle()
        assert packed != first
        kill_worker(process)
        assert served_digest(url, token) == first
        # The token is that of the start, too.
        assert read_token(tmp_path / "record.db.token") == token
    with start_service_process(tmp_path / "log") as (url, _):
        # The control: the next start serves the newest model.
        next_token = local_token(tmp_path)
        assert served_digest(url, next_token) == packed
        # Each start has a token of its own.
        assert next_token != token
        with pytest.raises(ServiceError, match="401"):
            ask(url, BODY, key=token)


@pytest.mark.slow
def test_a_worker_that_cannot_start_again_ends_the_service(
    environment: dict[str, str], tmp_path: Path
) -> None:
    stored = Path(bentoml.models.get(store(BUNDLE)).path) / BUNDLE_FOLDER / "model.txt"
    content = stored.read_bytes()
    try:
        with start_service_process(tmp_path / "log") as (url, process):
            stored.write_bytes(content + b" ")
            kill_worker(process)
            with suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_END)
            assert process.poll() == 2
            assert is_free(int(url.rpartition(":")[2]))
    finally:
        stored.write_bytes(content)
    last_line = (tmp_path / "log").read_text("utf-8").strip().splitlines()[-1]
    assert last_line.startswith("the service ends: ")
    assert "model.txt" in last_line
