"""A running service with a challenger: answers are those of its bundle alone, whatever happens."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from serving.api.answers import Basis, answer_requests
from serving.api.shadow.shadow import OF, fix_shadow
from serving.audit_log.entry import Entry
from serving.decision.bundle import Bundle
from serving.operations.audit import open_audit_log
from serving.operations.client import settings_for, start_service
from serving.operations.pack import store
from serving.reviews.recorded import read_recorded
from serving.storage.bundles.store import NoStoredModel
from serving.storage.settings import read_settings
from tests.support.each import each
from tests.support.other_bundles import golden_rows, write_other_bundle
from tests.support.paths import GOLDEN
from tests.support.served import AS_DEPLOYED, as_requests, local_headers


@pytest.fixture(scope="module")
def other(golden: Bundle, bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A second stored bundle; the golden one is stored too, and is the newest."""
    folder = tmp_path_factory.mktemp("other") / "bundle"
    bundle = write_other_bundle(golden, ("model", "policy"), folder)
    store(folder)
    store(GOLDEN)
    return bundle


@pytest.fixture
def url(other: Bundle, tmp_path: Path) -> Iterator[str]:
    settings = AS_DEPLOYED | {"CLEARLINE_DEADLINE": "30", "CLEARLINE_SHADOW": other.digest[:12]}
    with start_service(tmp_path / "log", settings=settings) as started:
        yield started
    assert not challengers()


def challengers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    name = "serving.api.shadow.challenger"
    return [one for one in children if name in one.cmdline()]


def rows_of(folder: Path, kind: Any) -> list[Entry]:
    with open_audit_log(read_settings(settings_for(folder))) as log:
        return list(log.reader.of_kind((kind,)))


def wait_for_shadows(folder: Path, count: int) -> list[Entry]:
    until = time.monotonic() + 120
    while len(rows := rows_of(folder, "shadow")) < count:
        assert time.monotonic() < until, len(rows)
        time.sleep(0.2)
    return rows


@pytest.mark.slow
def test_answers_are_those_of_the_service_s_bundle_alone(
    url: str, other: Bundle, golden: Bundle, tmp_path: Path
) -> None:
    rows, _ = golden_rows()
    asked = as_requests(rows)
    with httpx.Client(base_url=url, headers=local_headers(tmp_path), timeout=60) as client:
        answers = ask(client, asked)
        shadows = wait_for_shadows(tmp_path, len(asked))
        [process] = challengers()
        process.send_signal(signal.SIGSTOP)  # it hangs
        answers += ask(client, asked)
        process.send_signal(signal.SIGKILL)
        answers += ask(client, asked)
        until = time.monotonic() + 120
        while not any(one.pid != process.pid for one in challengers()):
            assert time.monotonic() < until
            time.sleep(0.1)
        answers += ask(client, asked)
        counted = client.get("/metrics").text
    decisions = {row.entry_id: row for row in rows_of(tmp_path, "decision")}
    assert len(decisions) == len(answers) == 4 * len(asked)
    check_answers(tmp_path, answers, decisions, golden)
    for row in each(shadows):
        assert row.metadata["model"]["bundle"] == other.digest
        assert row.metadata[OF] in decisions
    assert "clearline_shadow_decisions_total{" in counted
    assert "clearline_shadow_restarts_total" in counted


def ask(client: httpx.Client, asked: list[dict[str, Any]]) -> list[bytes]:
    return [client.post("/v1/decisions", json=one).raise_for_status().content for one in asked]


def check_answers(
    folder: Path, answers: list[bytes], decisions: dict[str, Entry], golden: Bundle
) -> None:
    with open_audit_log(read_settings(settings_for(folder))) as log:
        key, find = log.secrets.id_key, log.reader.by_id
        for answer in each(answers):
            recorded = read_recorded(decisions[json.loads(answer)["decision_id"]], find)
            basis = Basis(golden, recorded.decided_at, key, recorded.earlier)
            [again] = answer_requests("decisions", [recorded.request], False, basis)
            assert again.content == answer


def test_a_challenger_that_is_not_stored_ends_the_start(other: Bundle) -> None:
    environment = {"CLEARLINE_SHADOW": other.digest[:12]}
    fix_shadow(environment)
    assert environment == {"CLEARLINE_SHADOW": other.digest}
    fix_shadow(none := dict[str, str]())
    assert none == {}
    with pytest.raises(NoStoredModel, match="'nothing', which is not stored"):
        fix_shadow({"CLEARLINE_SHADOW": "nothing"})
