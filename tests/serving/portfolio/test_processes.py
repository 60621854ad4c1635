from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.paths import ROOT

COMMAND = """
import os, time
from serving.portfolio.spread.processes import open_processes
with open_processes(1) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(120)
"""


@pytest.mark.slow
def test_the_processes_of_a_command_that_is_killed_end() -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    process = Path("/proc") / command.stdout.readline().strip()
    # The control: it is there while the command is.
    assert process.exists()
    command.kill()
    command.wait()
    command.stdout.close()
    for _ in range(600):
        if not process.exists():
            return
        time.sleep(0.1)
    pytest.fail(f"expected process {process.name} to end with its command, it still runs")


STARTS_SERVER = """
import sys, time
from serving.portfolio.spread.processes import start_server
try:
    start_server()
    print("started", flush=True)
    time.sleep(120)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.05, 0.5, 1.5])
def test_ctrl_c_is_for_the_command_and_not_for_the_server_that_imports(seconds: float) -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", STARTS_SERVER],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "started\n"
    time.sleep(seconds)
    # As a terminal does: to every process of the group.
    os.killpg(command.pid, signal.SIGINT)
    _, errors = command.communicate(timeout=60)
    assert command.returncode == 130
    assert errors == ""
