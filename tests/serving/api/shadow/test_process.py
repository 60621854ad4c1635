"""A challenger that hangs, raises, dies or eats memory is ended, and why is known."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from serving.api.shadow.process import COMMAND, ChallengerGone, ChallengerProcess, Limits
from serving.api.shadow.server import FAILED
from tests.golden.remake import BUNDLE
from tests.support.challengers import command
from tests.support.paths import ROOT

QUICK = Limits(seconds=20.0, memory=400 << 20)


def start(how: str, limits: Limits = QUICK) -> ChallengerProcess:
    return ChallengerProcess(BUNDLE, "", b"key", limits, command(how))


def children() -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process().children()
    return found


@pytest.mark.parametrize(
    ("how", "why", "limits"),
    [
        ("hang", "slow", Limits(seconds=0.3)),
        ("die", "ended", QUICK),
        ("eat_slowly", "memory", QUICK),
        ("eat_at_once", "memory", Limits(seconds=20.0)),
    ],
)
def test_a_challenger_that_cannot_be_waited_for_is_ended(
    how: str, why: str, limits: Limits
) -> None:
    before = len(children())
    challenger = start(how, limits)
    with pytest.raises(ChallengerGone) as gone:
        challenger.ask([b"x" * 1_000_000])
    assert gone.value.why == why
    challenger.close()
    assert len(children()) == before


def test_a_challenger_that_raises_stays_and_tells_no_value() -> None:
    challenger = start("fail")
    for _ in range(2):
        assert challenger.ask([b"x"]) == [FAILED, b"RuntimeError"]
    challenger.close()


def test_what_a_library_prints_is_no_reply() -> None:
    challenger = start("babble")
    assert challenger.ask([b"x"]) == [b"something else"]
    challenger.close()


def test_a_bundle_that_is_not_there_is_named(tmp_path: Path) -> None:
    before = len(children())
    with pytest.raises(ChallengerGone, match="missing"):
        ChallengerProcess(tmp_path, "", b"key", Limits(), COMMAND)
    assert len(children()) == before


def test_it_ends_with_the_process_that_started_it() -> None:
    program = (
        "import os, sys, time\n"
        "from serving.api.shadow.process import ChallengerProcess, Limits\n"
        "from tests.support.challengers import command\n"
        "one = ChallengerProcess(os.curdir, '', b'', Limits(), command('hang'))\n"
        "print(one._process.pid, flush=True)\n"
        "one.ask([b'x'], 600.0)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    process = int(parent.stdout.readline())
    assert psutil.pid_exists(process)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 60
    while psutil.pid_exists(process) and psutil.Process(process).status() != "zombie":
        assert time.monotonic() < until
        time.sleep(0.05)
