"""More than 1,000 requests as no client library sends them, over raw sockets, and a service that
goes on answering.

What must hold: an answer below 500 or a closed connection in good time, errors as problems, nothing
that was sent in an error, the log or the metrics.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from serving.operations.client import start_service
from serving.schemas import examples
from tests.serving.conftest import Guarded
from tests.support.raw_cases import MARK, REQUEST, Case, all_cases, post

AT_ONCE = 40  # connections
# seconds: a body may take 5 to arrive, and a kept connection is closed after another 5
ANSWER_WITHIN = 15.0
# what the server says of bytes that are no request at all
NOT_HTTP = b"Invalid HTTP request received."
CASES = all_cases()
SLOW = ("slow", "quiet", "dripping", "announced")


class Result(NamedTuple):
    """What came back, whether the connection ended in time, and whether the service cut it off."""

    content: bytes
    in_time: bool
    cut_off: bool


async def ask(url: str, case: Case, key: bytes, within: float) -> Result:
    """Send a case and read until the service closes the connection, for so many seconds."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    received = bytearray()

    async def send() -> None:
        for part in case.parts:
            if isinstance(part, float):
                await asyncio.sleep(part)
            elif isinstance(part, str):
                writer.write_eof()
            else:
                writer.write(part.replace(b"KEY", key))
                await writer.drain()

    async def read() -> None:
        while piece := await reader.read(65536):
            received.extend(piece)

    sending, reading = asyncio.create_task(send()), asyncio.create_task(read())
    done, _ = await asyncio.wait([reading], timeout=within)
    cut_off = bool(done) and reading.exception() is not None
    sending.cancel()
    reading.cancel()
    writer.transport.abort()
    # A connection that the service closed while the client was still sending fails there too.
    await asyncio.gather(sending, reading, return_exceptions=True)
    return Result(bytes(received), bool(done), cut_off)


def battery(
    url: str, cases: Sequence[Case], key: str, within: float = ANSWER_WITHIN
) -> list[tuple[Case, Result]]:
    """Every case with its result; those that take long go first, and the others pass them by."""
    ordered = sorted(cases, key=lambda case: not case.name.startswith(SLOW))

    async def together() -> list[Result]:
        room = asyncio.Semaphore(AT_ONCE)

        async def one(case: Case) -> Result:
            async with room:
                return await ask(url, case, key.encode(), within)

        return await asyncio.gather(*map(one, ordered))

    return list(zip(ordered, asyncio.run(together()), strict=True))


def statuses(content: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", content)]


def wrongs(case: Case, result: Result) -> list[str]:
    """What does not hold of a case."""
    found, content = statuses(result.content), result.content
    errors = [status for status in found if status >= 400]
    large = sum(len(part) for part in case.parts if isinstance(part, bytes)) > 64 * 1024
    return [
        wrong
        for wrong, holds in (
            ("hangs", not result.in_time),
            ("5xx", any(status >= 500 for status in found)),
            # Who goes on sending after the answer may lose it: the connection is closed with bytes
            # unread.
            ("no answer", not (found or case.unasked or (result.cut_off and large))),
            (
                "no problem",
                content.count(b"application/problem+json") + content.count(NOT_HTTP) < len(errors),
            ),
            ("repeats what was sent", MARK in content and len(errors) == len(found)),
        )
        if holds
    ]


@pytest.fixture(scope="module")
def results(guarded: Guarded) -> list[tuple[Case, Result]]:
    return battery(guarded.url, CASES, guarded.keys["north/all"])


def test_nothing_that_is_sent_hangs_or_breaks_the_service(
    results: list[tuple[Case, Result]],
) -> None:
    assert len(results) >= 1000
    assert len({case.name for case, _ in results}) == len(results)
    assert [
        (case.name, wrong, result.content[:200])
        for case, result in results
        for wrong in wrongs(case, result)
    ] == []


def test_the_cases_reach_what_they_are_for(results: list[tuple[Case, Result]]) -> None:
    """Or all might be refused at the first line."""
    count = Counter(status for _, result in results for status in statuses(result.content))
    assert set(count) >= {200, 400, 401, 404, 405, 408, 413, 415, 422}
    by_name = {case.name: statuses(result.content) for case, result in results}
    assert by_name["chunked"] == by_name["one byte a chunk"] == by_name["dripping 0.01"] == [200]
    assert by_name["endless"] in ([413], [])
    assert by_name["too large in chunks"] in ([413], [])
    assert by_name["ten at once"] == [200] * 11
    assert by_name["refused ones between"] == [200, 401] * 5 + [200]
    assert by_name["after a body that was too large"] == [413, 200]
    assert {
        tuple(by_name[name]) for name in by_name if name.startswith(("slow b", "quiet", "slow c"))
    } == {(408,)}
    assert {
        tuple(by_name[name])
        for name in by_name
        if name.startswith("utf8") and not name.endswith("x00'")
    } <= {(400,)}


@pytest.mark.usefixtures("results")
def test_the_service_still_answers_and_kept_nothing_of_it_in_sight(guarded: Guarded) -> None:
    with httpx.Client(
        base_url=guarded.url, headers={"authorization": f"Bearer {guarded.keys['south/all']}"}
    ) as client:
        assert client.post("/v1/decisions", json=examples.REQUEST).status_code == 200
        metrics = client.get("/metrics").raise_for_status().text
        assert client.get("/readyz").status_code == 200
    log = guarded.log.read_text(errors="replace")
    assert "initialized" in log
    assert "[ERROR]" not in log
    for text in (log, metrics):
        assert MARK.decode() not in text
        assert "Traceback" not in text
        assert not any(key in text for key in guarded.keys.values())
    assert log.count("initialized") == 1  # it was never started again


def test_without_the_gate_the_same_cases_find_much(guarded: Guarded, tmp_path: Path) -> None:
    """The control: BentoML's own app, with the same service behind it."""
    kinds = (
        "quiet",
        "announced 1",
        "path",
        "get",
        "header b'X: a",
        "coded",
        "b'PUT'",
        "1000 of",
        "10000 of",
    )
    cases = [case for case in CASES if case.name.startswith(kinds)]
    plain = post(REQUEST).replace(b"application/json", b"text/plain", 1)
    cases.append(Case("text/plain", (plain,)))
    with start_service(tmp_path / "log", "tests.serving.web.ungated_service:LimitReduction") as url:
        results = battery(url, cases, guarded.keys["north/all"], within=5.5)
        assert httpx.get(f"{url}/metrics").status_code == 200  # open to everybody
    found = Counter(wrong for case, result in results for wrong in wrongs(case, result))
    assert found["no problem"] > 10
    assert found["hangs"] + found["5xx"] > 0
    assert {
        tuple(statuses(result.content)) for case, result in results if case.name == "text/plain"
    } == {(200,)}
