"""The look-up of an account's past among a million decisions, beside an empty statement.

Every decision looks up what is in force for its account and the latest decision on it.  The turns
alternate between an empty statement by the same door, accounts whose limit was always kept, and
accounts with a cut.  Times are the CPU time of the calling thread, and by the clock.  PostgreSQL's
own work is in the latter only.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
import random
import re
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from serving.audit_log.entry import NewEntry, Packed
from serving.audit_log.log import AuditLog
from serving.audit_log.rows import insert_entries, pack_contents
from serving.decision.bundle import Bundle
from serving.schemas.base import parse
from serving.schemas.decision import Request
from serving.storage.driver_sql import PreparedStatement
from serving.storage.tables import entries as entries_table
from tests.golden.test_answers import bodies
from tests.support.entries import decision_entry
from tests.support.records import golden, postgres, postgres_server, record

__all__ = ["golden", "postgres", "postgres_server", "record"]

ROWS = 1_000_000
TURNS = 10  # decisions on each account
CUT_IN = 3  # the turn in which one account in ten is cut
ROWS_PER_TRANSACTION = 5_000
CALLS = 3_000
COPIES = 50  # of each row, with itself
_NUMBERS = (
    "copies (number) AS "
    "(SELECT 1 UNION ALL SELECT number + 1 FROM copies WHERE number < :last_copy)"
)
_BYTE = {"sqlite": "printf('x%02x', number)", "postgresql": "'x' || lpad(to_hex(number), 2, '0')"}
# Ids and hashes are hexadecimal and of one length: other characters make another id.
_OTHER = "substr({column}, 1, 4) || {byte} || substr({column}, 8)"
_COPIED = {name: f"other({name})" for name in ("entry_id", "subject", "person", "slot")}
_COPIED["seq"] = "seq + number * :count"
_PERSONS = "other(person), other(account), key_id, sealed_key"
_BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_EMPTY = PreparedStatement(sa.select(sa.literal_column("1")))


@dataclass
class Times:
    """Milliseconds of each call, by the thread's CPU time and by the clock."""

    cpu: list[float] = field(default_factory=list)
    clock: list[float] = field(default_factory=list)

    def take(self, call: Callable[[int], object], number: int) -> None:
        """Time one call."""
        cpu, clock = time.thread_time_ns(), time.perf_counter_ns()
        call(number)
        self.clock.append((time.perf_counter_ns() - clock) / 1e6)
        self.cpu.append((time.thread_time_ns() - cpu) / 1e6)


@dataclass(frozen=True)
class Template:
    """A decision, and its content as it is packed."""

    entry: NewEntry
    packed: Packed


def templates(golden: Bundle) -> tuple[list[Template], list[Template]]:
    """Decisions on golden accounts that keep the limit, and those that cut it."""
    kept: list[Template] = []
    cut: list[Template] = []
    for body in bodies()[:300]:
        entry = decision_entry(parse(Request, json.dumps(body).encode()), golden)
        one = Template(entry, pack_contents(entry))
        (cut if entry.metadata["action"] == "reduce" else kept).append(one)
    return kept, cut


def rows_of(kept: Sequence[Template], cut: Sequence[Template], rows: int) -> Iterator[Template]:
    accounts = rows // TURNS
    for number in range(rows):
        turn, account = divmod(number, accounts)
        chosen = cut if turn == CUT_IN and account % 10 == 0 else kept
        template = chosen[account % len(chosen)]
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        at = _BEGIN + datetime.timedelta(seconds=number)
        decision_id = str(uuid.UUID(digest[:32]))
        entry = replace(
            template.entry,
            entry_id=decision_id,
            subject=decision_id,
            at=at,
            # A notice makes it an event: without one the cut would not be found.
            due=at.date() if chosen is cut else None,
            account=f"account-{account}",
            unique_key=f"keyed:{digest}:0",
            digest=digest,
        )
        yield Template(entry, template.packed)


def fill(audit_log: AuditLog, golden: Bundle, rows: int) -> None:
    """Append so many decisions, many in a transaction; the rows of most accounts are copies.

    A copy has the bytes of its original under an id, a person and an account of its own.  Nothing
    leads to it from the name of an account, so accounts are looked up among the originals.
    """
    originals = rows // COPIES
    drawn = rows_of(*templates(golden), originals)
    done = 0
    while some := list(itertools.islice(drawn, ROWS_PER_TRANSACTION // COPIES)):
        entries = [one.entry for one in some]
        packed = [one.packed for one in some]
        with audit_log.database.writing() as connection:
            stored = insert_entries(connection, entries, audit_log.secrets, packed)
            copy(connection, stored[0].seq, len(stored), done < originals // TURNS)
        done += len(some)
    if audit_log.database.kind == "postgresql":
        engine = audit_log.database.engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as plain:
            plain.exec_driver_sql("SET statement_timeout = 0")
            plain.exec_driver_sql("VACUUM ANALYZE")  # as a database in use does by itself


def copy(connection: sa.Connection, first: int, count: int, with_people: bool) -> None:
    """Copy so many rows from one of them on, and their persons if they are new."""
    dialect = connection.dialect.name
    columns = ", ".join(_COPIED.get(one.name, one.name) for one in entries_table.c)
    within = "seq >= :first AND seq < :first + :count"
    rows = f"SELECT {columns} FROM entries CROSS JOIN copies WHERE {within}"
    named = f"SELECT person FROM entries WHERE {within}"
    persons = f"SELECT {_PERSONS} FROM people CROSS JOIN copies WHERE person IN ({named})"
    values = {"first": first, "count": count, "last_copy": COPIES - 1}
    if with_people:
        connection.execute(_insert(dialect, "people", persons), values)
    connection.execute(_insert(dialect, "entries", rows), values)


def _insert(dialect: str, table: str, query: str) -> sa.TextClause:
    other = _OTHER.format(byte=_BYTE[dialect], column="{column}")
    with_names = re.sub(r"other\((\w+)\)", lambda found: other.format(column=found[1]), query)
    return sa.text(f"INSERT INTO {table} WITH RECURSIVE {_NUMBERS} {with_names}")


def measure(audit_log: AuditLog, accounts: int) -> dict[str, Times]:
    """The times of each kind of call, in turns."""

    def look_up(account: int) -> object:
        return audit_log.reader.memories_and_latest("lender", [f"account-{account}"])

    calls: dict[str, Callable[[int], object]] = {
        "empty": lambda _: audit_log.database.fetch(_EMPTY, {}),
        "kept": lambda number: look_up(10 * number + 1),
        "cut": lambda number: look_up(10 * number),
    }
    times = {name: Times() for name in calls}
    drawn = random.Random(7)
    for _ in range(CALLS):
        number = drawn.randrange(accounts // 10)
        for name, call in calls.items():
            times[name].take(call, number)
    return times


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_lookup(
    benchmark: Any, kind: str, request: pytest.FixtureRequest, golden: Bundle, tmp_path: Path
) -> None:
    audit_log: AuditLog = request.getfixturevalue("record" if kind == "sqlite" else "postgres")
    fill(audit_log, golden, ROWS)
    measured: dict[str, Times] = {}
    benchmark.pedantic(lambda: measured.update(measure(audit_log, ROWS // TURNS)))
    for name, times in measured.items():
        benchmark.extra_info |= {
            f"{name}_cpu": statistics.median(times.cpu),
            f"{name}_cpu_least": min(times.cpu),
            f"{name}_clock": statistics.median(times.clock),
            f"{name}_clock_least": min(times.clock),
        }
    benchmark.extra_info |= {"rows": ROWS, "bytes": size_of(audit_log, tmp_path) / ROWS}


def size_of(audit_log: AuditLog, folder: Path) -> int:
    """Bytes that the database takes, with its indexes."""
    if audit_log.database.kind == "sqlite":
        return (folder / "record.db").stat().st_size
    with audit_log.database.reading() as connection:
        query = "SELECT pg_database_size(current_database())"
        return int(connection.exec_driver_sql(query).scalar_one())


def test_pack(benchmark: Any, golden: Bundle) -> None:
    """The CPU time that packing adds to a decision."""
    kept, _ = templates(golden)
    entries = itertools.cycle([one.entry for one in kept])
    benchmark(lambda: pack_contents(next(entries)))
