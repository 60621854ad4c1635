"""A process that has been told to end does end, whatever runs in it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from starlette.types import Message

from serving import PROJECT
from serving.web.shutdown import ClosingSender
from tests.support.each import each

# A server that waits for a client without end, as uvicorn does, and a thread that Python waits for.
PROGRAM = """
    import signal, sys, threading, time
    from serving.web.shutdown import Shutdown

    told = []
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    if {watched}:
        closed = lambda: print("closed", told == [signal.SIGTERM], flush=True)
        Shutdown(closed, {drain}, 0.3).watch()
    threading.Thread(target=time.sleep, args=(1000,)).start()
    print("ready", flush=True)
    time.sleep(1000)
"""


# A server that says when it is told to end, and one that is told without a delay.
DRAINING = """
    import signal, sys, time
    from serving.web.shutdown import Shutdown, has_begun

    signal.signal(signal.SIGTERM, lambda number, frame: print("server", flush=True) or sys.exit(0))
    shutdown = Shutdown(lambda: None, {drain})
    shutdown.watch()
    print("ready", flush=True)
    if {at_once}:
        shutdown.end_without_delay()
    while not has_begun():
        time.sleep(0.01)
    print("draining", flush=True)
    time.sleep(1000)
"""


def start(watched: bool) -> subprocess.Popen[str]:
    return run(textwrap.dedent(PROGRAM).format(watched=watched, drain=0.0))


def run(program: str) -> subprocess.Popen[str]:
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


def end_while_draining(drain: float, signals: int, at_once: bool = False) -> str:
    """What a process prints that gets so many signals, one after the other."""
    with run(textwrap.dedent(DRAINING).format(drain=drain, at_once=at_once)) as process:
        printed = ""
        for _ in range(signals):
            process.send_signal(signal.SIGTERM)
            if "draining" not in printed:
                assert process.stdout is not None
                printed += process.stdout.readline()
        return printed + process.communicate(timeout=60)[0]


def test_the_server_is_told_after_the_drain_delay() -> None:
    # A thread tells it, whose exit is not that of the process.
    with run(textwrap.dedent(DRAINING).format(drain=0.2, at_once=False)) as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGTERM)
        assert [process.stdout.readline() for _ in range(2)] == ["draining\n", "server\n"]
        process.kill()


def test_a_second_signal_ends_the_drain_delay() -> None:
    assert end_while_draining(drain=1000, signals=2) == "draining\nserver\n"


def test_without_a_drain_delay_the_server_is_told_at_once() -> None:
    assert end_while_draining(drain=0, signals=1) == "server\n"
    assert end_while_draining(drain=1000, signals=0, at_once=True) == "server\n"


def test_the_responses_of_an_ending_process_close_their_connections() -> None:
    for is_ending in each([True, False]):
        sent: list[Message] = []

        async def send(message: Message, sent: list[Message] = sent) -> None:
            sent.append(message)

        start = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}
        body = {"type": "http.response.body", "body": b"ok"}
        sender = ClosingSender(send, is_ending.__bool__)
        for message in (start, body):
            asyncio.run(sender(message))
        closing = [(b"connection", b"close")] if is_ending else []
        assert sent == [start | {"headers": [(b"a", b"b"), *closing]}, body]
