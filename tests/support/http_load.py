"""Load on a service of this machine: many connections from one process, as cheap as Python can.

Run as a program, so that the load takes nothing from the interpreter that measures:
``python -m tests.support.http_load`` reads a JSON list of :class:`Load` and prints one of
:class:`Sample` for each.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from serving import PROJECT


@dataclass(frozen=True, slots=True)
class Load:
    """So many connections that send requests for some seconds, one after the other each.

    With a `rate`, they start so many requests a second in all, or as many as they can; without one
    each sends the next as soon as it is answered. `body` None = GET.
    """

    url: str
    path: str
    connections: int
    seconds: float
    body: str | None = None
    token: str = ""
    rate: float | None = None

    def request(self) -> bytes:
        """The bytes of the request."""
        content = (self.body or "").encode()
        lines = [
            f"{'GET' if self.body is None else 'POST'} {self.path} HTTP/1.1",
            f"host: {self.url.removeprefix('http://')}",
            f"authorization: Bearer {self.token}",
            "content-type: application/json",
            f"content-length: {len(content)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + content


class Sample(NamedTuple):
    """A request: when it began (seconds since the beginning), how long it took, its status.

    Status 0 = no whole answer.
    """

    began: float
    took: float
    status: int


def run_loads(loads: Sequence[Load]) -> list[list[Sample]]:
    """The samples of loads that run at the same time, each in the order of their ends."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.http_load"],
        input=json.dumps([asdict(load) for load in loads]),
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [[Sample(*one) for one in samples] for samples in json.loads(ended.stdout)]


def quantile(seconds: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(seconds)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


async def _send(load: Load) -> list[Sample]:
    samples: list[Sample] = []
    began = time.monotonic()
    end = began + load.seconds
    turns = itertools.count()
    connections = [
        _use_connection(load, began, end, turns, samples) for _ in range(load.connections)
    ]
    await asyncio.gather(*connections)
    return samples


async def _use_connection(
    load: Load, began: float, end: float, turns: itertools.count[int], samples: list[Sample]
) -> None:
    host, port = load.url.removeprefix("http://").split(":")
    request = load.request()
    connection = None
    while time.monotonic() < end:
        if load.rate is not None:
            start = began + next(turns) / load.rate
            await asyncio.sleep(max(start - time.monotonic(), 0))
        sent = time.monotonic()
        status = 0
        try:
            if connection is None:
                connection = await asyncio.open_connection(host, int(port))
            status = await _exchange(*connection, request)
        except (OSError, asyncio.IncompleteReadError):
            connection = None
        samples.append(Sample(sent - began, time.monotonic() - sent, status))
    if connection is not None:
        connection[1].close()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> int:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lowered = head.lower()
    _, _, rest = lowered.partition(b"content-length: ")
    await reader.readexactly(int(rest.split(b"\r\n", 1)[0] or 0))
    if b"connection: close" in lowered:
        writer.close()
        raise ConnectionResetError
    return int(head.split(b" ", 2)[1])


async def _run_all(loads: Sequence[Load]) -> list[list[Sample]]:
    return await asyncio.gather(*(_send(load) for load in loads))


if __name__ == "__main__":
    everything = asyncio.run(_run_all([Load(**load) for load in json.load(sys.stdin)]))
    json.dump(everything, sys.stdout)
