"""More than 1,000 malformed requests over raw sockets, and a service that goes on answering.

Each is answered below 500 or the connection is closed, in time. Errors are problems. No value of a
request is in an error, the log or the metrics.
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
from tests.support.each import each
from tests.support.raw_cases import MARK, REQUEST, Case, all_cases, post
from tests.support.served import AS_DEPLOYED, Guarded

CONNECTIONS = 40  # at once
# In seconds: a body may take 5 to arrive, and an idle connection is closed after another 5.
ANSWER_WITHIN = 15.0
# The server's answer to bytes that are not HTTP.
NOT_HTTP = b"Invalid HTTP request received."
CASES = all_cases()
SLOW = ("slow", "quiet", "dripping", "announced")
UNGATED = "tests.serving.web.ungated_service:LimitReduction"


class Result(NamedTuple):
    """What came back, and how the connection ended: in time, and by the service."""

    content: bytes
    in_time: bool
    cut_off: bool

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.content)]


async def send_case(url: str, case: Case, key: bytes, within: float) -> Result:
    """Send a case, and read for `within` seconds or until the service closes the connection."""
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
    # Sending fails too if the service closed the connection before the end of the request.
    await asyncio.gather(sending, reading, return_exceptions=True)
    return Result(bytes(received), bool(done), cut_off)


def send_cases(
    url: str, cases: Sequence[Case], key: str, within: float = ANSWER_WITHIN
) -> list[tuple[Case, Result]]:
    """Return every case with its result.

    Slow cases go first, so that the others run at the same time.
    """
    ordered = sorted(cases, key=lambda case: not case.name.startswith(SLOW))

    async def together() -> list[Result]:
        free = asyncio.Semaphore(CONNECTIONS)

        async def send_one(case: Case) -> Result:
            async with free:
                return await send_case(url, case, key.encode(), within)

        return await asyncio.gather(*map(send_one, ordered))

    return list(zip(ordered, asyncio.run(together()), strict=True))


def find_faults(case: Case, result: Result) -> list[str]:
    """Return what does not hold of a case."""
    errors = [status for status in result.statuses if status >= 400]
    faults: list[str] = []
    if not result.in_time:
        faults.append("hangs")
    if any(status >= 500 for status in errors):
        faults.append("5xx")
    if not result.statuses and not may_be_unanswered(case, result):
        faults.append("no answer")
    problems = result.content.count(b"application/problem+json")
    if problems + result.content.count(NOT_HTTP) < len(errors):
        faults.append("no problem")
    if MARK in result.content and len(errors) == len(result.statuses):
        faults.append("repeats a value")
    return faults


def may_be_unanswered(case: Case, result: Result) -> bool:
    """Whether the case has no complete request, or its answer may be lost.

    A client that goes on sending after the answer may lose it: the connection is closed with unread
    bytes.
    """
    size = sum(len(part) for part in case.parts if isinstance(part, bytes))
    return case.unasked or (result.cut_off and size > 64 * 1024)


@pytest.fixture(scope="module")
def results(guarded: Guarded) -> list[tuple[Case, Result]]:
    return send_cases(guarded.url, CASES, guarded.keys["north/all"])


def test_no_case_hangs_or_breaks_the_service(results: list[tuple[Case, Result]]) -> None:
    assert len(results) >= 1000
    assert len({case.name for case, _ in results}) == len(results)
    faults = [
        (case.name, fault, result.content[:200])
        for case, result in results
        for fault in find_faults(case, result)
    ]
    assert faults == []


def test_the_cases_reach_what_they_are_for(results: list[tuple[Case, Result]]) -> None:
    """Otherwise all of them might be refused at the first line."""
    by_name = {case.name: result.statuses for case, result in results}
    seen: set[int] = set().union(*by_name.values())
    assert seen >= {200, 400, 401, 404, 405, 408, 413, 415, 422}
    for name in ("chunked", "one byte a chunk", "dripping 0.01"):
        assert by_name[name] == [200]
    for name in ("endless", "too large in chunks"):
        assert by_name[name] in ([413], [])
    assert by_name["ten at once"] == [200] * 11
    assert by_name["refused ones between"] == [200, 401] * 5 + [200]
    assert by_name["after a body that was too large"] == [413, 200]
    for name in each(name for name in by_name if name.startswith(("slow b", "quiet", "slow c"))):
        assert by_name[name] == [408]
    broken = [name for name in by_name if name.startswith("utf8") and not name.endswith("x00'")]
    for name in each(broken):
        assert by_name[name] == [400]


def test_deep_json_is_refused_as_json_or_as_a_field(results: list[tuple[Case, Result]]) -> None:
    """pydantic's parser stops at 200 levels; less deep documents have a wrong type."""
    deep = [
        (case, result)
        for case, result in results
        if re.match(r"\d+ of b|deep batch", case.name) and not may_be_unanswered(case, result)
    ]
    for case, result in each(deep):
        shallow = re.match(r"\d{2,3} of b", case.name)
        expected = ([400], [422]) if shallow else ([400], [413])
        assert result.statuses in expected, case.name


@pytest.mark.usefixtures("results")
def test_afterwards_the_service_answers_and_shows_nothing_of_the_cases(guarded: Guarded) -> None:
    headers = {"authorization": f"Bearer {guarded.keys['south/all']}"}
    with httpx.Client(base_url=guarded.url, headers=headers) as client:
        assert client.post("/v1/decisions", json=examples.REQUEST).status_code == 200
        metrics = client.get("/metrics").raise_for_status().text
        assert client.get("/readyz").status_code == 200
    log = guarded.log.read_text(errors="replace", encoding="utf-8")
    assert log.count("initialized") == 1, "the service was started again"
    assert "[ERROR]" not in log
    for text in (log, metrics):
        assert MARK.decode() not in text
        assert "Traceback" not in text
        assert not any(key in text for key in guarded.keys.values())


@pytest.mark.torture
def test_without_the_gate_the_same_cases_find_faults(guarded: Guarded, tmp_path: Path) -> None:
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
    plain_text = post(REQUEST).replace(b"application/json", b"text/plain", 1)
    cases.append(Case("text/plain", (plain_text,)))
    with start_service(tmp_path / "log", UNGATED, AS_DEPLOYED) as url:
        results = send_cases(url, cases, guarded.keys["north/all"], within=5.5)
        assert httpx.get(f"{url}/metrics").status_code == 200, "open to everybody"
    found = Counter(fault for case, result in results for fault in find_faults(case, result))
    assert found["no problem"] > 10
    assert found["hangs"] + found["5xx"] > 0
    by_name = {case.name: result.statuses for case, result in results}
    assert by_name["text/plain"] == [200]
