from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tests.support.paths import ROOT

# Prints whether a wait from before the standstill is excused, and one that begins after it.
WATCHED = """
import sys, time
from tests.support.standstills import Standstills
with Standstills(float(sys.argv[1])) as standstills:
    began = time.monotonic()
    print("watching", flush=True)
    sys.stdin.readline()
    print(standstills.excuse(began), standstills.excuse(time.monotonic()))
"""


def excused(seconds: float, stopped: float) -> str:
    """What the process prints that stands still for ``stopped`` seconds."""
    watched = subprocess.Popen(
        [sys.executable, "-c", WATCHED, str(seconds)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with watched:
        assert watched.stdin is not None
        assert watched.stdout is not None
        assert watched.stdout.readline() == "watching\n"
        if stopped:
            watched.send_signal(signal.SIGSTOP)
            time.sleep(stopped)
            watched.send_signal(signal.SIGCONT)
        watched.stdin.write("\n")
        watched.stdin.flush()
        return watched.stdout.readline().strip()


@pytest.mark.integration
def test_a_wait_over_a_standstill_is_excused_and_a_later_one_is_not() -> None:
    assert excused(seconds=3.0, stopped=4.0) == "True False"


@pytest.mark.integration
def test_without_a_standstill_nothing_is_excused() -> None:
    """The control, with the time that a busy machine may take."""
    assert excused(seconds=60.0, stopped=0.0) == "False False"
