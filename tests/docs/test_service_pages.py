"""Run the shell commands of the pages in docs/service as they are written, in the order of PAGES.

One service answers them all.  Its audit log is where the commands look for it; only its address
differs from the pages.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from serving.auth.routes import ROUTES, template_match
from serving.operations.client import settings_for, start_service
from serving.operations.pack import store
from serving.schemas import examples
from tests.support.each import each
from tests.support.page_commands import CompletedCommand, read_commands, run_commands

pytestmark = pytest.mark.slow
PAGES = ("api.md", "reviews.md", "authentication.md", "operations.md")


class Results(NamedTuple):
    """The completed commands of each page, and the folder that they ran in."""

    folder: Path
    pages: dict[str, list[CompletedCommand]]

    def outputs(self, page: str, *words: str) -> list[str]:
        """The outputs of the page's commands that contain all these words."""
        commands = self.pages[page]
        for word in words:
            commands = [one for one in commands if word in one.command]
        return [one.output for one in commands]

    def answer(self, page: str, *words: str) -> dict[str, Any]:
        """The first of these outputs, as JSON."""
        answer: dict[str, Any] = json.loads(self.outputs(page, *words)[0])
        return answer

    def decision_id(self, page: str) -> str:
        """The id of the decision that the page's commands follow."""
        found = self.answer(page, "/v1/decisions/$DECISION")
        decision_id: str = found["decision"]["decision_id"]
        return decision_id

    def read_json(self, name: str) -> dict[str, Any]:
        """A file that the commands wrote."""
        content: dict[str, Any] = json.loads((self.folder / name).read_text("utf-8"))
        return content


@pytest.fixture(scope="module")
def results(
    bundle_folder: Path, bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Results]:
    store(bundle_folder)
    folder = tmp_path_factory.mktemp("pages")
    (folder / ".clearline").mkdir()
    # As the pages say: each of their decisions is the first on the account.
    (folder / "exports").mkdir()
    (folder / "exports" / "bundle").symlink_to(bundle_folder)
    request = json.dumps(examples.REQUEST | {"prior": None})
    (folder / "request.json").write_text(request, encoding="utf-8")
    settings = settings_for(folder / ".clearline") | {"CLEARLINE_DEADLINE": "30"}
    environment = {"BENTOML_HOME": str(bentoml_home)}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CLEARLINE_RECORD", raising=False)
        with start_service(folder / ".clearline" / "log", settings=settings) as url:
            pages = {}
            for page in PAGES:
                pages[page] = run_commands(read_commands(page), url, folder, environment)
            yield Results(folder, pages)


def test_each_curl_command_gets_the_status_that_its_page_states(results: Results) -> None:
    curls = []
    for commands in results.pages.values():
        curls += [one for one in commands if one.command.startswith("curl")]
    for one in each(curls):
        [(_, _, status)] = one.requests
        if one.expected_status is None:
            assert status in (200, 201), one
        else:
            assert status == one.expected_status, one


def test_api_md_shows_every_route(results: Results) -> None:
    shown = set()
    for one in results.pages["api.md"]:
        for method, url, _ in one.requests:
            route = template_match(urlsplit(url).path)[method]
            shown.add((method, route.template))
    assert shown == {(route.method, route.template) for route in ROUTES}


def test_decisions_answer_as_api_md_says(results: Results) -> None:
    decided = results.answer("api.md", "Idempotency-Key")
    assert decided["account_id"] == examples.REQUEST["account_id"]

    advised = results.answer("api.md", "?advice=true", "$API")
    assert set(advised) == {*examples.ANSWER, "advice"}

    [answer] = results.answer("api.md", "batch", "curl")["decisions"]
    assert set(answer) == set(examples.ANSWER)

    answer = results.answer("api.md", "$API/v1/advice")
    assert set(answer) == {"decision", "advice"}


def test_an_empty_request_is_refused_as_api_md_says(results: Results) -> None:
    refused = results.answer("api.md", "-d '{}'")
    paths = {fault["path"] for fault in refused["errors"]}
    assert paths == {f"$.{name}" for name in examples.REQUEST}


def test_a_decision_is_read_as_api_md_says(results: Results) -> None:
    found = results.answer("api.md", "$API/v1/decisions/$DECISION ")
    assert found["decision"]["account_id"] == examples.REQUEST["account_id"]
    assert found["reviews"] == []
    assert found["notifications"] == []


def test_notices_are_listed_as_api_md_says(results: Results) -> None:
    notices = results.answer("api.md", "$API/v1/notices")["notices"]
    assert results.decision_id("api.md") in [notice["decision_id"] for notice in notices]
    days = [notice["send_by"] for notice in notices]
    assert days == sorted(days)

    notified = results.answer("api.md", "$DECISION/notifications")
    assert notified["notification"]["channel"] == "app"


def test_a_review_goes_as_api_md_says(results: Results) -> None:
    queue = results.answer("api.md", "$API/v1/reviews ")["reviews"]
    assert results.decision_id("api.md") in [review["decision_id"] for review in queue]

    review = results.answer("api.md", "$API/v1/reviews/$REVIEW ")
    assert review["status"] == "open"

    started = results.answer("api.md", "$REVIEW/start")
    assert started["status"] == "in_review"

    resolved = results.answer("api.md", "$REVIEW/resolution")
    assert resolved["status"] == "resolved"
    assert resolved["resolution"]["outcome"] == "uphold"

    refused = results.answer("api.md", "$REVIEW/withdrawal")
    assert refused["status"] == 409


def test_the_documents_are_those_that_api_md_names(results: Results) -> None:
    openapi = results.read_json("docs.json")
    assert "/v1/notices" in openapi["paths"]

    routes = results.read_json("schema.json")["routes"]
    assert {route["name"] for route in routes} == {"decide", "decide_batch", "advise"}

    metrics = (results.folder / "metrics.txt").read_text("utf-8")
    assert "clearline_requests_total" in metrics


def test_the_command_line_prints_text_for_a_person(results: Results) -> None:
    account = f"Account {examples.REQUEST['account_id']}"
    running, started = results.outputs("api.md", "serving ask")
    assert account in running
    assert account in started

    [explained] = results.outputs("api.md", "serving explain")
    assert "log-odds" in explained


def test_notices_are_listed_as_reviews_md_says(results: Results) -> None:
    every, overdue = results.outputs("reviews.md", "/v1/notices")
    notices = json.loads(every)["notices"]
    assert results.decision_id("reviews.md") in [notice["decision_id"] for notice in notices]
    assert json.loads(overdue)["notices"] == []

    notification = results.answer("reviews.md", "/notifications")["notification"]
    assert notification["channel"] == "app"
    assert notification["language"] == "zh"


def test_a_review_goes_as_reviews_md_says(results: Results) -> None:
    queue = results.answer("reviews.md", "3000/v1/reviews")["reviews"]
    assert "My income of August was not counted." in [review["reason"] for review in queue]

    review = results.answer("reviews.md", "v1/reviews/$REVIEW")
    assert review["statements"] == examples.REQUEST["statements"]

    started = results.answer("reviews.md", "/start")
    assert started["reviewer"] == "Li Na"

    decided = results.answer("reviews.md", "decisions/$DECISION")
    resolution = results.answer("reviews.md", "/resolution")["resolution"]
    assert resolution["outcome"] == "overturn"
    assert resolution["limit"] == decided["decision"]["credit_limit"]


def test_authentication_md_makes_a_key_that_opens(results: Results) -> None:
    [listed] = results.outputs("authentication.md", "keys list")
    assert re.search(r"^live    [0-9a-f]{16}  mylender  score,review", listed, re.MULTILINE)
    assert (results.folder / "key.txt").read_text("utf-8").startswith("clk_")
    [printed] = results.outputs("authentication.md", "serving ask")
    assert examples.REQUEST["account_id"] in printed


def test_operations_md_copies_verifies_replays_exports_and_erases(results: Results) -> None:
    [copied] = results.outputs("operations.md", "serving backup")
    assert "findings     none" in copied
    with closing(sqlite3.connect(results.folder / "copy.db")) as copy:
        rows = Counter(kind for (kind,) in copy.execute("SELECT kind FROM entries"))
    assert (rows["review"], rows["notification"]) == (2, 2)

    [verified] = results.outputs("operations.md", "serving verify")
    assert f"{rows.total()}" in verified
    [replayed] = results.outputs("operations.md", "serving replay")
    assert f"{rows['decision']}" in replayed
    [compared] = results.outputs("operations.md", "serving backfill")
    assert f"compared, each change attributed: {rows['decision']}\n" in compared

    [exported] = results.outputs("operations.md", "serving export")
    assert exported.startswith(f"decisions {rows['decision']}")
    lines = (results.folder / "records.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == rows["decision"]

    # The page on authentication made one decision with a key of this tenant.
    [erased] = results.outputs("operations.md", "serving erase")
    assert re.fullmatch(r"erased  [0-9a-f]+  rows 1\n", erased)
