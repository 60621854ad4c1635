"""A worker does not outlive the process that started it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from serving import PROJECT
from serving.web.supervisor import SupervisorGone, WorkersDied, ending_service, find_start

WORKER = "/packages/_bentoml_impl/worker/service.py"
# A worker; it prints what happens to it, or that nothing happens.
CHILD = """
    import time
    from serving.web.supervisor import follow_supervisor

    if {follows}:
        follow_supervisor(lambda: print("gone", flush=True))
    print("started", flush=True)
    time.sleep(1.5)
    print("going on", flush=True)
"""
# The supervising process, which is killed when its worker has started.
PARENT = """
    import os, pathlib, signal, subprocess, sys
    from serving.web.supervisor import announce

    announce(pathlib.Path("bundle"), "digest")
    child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE)
    child.stdout.readline()
    os.set_inheritable(child.stdout.fileno(), True)
    # Another process goes on reading what the worker prints.
    subprocess.Popen(["cat"], stdin=child.stdout)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a worker whose supervising process is gone."""
    start = {
        "process": os.getpid(),  # nobody's parent here
        "bundle": "bundle",
        "digest": "digest",
        "reason_file": "reason",
        "ends": True,
    }
    monkeypatch.setenv("CLEARLINE_SUPERVISOR", json.dumps(start))


@pytest.mark.parametrize(("follows", "printed"), [(True, "gone\n"), (False, "")])
def test_a_worker_learns_that_its_supervising_process_was_killed(
    follows: bool, printed: str, tmp_path: Path
) -> None:
    child = textwrap.dedent(CHILD).format(follows=follows)
    parent = textwrap.dedent(PARENT).format(child=child)
    ended = subprocess.run(
        [sys.executable, "-c", parent],
        cwd=PROJECT,
        # What a process leaves that is killed.
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stdout == f"{printed}going on\n"


@pytest.mark.usefixtures("announced")
def test_a_worker_that_starts_too_late_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [WORKER, "--fd", "3"])
    with pytest.raises(SupervisorGone, match=f"{os.getpid()}: it has ended"):
        find_start()
    # It tells nobody: there is nobody.
    with pytest.raises(SupervisorGone), ending_service():
        find_start()


def die_while_starting(folder: Path) -> None:
    """Leave what a worker leaves that is killed while it starts."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait(60)
    (folder / f"starting-{process.pid}").touch()


def test_workers_that_die_again_and_again_while_they_start_end_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = {
        "process": os.getppid(),
        "bundle": "bundle",
        "digest": "digest",
        "reason_file": str(tmp_path / "reason"),
        "ends": False,
    }
    monkeypatch.setenv("CLEARLINE_SUPERVISOR", json.dumps(start))
    # Another worker that starts at the same time is alive.
    (tmp_path / f"starting-{os.getppid()}").touch()
    for _ in range(4):
        with ending_service():
            assert (tmp_path / f"starting-{os.getpid()}").exists()
        die_while_starting(tmp_path)
    with pytest.raises(WorkersDied, match="4 workers died while they started"), ending_service():
        pytest.fail("it would start again")


@pytest.mark.usefixtures("announced")
def test_another_program_of_a_worker_is_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pg_dump"])
    assert find_start() is None
