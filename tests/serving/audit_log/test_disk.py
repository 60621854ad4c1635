"""A full disk: the service answers 503 or 504 and recovers once there is space again."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.audit_log.privacy.key_file import read_secrets
from serving.audit_log.reader import Reader
from serving.operations.client import start_service
from serving.operations.pack import store
from serving.storage.database import Database
from tests.support.served import AS_DEPLOYED, local_headers


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes for this test."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a file system is not permitted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        (place / "filler").write_bytes(bytes(4 * 1024 * 1024))


def free(place: Path) -> None:
    (place / "filler").unlink()


def ready_within(client: httpx.Client, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if client.get("/readyz").status_code == httpx.codes.OK:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_a_full_disk(
    small_disk: Path,
    tmp_path: Path,
    bundle_folder: Path,
    bentoml_home: Path,
    requests: list[dict[str, Any]],
) -> None:
    store(bundle_folder)
    settings = AS_DEPLOYED | {"CLEARLINE_RECORD": f"sqlite:///{small_disk / 'record.db'}"}
    answers: list[bytes] = []
    with (
        start_service(tmp_path / "log", settings=settings) as url,
        httpx.Client(base_url=url, headers=local_headers(small_disk), timeout=10) as client,
    ):

        def post(number: int) -> httpx.Response:
            return client.post("/v1/decisions", json=requests[number % len(requests)])

        # The control: the disk has space.
        answers += [post(number).content for number in range(5)]
        for _ in range(2):
            fill(small_disk)
            responses = [post(number) for number in range(40)]
            refused = [response for response in responses if response.status_code != httpx.codes.OK]
            answers += [
                response.content for response in responses if response.status_code == httpx.codes.OK
            ]
            assert refused
            assert {response.status_code for response in refused} <= {503, 504}
            assert all(response.headers["retry-after"] == "1" for response in refused)
            assert all(
                response.headers["content-type"] == "application/problem+json"
                for response in refused
            )
            # After the first failure all requests fail: an answer would be lost.
            assert responses[-1].status_code != httpx.codes.OK
            assert client.get("/readyz").status_code == 503
            assert client.get("/livez").status_code == httpx.codes.OK
            free(small_disk)
            assert ready_within(client, 10)
            answers.append(post(0).content)
    stored = read_answers(small_disk / "record.db", tmp_path / "secrets.json")
    assert all(stored[json.loads(body)["decision_id"]] == body for body in answers)
    assert len(stored) == len(answers), "a decision was stored without an answer"


def read_answers(file: Path, secrets: Path) -> dict[str, bytes | None]:
    with contextlib.closing(Database(f"sqlite:///{file}")) as database:
        decisions = Reader(database, read_secrets(secrets)).of_kind(["decision"])
        return {decision.entry_id: decision.response_body for decision in decisions}
