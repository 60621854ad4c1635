"""A process that has been told to end does end, whatever runs in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from serving import PROJECT

# A server that waits for a client without end, as uvicorn does, and a thread that Python waits for.
PROGRAM = """
    import signal, sys, threading, time
    from serving.web.shutdown import Shutdown

    told = []
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    if {watched}:
        Shutdown(lambda: print("closed", told == [signal.SIGTERM], flush=True), 0.3).watch()
    threading.Thread(target=time.sleep, args=(1000,)).start()
    print("ready", flush=True)
    time.sleep(1000)
"""


def start(watched: bool) -> subprocess.Popen[str]:
    program = textwrap.dedent(PROGRAM).format(watched=watched)
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_process_ends_after_the_signal_whatever_runs() -> None:
    with start(watched=True) as process:
        process.send_signal(signal.SIGTERM)
        # The handler of the server was called too, and the log was closed.
        assert process.communicate(timeout=60)[0] == "closed True\n"
        assert process.returncode == 1


def test_a_process_that_is_not_watched_goes_on() -> None:
    """The control."""
    with start(watched=False) as process:
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        os.kill(process.pid, signal.SIGKILL)
