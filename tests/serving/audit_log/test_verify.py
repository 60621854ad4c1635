"""The verdict on a record: 1,000 tamperings of a log of 500 rows, and what no verdict can see."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.audit_log import checkpoints, verify
from serving.audit_log.hash_chain import GENESIS, hash_of
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.privacy.persons import erase
from serving.audit_log.rows import chain_head, insert_entries
from serving.audit_log.verify import Verdict, verdict_text
from serving.storage.tables import entries
from tests.support.records import NOW, Fill, keep, settings_in, some_draft

ROWS = 500
COLUMNS = tuple(column.name for column in entries.c)
Row = dict[str, Any]


@dataclass(frozen=True)
class Log:
    """A record as whoever can write its database and its checkpoints sees it: in memory, and
    without any constraint.
    """

    genuine: sqlite3.Connection
    copy: sqlite3.Connection
    engine: sa.Engine
    secrets: Secrets
    checkpoints: Path
    lines: tuple[str, ...]

    def restore(self) -> None:
        """Back to what was written."""
        self.genuine.backup(self.copy)
        self.sign_off(self.lines)

    def sign_off(self, lines: Sequence[str]) -> None:
        """These lines in place of the checkpoints."""
        self.checkpoints.write_text("".join(lines))

    def verdict(self) -> Verdict:
        return verify.verify(self.engine.connect, self.secrets, self.checkpoints)

    def row(self, number: int) -> Row:
        columns = ", ".join(COLUMNS)
        found = self.copy.execute(
            f"SELECT {columns} FROM entries WHERE seq = ?", (number,)
        ).fetchone()
        return dict(zip(COLUMNS, found, strict=True))

    def write(self, row: Row) -> None:
        """Put a row where its number is."""
        self.copy.execute("DELETE FROM entries WHERE seq = ?", (row["seq"],))
        marks = ", ".join("?" * len(COLUMNS))
        self.copy.execute(
            f"INSERT INTO entries ({', '.join(COLUMNS)}) VALUES ({marks})",
            [row[name] for name in COLUMNS],
        )

    def chain_from(self, number: int) -> None:
        """Write the hashes of this row and all later ones so that they fit."""
        before = GENESIS if number == 1 else self.row(number - 1)["hash"]
        found = self.copy.execute(
            f"SELECT {', '.join(COLUMNS)} FROM entries WHERE seq >= ? ORDER BY seq", (number,)
        ).fetchall()
        hashes = []
        for values in found:
            row_hash = hash_of(dict(zip(COLUMNS, values, strict=True)), before)
            hashes.append((before, row_hash, values[0]))
            before = row_hash
        self.copy.executemany("UPDATE entries SET before = ?, hash = ? WHERE seq = ?", hashes)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    folder = tmp_path_factory.mktemp("log")
    settings = settings_in(folder)
    record = AuditLog(settings)
    secrets = record.secrets
    for start in range(0, ROWS, 50):
        keep(record, [some_draft(number) for number in range(start, start + 50)])
    record.close()
    settings.checkpoints.unlink()
    genuine = _memory()
    genuine.execute("ATTACH ? AS written", (str(settings.file),))
    for table in ("entries", "people"):
        genuine.execute(f"CREATE TABLE {table} AS SELECT * FROM written.{table}")
    genuine.execute("CREATE UNIQUE INDEX by_number ON entries (seq)")
    genuine.execute("DETACH written")
    for number in range(50, ROWS + 1, 50):
        row_hash = genuine.execute("SELECT hash FROM entries WHERE seq = ?", (number,)).fetchone()[
            0
        ]
        checkpoints.append(settings.checkpoints, number, row_hash, NOW, secrets.signer)
    lines = tuple(settings.checkpoints.read_text().splitlines(keepends=True))
    copy = _memory()
    engine = sa.create_engine("sqlite://", creator=lambda: copy, poolclass=sa.StaticPool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "_TOGETHER", 128)  # several pages, and a last one that is not full
        yield Log(genuine, copy, engine, secrets, settings.checkpoints, lines)


def _memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


# What is done to the log.  Each leaves it other than it was, or says that it did not.

_VALUES: tuple[Any, ...] = (
    None,
    "",
    b"",
    0,
    1,
    -1,
    7,
    1.5,
    "0",
    "keep",
    "null",
    "{}",
    b"\0",
    bytes(32),
    "D-1",
    "d-1 ",
)


def edit(draw: random.Random, log: Log) -> bool:
    """One value: to another type, to nothing, to empty, to the same with a bit of it changed."""
    number, column = draw.randint(1, ROWS), draw.choice(COLUMNS)
    stored = f"SELECT typeof({column}), quote({column}) FROM entries WHERE rowid = ?"
    [place] = log.copy.execute("SELECT rowid FROM entries WHERE seq = ?", (number,)).fetchone()
    value, before = log.row(number)[column], log.copy.execute(stored, (place,)).fetchone()
    changed = draw.choice([*_VALUES, *_near(value, draw), *_near(value, draw)])
    try:
        log.copy.execute(f"UPDATE entries SET {column} = ? WHERE rowid = ?", (changed, place))
    except sqlite3.IntegrityError:  # another row has this number
        return False
    return bool(log.copy.execute(stored, (place,)).fetchone() != before)


def _near(value: Any, draw: random.Random) -> list[Any]:
    if isinstance(value, int):
        return [
            value + 1,
            value - 1,
            float(value) + 0.5,
            str(value) + "x",
            ROWS + draw.randint(1, 5),
        ]
    if isinstance(value, str):
        place = draw.randrange(len(value) + 1)
        return [
            value + " ",
            value.upper(),
            value.encode(),
            value[:-1],
            value[:place] + "x" + value[place:],
            len(value),
        ]
    if isinstance(value, bytes) and value:
        place = draw.randrange(len(value))
        flipped = bytes(
            byte ^ (1 << draw.randrange(8)) if at == place else byte
            for at, byte in enumerate(value)
        )
        return [flipped, value + b"\0", value[:-1], value[::-1], value.hex(), len(value)]
    return []


def edit_with_its_hash(draw: random.Random, log: Log) -> bool:
    """A row and its hash, as if none came after it."""
    number = draw.randint(1, ROWS)
    changed = log.row(number) | {draw.choice(("facts", "tenant", "caller", "subject")): "forged"}
    log.write(changed | {"hash": hash_of(changed, changed["before"])})
    return True


def no_text(draw: random.Random, log: Log) -> bool:
    """Bytes that are no text, kept as text."""
    column = draw.choice(COLUMNS[1:])
    log.copy.execute(
        f"UPDATE entries SET {column} = CAST(x'ff41' AS TEXT) WHERE seq = ?",
        (draw.randint(1, ROWS),),
    )
    return True


def delete(draw: random.Random, log: Log) -> bool:
    for number in draw.sample(range(1, ROWS + 1), draw.randint(1, 3)):
        log.copy.execute("DELETE FROM entries WHERE seq = ?", (number,))
    return True


def delete_and_close_up(draw: random.Random, log: Log) -> bool:
    """Without a gap, and with hashes that fit."""
    number = draw.randint(1, ROWS)
    log.copy.execute("DELETE FROM entries WHERE seq = ?", (number,))
    for later in range(number + 1, ROWS + 1):
        log.copy.execute("UPDATE entries SET seq = ? WHERE seq = ?", (later - 1, later))
    if draw.random() < 0.5:
        log.chain_from(number)
    return True


def insert(draw: random.Random, log: Log) -> bool:
    """A row in between, all later ones one further on; with hashes that fit, or as they were."""
    number = draw.randint(1, ROWS)
    row = log.row(draw.randint(1, ROWS))
    for later in range(ROWS, number - 1, -1):
        log.copy.execute("UPDATE entries SET seq = ? WHERE seq = ?", (later + 1, later))
    log.write(row | {"seq": number, "entry_id": "forged", "slot": None})
    if draw.random() < 0.5:
        log.chain_from(number)
    return True


def insert_out_of_place(draw: random.Random, log: Log) -> bool:
    before = log.row(ROWS)["hash"]
    row = log.row(draw.randint(1, ROWS)) | {
        "seq": draw.choice((0, -1, -7, 250.5, ROWS + 2, ROWS + 9)),
        "before": before,
    }
    log.write(
        row
        | {"entry_id": "forged", "slot": None}
        | {"hash": draw.choice((row["hash"], bytes(32), None))}
    )
    return True


def append_what_does_not_fit(draw: random.Random, log: Log) -> bool:
    """At the end a row that does not continue the chain, or whose content nobody sealed."""
    last = log.row(ROWS)
    row = next(
        row
        for row in (log.row(n) for n in draw.sample(range(1, ROWS), ROWS - 1))
        if row["person"] and row["answered"]
    )
    row |= {"seq": ROWS + 1, "entry_id": "forged", "slot": None, "before": last["hash"]}
    if draw.random() < 0.5:
        row["hash"] = hash_of(row, last["hash"])
    log.write(row)
    return True


def swap(draw: random.Random, log: Log) -> bool:
    """Two rows: their places, or all that they say."""
    first, second = (log.row(number) for number in draw.sample(range(1, ROWS + 1), 2))
    kept = draw.choice((("seq",), ("seq", "before"), ("seq", "before", "hash")))
    log.write(second | {name: first[name] for name in kept})
    log.write(first | {name: second[name] for name in kept})
    if draw.random() < 0.3:
        log.chain_from(min(first["seq"], second["seq"]))
    return True


def swap_content(draw: random.Random, log: Log) -> bool:
    """What was asked or answered, between two rows of one person, the hashes written anew."""
    name = draw.choice(("asked", "answered"))
    first = log.row(draw.randint(1, ROWS))
    same = log.copy.execute(
        "SELECT seq FROM entries WHERE person = ?", (first["person"],)
    ).fetchall()
    second = log.row(draw.choice(same)[0]) if same else first
    if first[name] == second[name]:
        return False
    log.write(first | {name: second[name]})
    log.write(second | {name: first[name]})
    log.chain_from(min(first["seq"], second["seq"]))
    return True


def cut_the_tail(draw: random.Random, log: Log) -> bool:
    log.copy.execute("DELETE FROM entries WHERE seq > ?", (draw.randint(0, ROWS - 1),))
    return True


def rewrite_the_tail(draw: random.Random, log: Log) -> bool:
    """From a row on: another fact, and every hash after it."""
    number = draw.randint(1, ROWS)
    log.write(
        log.row(number)
        | {"facts": '{"action":"reduce"}', "tenant": draw.choice(("lender", "other"))}
    )
    log.chain_from(number)
    return True


def spoil_a_key(draw: random.Random, log: Log) -> bool:
    """Keys of two persons exchanged, or one destroyed, cut, changed."""
    persons = log.copy.execute("SELECT person, sealed_key FROM people ORDER BY person").fetchall()
    (one, sealed), (other, its) = draw.sample(persons, 2)
    update = "UPDATE people SET sealed_key = ? WHERE person = ?"
    match draw.randrange(6):
        case 5:
            # Whose account it is: erasing the one would then destroy the other's key.
            accounts = dict(log.copy.execute("SELECT person, account FROM people").fetchall())
            named = "UPDATE people SET account = ? WHERE person = ?"
            log.copy.execute(named, ("meanwhile", one))
            log.copy.execute(named, (accounts[one], other))
            log.copy.execute(named, (accounts[other], one))
        case 0:
            log.copy.execute(update, (its, one))
            log.copy.execute(update, (sealed, other))
        case 1:
            log.copy.execute(update, (draw.choice(_near(sealed, draw)), one))
        case 2:
            log.copy.execute(update, (draw.choice((None, "", b"", 0)), one))
        case 3:
            log.copy.execute("DELETE FROM people WHERE person = ?", (one,))
        case _:
            log.copy.execute("UPDATE people SET person = 'nobody' WHERE person = ?", (one,))
    return True


def edit_a_checkpoint(draw: random.Random, log: Log) -> bool:
    """A digit of it, what it says, or who signed it; and perhaps the log as well, so that they
    agree.
    """
    lines = list(log.lines)
    place = draw.randrange(len(lines))
    line = json.loads(lines[place])
    match draw.randrange(5):
        case 0:
            name, digit = draw.choice(("hash", "signature")), draw.randrange(64)
            changed = "0" if line[name][digit] != "0" else "1"
            line[name] = line[name][:digit] + changed + line[name][digit + 1 :]
        case 1:
            line["seq"] = draw.choice((line["seq"] + 1, str(line["seq"]), 0, None))
        case 2:
            line["at"] = draw.choice(("2026-11-25T08:00:00.000001Z", "", 0))
        case 3:
            signed = checkpoints.Checkpoint(line["seq"], bytes(32), line["at"]).signed()
            line |= {
                "hash": bytes(32).hex(),
                "signature": Ed25519PrivateKey.generate().sign(signed).hex(),
            }
        case _:
            line.pop(draw.choice(list(line)))
    lines[place] = json.dumps(line) + "\n"
    log.sign_off(lines)
    return True


def rewrite_the_tail_and_sign_it(draw: random.Random, log: Log) -> bool:
    """With a key of the forger's own, in place of the checkpoints that would contradict."""
    rewrite_the_tail(draw, log)
    row = log.row(ROWS)
    log.sign_off(log.lines[:1])
    checkpoints.append(log.checkpoints, ROWS, row["hash"], NOW, Ed25519PrivateKey.generate())
    return True


TAMPERINGS: tuple[Callable[[random.Random, Log], bool], ...] = (
    edit, edit, edit, edit, edit, edit_with_its_hash, no_text, delete, delete_and_close_up, insert, insert_out_of_place,
    append_what_does_not_fit, swap, swap_content, cut_the_tail, rewrite_the_tail, spoil_a_key, spoil_a_key,
    edit_a_checkpoint, rewrite_the_tail_and_sign_it,
)  # fmt: skip


def test_of_1000_tamperings_none_is_missed(log: Log) -> None:
    done, missed = 0, []
    for seed in range(10_000):
        draw = random.Random(seed)
        tampering = TAMPERINGS[seed % len(TAMPERINGS)]
        log.restore()
        if not tampering(draw, log):
            continue
        if not log.verdict().found:
            missed.append((seed, tampering.__name__))
        done += 1
        if done == 1000:
            break
    assert (done, missed) == (1000, [])


def test_a_genuine_log_has_nothing_wrong(log: Log) -> None:
    log.restore()
    verdict = log.verdict()
    assert (verdict.rows, verdict.signed, verdict.newest, verdict.found, verdict.unwitnessed) == (
        ROWS,
        10,
        ROWS,
        0,
        0,
    )


@pytest.mark.parametrize(
    "tampering", [cut_the_tail, rewrite_the_tail], ids=lambda tampering: tampering.__name__
)
def test_without_a_checkpoint_the_tail_can_be_cut_or_rewritten_and_the_verdict_says_so(
    log: Log, tampering: Callable[[random.Random, Log], bool]
) -> None:
    for seed in range(20):
        log.restore()
        tampering(random.Random(seed), log)
        log.sign_off([])
        verdict = log.verdict()
        assert verdict.found == 0
        assert verdict.unwitnessed == verdict.rows
        assert "there is no checkpoint: only that the rows fit one another" in verdict_text(verdict)


def test_what_stands_after_the_newest_checkpoint_can_be_rewritten_and_the_verdict_counts_it(
    log: Log,
) -> None:
    log.restore()
    log.write(log.row(470) | {"facts": "{}"})
    log.chain_from(470)
    log.sign_off(log.lines[:9])
    verdict = log.verdict()
    assert (verdict.found, verdict.newest, verdict.unwitnessed) == (0, 450, 50)
    assert "after the newest checkpoint, now 50:" in verdict_text(verdict)


def test_a_row_that_fits_at_the_end_is_not_seen_before_the_next_checkpoint(log: Log) -> None:
    log.restore()
    row = log.row(4) | {"seq": ROWS + 1, "entry_id": "forged", "slot": None, "person": None}
    log.write(row)
    log.chain_from(ROWS + 1)
    verdict = log.verdict()
    assert (verdict.found, verdict.unwitnessed) == (0, 1)


def test_a_finding_names_the_row_and_what_is_wrong(log: Log) -> None:
    log.restore()
    log.copy.execute("DELETE FROM entries WHERE seq = 7")
    log.copy.execute("UPDATE entries SET facts = '{}' WHERE seq = 300")
    text = verdict_text(log.verdict())
    assert "row 8 does not follow: row 7 is missing" in text
    assert "row 300 was changed after it was written" in text


def test_only_the_first_findings_are_named_and_all_are_counted(log: Log) -> None:
    log.restore()
    log.copy.execute("UPDATE entries SET tenant = 'other' WHERE seq > 100")
    verdict = log.verdict()
    assert verdict.found == 400
    assert [finding.row for finding in verdict.findings] == list(range(101, 121))
    assert "and 380 more" in verdict_text(verdict)


def test_a_line_cut_short_is_passed_over_and_told(log: Log) -> None:
    log.restore()
    log.sign_off([*log.lines[:9], log.lines[9][:40]])
    verdict = log.verdict()
    assert (verdict.found, verdict.cut_short, verdict.newest) == (0, 1, 450)
    assert "as a power failure leaves one: 1" in verdict_text(verdict)


def test_a_key_that_came_back_is_found(record: AuditLog, fill: Fill, tmp_path: Path) -> None:
    fill(30)
    with record.database.reading() as connection:
        kept = connection.exec_driver_sql("SELECT * FROM people").all()
    with record.database.writing() as connection:
        found = erase(connection, "lender", "acct-1", record.secrets)
        assert found is not None
        insert_entries(connection, [_erasure(found[0])], record.secrets)
    assert (
        verify.verify(record.database.reading, record.secrets, tmp_path / "checkpoints.jsonl").found
        == 0
    )
    with record.database.writing() as connection:
        connection.exec_driver_sql(
            "INSERT INTO people VALUES (?, ?, ?, ?)",
            next(tuple(row) for row in kept if row.data_subject == found[0]),
        )
    [finding] = verify.verify(
        record.database.reading, record.secrets, tmp_path / "checkpoints.jsonl"
    ).findings
    assert (finding.row, finding.what) == (31, "says that a person was erased whose key is there")


def _erasure(person: str) -> Any:
    draft = some_draft(0)
    return type(draft)(
        f"e-{person}", "erasure", person, "lender", "operator", NOW, None, {"person": person}
    )


@settings(max_examples=15)
@given(erased=st.lists(st.integers(0, 39), unique=True, max_size=40))
def test_erasing_persons_leaves_nothing_wrong(
    tmp_path_factory: pytest.TempPathFactory, erased: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("erased")
    record = AuditLog(settings_in(folder))
    keep(record, [some_draft(number) for number in range(60)])
    for number in erased:
        with record.database.writing() as connection:
            found = erase(connection, "lender", f"acct-{number}", record.secrets)
            if found is not None:
                insert_entries(connection, [_erasure(found[0])], record.secrets)
    record.close()
    reopened = AuditLog(settings_in(folder))
    assert (
        verify.verify(
            reopened.database.reading, reopened.secrets, folder / "checkpoints.jsonl"
        ).found
        == 0
    )
    reopened.close()


POSTGRESQL_TAMPERINGS = (
    "UPDATE entries SET facts = '{}' WHERE seq = 600",
    "UPDATE entries SET digest = '' WHERE seq = (SELECT min(seq) FROM entries WHERE digest IS NULL)",
    "UPDATE entries SET seq = 9000 WHERE seq = 5",
    "DELETE FROM entries WHERE seq = 501",
    "DELETE FROM entries WHERE seq > 690",
    r"UPDATE people SET sealed_key = sealed_key || '\x00'::bytea WHERE person = (SELECT min(person) FROM people)",
    "DELETE FROM people WHERE person = (SELECT min(person) FROM people)",
)


def test_in_postgresql_a_log_is_right_until_it_is_tampered_with(
    postgres: AuditLog, tmp_path: Path
) -> None:
    keep(postgres, [some_draft(number) for number in range(700)])
    with postgres.database.writing() as connection:
        found = erase(connection, "lender", "acct-5", postgres.secrets)
        assert found is not None
        insert_entries(connection, [_erasure(found[0])], postgres.secrets)
    file = tmp_path / "checkpoints.jsonl"
    with postgres.database.reading() as connection:
        checkpoints.append(file, *chain_head(connection), NOW, postgres.secrets.signer)
    verdict = verify.verify(postgres.database.reading, postgres.secrets, file)
    assert (verdict.rows, verdict.found, verdict.unwitnessed) == (701, 0, 0)
    assert all(_found_after(statement, postgres, file) for statement in POSTGRESQL_TAMPERINGS)


def _found_after(statement: str, record: AuditLog, file: Path) -> int:
    """How much is found after a statement that is then undone."""
    with record.database.engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE entries DISABLE TRIGGER ALL")
        assert connection.exec_driver_sql(statement).rowcount > 0
        found = verify.verify(
            lambda: contextlib.nullcontext(connection), record.secrets, file
        ).found
        connection.rollback()
    return found


def test_rows_are_read_a_page_at_a_time(
    record: AuditLog, fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "_TOGETHER", 32)
    fill(300)
    begun = 0

    def reading() -> AbstractContextManager[sa.Connection]:
        nonlocal begun
        begun += 1
        return record.database.reading()

    assert verify.verify(reading, record.secrets, tmp_path / "none").rows == 300
    assert begun == 11  # 300 rows by 32, and one that finds no more
