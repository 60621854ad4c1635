"""A service as it is deployed: its metrics, its lines, its spans and its rows, and no values."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.operations.audit import open_audit_log
from serving.operations.client import settings_for, start_service
from serving.operations.pack import store
from serving.schemas import examples
from serving.storage.settings import read_settings
from serving.web.telemetry.state import EVENTS
from tests.golden.remake import BUNDLE
from tests.support.each import each
from tests.support.exported import exported_names
from tests.support.gated_app import JSON, MARK
from tests.support.served import AS_DEPLOYED, local_headers

# A service of its own: each service that starts removes the metrics of those with the same
# BENTOML_HOME.
pytestmark = pytest.mark.slow

TRACE = "0af7651916cd43dd8448eb211c80319c"
SENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
AMOUNT = 7319.73
SEEN = AS_DEPLOYED | {"CLEARLINE_LOG": "json", "OTEL_TRACES_EXPORTER": "console"}


@dataclass(frozen=True, slots=True)
class Ran:
    """What a service left: the text of its metrics, its output, and its folder."""

    metrics: str
    output: str
    folder: Path
    answered: httpx.Response

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines of JSON in its output; spans and what is written before are others."""
        found = re.findall(r"^\{\"time\".*\}$", self.output, re.MULTILINE)
        return [json.loads(line) for line in found]


@pytest.fixture(scope="module")
def ran(bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("seen")
    store(BUNDLE)
    with (
        start_service(folder / "log", settings=SEEN) as url,
        httpx.Client(base_url=url, headers=local_headers(folder), timeout=30) as client,
    ):
        for number in range(5):
            client.get(f"/v1/decisions/{MARK}-{number}")
            client.get(f"/{MARK}/{number}")
            client.post(f"/v1/reviews/{MARK}{number}/start", content=b"{}", headers=JSON)
        client.get(f"/{MARK}?{MARK}", headers={"traceparent": MARK})
        request = copy.deepcopy(examples.REQUEST) | {"account_id": MARK, "prior": None}
        request["statements"][-1]["external_debt"] = AMOUNT
        answered = client.post("/v1/decisions", json=request, headers=SENT).raise_for_status()
        client.post("/v1/decisions", json=request | {MARK: MARK, "product": MARK})
        metrics = client.get("/metrics").raise_for_status().text
    return Ran(metrics, (folder / "log").read_text("utf-8"), folder, answered)


# A series with labels is there from its first value on, and this service has no challenger.
OF_CHALLENGER = {"clearline_shadow_decisions_total", "clearline_shadow_dropped_total"}
# Those of a service whose lender has an endpoint for events.
OF_EVENTS = {f"clearline_events_{name}" for name in EVENTS}


def test_routes_and_decisions_are_counted(ran: Ran) -> None:
    def sample(start: str) -> float:
        [line] = [one for one in ran.metrics.splitlines() if one.startswith(start)]
        return float(line.rpartition(" ")[2])

    found = 'clearline_requests_total{method="GET",route="/v1/decisions/{id}",status="404"}'
    assert sample(found) == 5
    assert 'route="/v1/reviews/{id}/start"' in ran.metrics
    assert sample('clearline_refusals_total{kind="invalid"}') == 6
    assert sample("clearline_record_ready") == 1
    assert sample("clearline_record_commit_seconds_count") >= 1
    decided = re.findall(r"^clearline_decisions_total\{(.*)\} 1\.0$", ran.metrics, re.MULTILINE)
    answer = ran.answered.json()
    [labels] = [dict(re.findall(r'(\w+)="(.*?)"', one)) for one in decided]
    assert labels == {
        "product": examples.REQUEST["product"],
        "action": answer["action"],
        "reason": answer["reasons"][0]["code"] if answer["reasons"] else "none",
        "bundle": answer["model"]["bundle"][:12],
    }


def test_bentoml_counts_no_requests(ran: Ran) -> None:
    assert "bentoml_service_request" not in ran.metrics


def test_the_service_exports_every_series(ran: Ran) -> None:
    """The names by which rules and board are checked are those of a service that runs."""
    found = set(re.findall(r"^(clearline_\w+)", ran.metrics, re.MULTILINE))
    of_others = OF_CHALLENGER | OF_EVENTS
    assert found | of_others == set(exported_names())
    assert not found & of_others


def test_the_trace_is_answered_stored_logged_and_exported(ran: Ran) -> None:
    sent = ran.answered.headers["traceparent"]
    assert sent.startswith(f"00-{TRACE}-")
    with open_audit_log(read_settings(settings_for(ran.folder))) as log:
        row = log.reader.by_id(ran.answered.json()["decision_id"])
    assert row is not None
    assert row.metadata["trace"] == TRACE
    [line] = [one for one in ran.lines if one.get("trace") == TRACE]
    assert line["request"] == sent.split("-")[2]
    assert (line["route"], line["status"]) == ("/v1/decisions", 200)
    spans = re.findall(r'^    "name": "(.*)",$', ran.output, re.MULTILINE)
    assert {"POST /v1/decisions", "look up", "decide", "store"} <= set(spans)
    assert f'"trace_id": "0x{TRACE}"' in ran.output


def test_no_value_of_a_request_is_seen(ran: Ran) -> None:
    for text in each([ran.metrics, ran.output]):
        assert MARK not in text
        assert str(AMOUNT) not in text


def test_every_line_is_json_or_a_span(ran: Ran) -> None:
    assert "[WARNING]" not in ran.output, "BentoML's own format"
    for line in each(ran.lines):
        assert {"time", "level", "logger", "message"} <= set(line)
    statuses = [line["status"] for line in ran.lines if line["logger"] == "clearline.request"]
    assert {200, 404, 422} <= set(statuses)
