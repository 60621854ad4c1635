from __future__ import annotations

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
