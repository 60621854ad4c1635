"""Every query that the service sends is served by an index, and its work does not grow.

The planner of each database is asked for the plan of every statement that reached its driver while
every route and command ran. SQLite's machine counts the steps of each route.
"""

from __future__ import annotations

import contextlib
import datetime
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from serving.__main__ import main
from serving.audit_log.entry import Entry
from serving.audit_log.errors import Duplicate
from serving.audit_log.log import AuditLog
from serving.audit_log.reader import Reader
from serving.auth.keys import create, list_keys
from serving.auth.routes import ROUTES
from serving.decision.bundle import Bundle
from serving.reviews.backlog import count_backlog
from serving.storage.database import Database
from serving.storage.tables import entries, open_notices
from tests.golden.remake import BUNDLE
from tests.support.each import each
from tests.support.entries import decision_entry, example_request
from tests.support.every_route import EveryRoute
from tests.support.long_history import write_history
from tests.support.recorded_sql import Recording, recording, scanned_tables
from tests.support.records import NOW, append, environment_of, settings_in

# Answered without a query of the audit log; what /metrics counts is called by itself.
WITHOUT_QUERIES = {"/livez", "/healthz", "/readyz", "/docs.json", "/schema.json", "/metrics"}


# Commands that look at every row or every person by design.
WALKS = ("verify", "erase --expired")


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database of each kind."""
    name = "record" if request.param == "sqlite" else "postgres"
    opened: AuditLog = request.getfixturevalue(name)
    opened.close()
    return opened.database.url.render_as_string(hide_password=False)


def run_service(audit_log: AuditLog, golden: Bundle) -> str:
    """Call every route, and what the writer does after a failure; the id of a decision."""
    routes = EveryRoute(audit_log, golden)
    decision_id = routes.all("first")
    paths = {(route.method, route.template) for route in ROUTES}
    assert {path for path in paths if path[1] not in WITHOUT_QUERIES} == routes.called
    stored, refused = (
        replace(decision_entry(example_request(account), golden), unique_key="taken")
        for account in ("one", "other")
    )
    new = decision_entry(example_request("expired"), golden)
    expired = replace(new, at=NOW - datetime.timedelta(days=2000))
    append(audit_log, [stored])
    append(audit_log, [expired])
    with pytest.raises(Duplicate):
        append(audit_log, [refused])
    committer = audit_log.writer.committer
    assert committer.find_committed([[stored], [refused]])[1] is None
    committer.probe()
    create(audit_log.database, audit_log.secrets, "lender", ["score"])
    list_keys(audit_log.database, audit_log.secrets)
    count_backlog(audit_log.database, NOW.date())
    return decision_id


def run_commands(decision_id: str) -> dict[str, Recording]:
    """The statements of every command that reads or changes the audit log."""
    one = ["--tenant", "lender", "--account", "first-2", "--hold-over", "its notice is unsent"]
    expired = ["--yes", "--max-share", "1", "--trust-clock"]
    commands: dict[str, list[str]] = {
        "verify": [],
        "replay": ["--bundle", str(BUNDLE), "--decision", decision_id],
        "export": ["--tenant", "lender", "--asked"],
        "erase --by operator": one,
        "erase --expired --by operator": expired,
        "keys list": [],
        "keys new": ["--tenant", "lender", "--scopes", "score"],
    }
    recorded = {}
    for command, options in commands.items():
        with recording() as recorded[command]:
            assert main([*command.split(), *options]) == 0, command
    return recorded


@pytest.fixture
def recorded(
    address: str,
    golden: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Recording, dict[str, Recording]]:
    """The statements of the service, and those of each command."""
    settings = settings_in(tmp_path, address)
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    with recording() as by_service, contextlib.closing(AuditLog(settings)) as audit_log:
        decision_id = run_service(audit_log, golden)
    return by_service, run_commands(decision_id)


def find_scans(database: Database, recorded: Recording) -> dict[str, set[str]]:
    """The growing tables that each statement scans, for the statements that scan any."""
    found: dict[str, set[str]] = {}
    for sql, values in each(recorded.statements.items()):
        with database.engine.connect() as connection, connection.begin():
            tables = scanned_tables(connection, sql, values)
        if tables:
            found[sql] = tables
    return found


def test_an_index_serves_every_statement(
    recorded: tuple[Recording, dict[str, Recording]], address: str
) -> None:
    by_service, by_command = recorded
    with contextlib.closing(Database(address)) as database:
        assert find_scans(database, by_service) == {}
        for command, statements in by_command.items():
            if not command.startswith(WALKS):
                assert find_scans(database, statements) == {}, command


# What the service sent before it had these indexes and tables, and other queries without an index.
UNSERVED = (
    sa.select(entries).where(entries.c.slot.startswith("key:0")),
    sa.select(entries.c.seq).where(entries.c.due > "2026-01-01"),
    sa.select(entries.c.tenant).distinct(),
    sa.select(entries.c.seq).where(entries.c.subject == "d-1"),
    sa.select(entries.c.seq).where(entries.c.kind == "review").order_by(entries.c.seq).limit(1),
    sa.select(open_notices.c.seq).where(open_notices.c.seq == 1),
)


@pytest.mark.parametrize("query", UNSERVED)
def test_a_statement_that_no_index_serves_is_found(query: sa.Select[Any], address: str) -> None:
    """The control."""
    with (
        recording() as recorded,
        contextlib.closing(Database(address)) as database,
        database.reading() as connection,
    ):
        connection.execute(query).all()
        [(sql, values)] = [
            one for one in recorded.statements.items() if "schema_version" not in one[0]
        ][-1:]
        assert scanned_tables(connection, sql, values) in ({"entries"}, {"open_notices"})


class CountedRoutes(EveryRoute):
    """Counts the steps of SQLite's machine by call."""

    def __init__(self, audit_log: AuditLog, golden: Bundle, recorded: Recording) -> None:
        super().__init__(audit_log, golden)
        self._recorded = recorded
        self.steps: dict[str, int] = {}

    def call(self, method: str, template: str, *arguments: Any, **options: Any) -> Any:
        before = self._recorded.steps
        answer = super().call(method, template, *arguments, **options)
        path = re.sub("after=.*", "after", template)
        name = f"{method} {path}"
        self.steps[name] = self.steps.get(name, 0) + self._recorded.steps - before
        return answer


def count_steps(folder: Path, golden: Bundle, rows: int) -> dict[str, int]:
    """The steps of each call on an audit log with so many rows before the calls."""
    with recording() as recorded, contextlib.closing(AuditLog(settings_in(folder))) as audit_log:
        audit_log.deadline = 60.0  # a step is counted in Python
        write_history(audit_log, golden, rows)
        routes = CountedRoutes(audit_log, golden, recorded)
        # Full pages of the lists whatever the history: their length is part of the work.
        routes.all("first")
        routes.steps = {}
        routes.all("second")
        return routes.steps


def find_grown(folder: Path, golden: Bundle) -> dict[str, tuple[int, int]]:
    """The calls whose steps grow with the log, with their steps on a short and a long log."""
    steps: list[dict[str, int]] = []
    for rows in (1_200, 12_000):
        (folder / str(rows)).mkdir()
        steps.append(count_steps(folder / str(rows), golden, rows))
    short, long = steps
    assert short.keys() == long.keys()
    return {name: (short[name], more) for name, more in long.items() if more > 1.2 * short[name]}


@pytest.mark.slow
def test_the_work_of_a_route_does_not_grow_with_the_log(tmp_path: Path, golden: Bundle) -> None:
    assert find_grown(tmp_path, golden) == {}


@pytest.mark.torture
def test_a_route_that_walks_the_log_is_found(
    tmp_path: Path, golden: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the notices are searched among all entries, as they once were."""
    due_notices = Reader.due_notices

    def walk(reader: Reader, *arguments: Any) -> list[Entry]:
        for _ in reader.of_kind(["notification"]):
            pass
        return due_notices(reader, *arguments)

    monkeypatch.setattr(Reader, "due_notices", walk)
    grown = find_grown(tmp_path, golden)
    assert {name.partition("?")[0] for name in each(grown)} == {"GET /v1/notices"}
