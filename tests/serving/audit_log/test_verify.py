"""Verification: 1,000 tamperings of a log of 500 rows, and what verification cannot see."""

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
from serving.audit_log.hash_chain import GENESIS, hash_row
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.rows import read_chain_head
from serving.audit_log.verify import VerificationReport
from serving.operations.audit import report_text
from serving.storage.tables import entries
from tests.support.each import each
from tests.support.records import NOW, Fill, append, numbered_entries, settings_in

ROWS = 500
COPIED = (
    "entries",
    "people",
    "api_keys",
    "secrets_marker",
    "open_notices",
    "review_states",
    "due_accounts",
)
ORDER = ErasureOrder("operator", "asked for", NOW, hold_over="some have a review")
COLUMNS = tuple(column.name for column in entries.c)
Row = dict[str, Any]


@dataclass(frozen=True)
class Log:
    """An audit log as an attacker sees it who can write the database and the checkpoints.

    The database is in memory and has no constraints.
    """

    genuine: sqlite3.Connection
    copy: sqlite3.Connection
    engine: sa.Engine
    secrets: Secrets
    checkpoints: Path
    lines: tuple[str, ...]

    def restore(self) -> None:
        """Undo all tampering."""
        self.genuine.backup(self.copy)
        self.write_checkpoints(self.lines)

    def write_checkpoints(self, lines: Sequence[str]) -> None:
        """Replace the lines of the checkpoint file."""
        self.checkpoints.write_text("".join(lines), encoding="utf-8")

    def verify(self) -> VerificationReport:
        return verify.verify(self.engine.connect, self.secrets, self.checkpoints)

    def row(self, number: int) -> Row:
        columns = ", ".join(COLUMNS)
        found = self.copy.execute(
            f"SELECT {columns} FROM entries WHERE seq = ?", (number,)
        ).fetchone()
        return dict(zip(COLUMNS, found, strict=True))

    def write(self, row: Row) -> None:
        """Insert a row, or replace the row with its number."""
        self.copy.execute("DELETE FROM entries WHERE seq = ?", (row["seq"],))
        marks = ", ".join("?" * len(COLUMNS))
        self.copy.execute(
            f"INSERT INTO entries ({', '.join(COLUMNS)}) VALUES ({marks})",
            [row[name] for name in COLUMNS],
        )

    def rehash_from(self, number: int) -> None:
        """Recompute the hashes of this row and all later ones."""
        before = GENESIS if number == 1 else self.row(number - 1)["hash"]
        found = self.copy.execute(
            f"SELECT {', '.join(COLUMNS)} FROM entries WHERE seq >= ? ORDER BY seq", (number,)
        ).fetchall()
        hashes = []
        for values in found:
            row_hash = hash_row(dict(zip(COLUMNS, values, strict=True)), before)
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
        append(record, numbered_entries(start, start + 50))
    record.close()
    settings.checkpoints.unlink()
    genuine = _memory()
    genuine.execute("ATTACH ? AS written", (str(settings.file),))
    for table in COPIED:
        genuine.execute(f"CREATE TABLE {table} AS SELECT * FROM written.{table}")
    genuine.execute("CREATE UNIQUE INDEX by_number ON entries (seq)")
    genuine.execute("DETACH written")
    for number in range(50, ROWS + 1, 50):
        row_hash = genuine.execute("SELECT hash FROM entries WHERE seq = ?", (number,)).fetchone()[
            0
        ]
        checkpoints.append(settings.checkpoints, number, row_hash, NOW, secrets.signer)
    lines = tuple(settings.checkpoints.read_text(encoding="utf-8").splitlines(keepends=True))
    copy = _memory()
    engine = sa.create_engine("sqlite://", creator=lambda: copy, poolclass=sa.StaticPool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "PAGE", 128)  # several pages, and a last one that is not full
        yield Log(genuine, copy, engine, secrets, settings.checkpoints, lines)


def _memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


# The tamperings. Each returns whether it changed the log.

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
    """One value becomes another type, null, empty, or almost the same."""
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
    """A row and its hash, but not the hashes of later rows."""
    number = draw.randint(1, ROWS)
    changed = log.row(number) | {draw.choice(("facts", "tenant", "caller", "subject")): "forged"}
    log.write(changed | {"hash": hash_row(changed, changed["before"])})
    return True


def write_invalid_text(draw: random.Random, log: Log) -> bool:
    """Bytes that are not valid UTF-8, stored as text."""
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
    """Later rows move up; half of the time their hashes are recomputed."""
    number = draw.randint(1, ROWS)
    log.copy.execute("DELETE FROM entries WHERE seq = ?", (number,))
    for later in range(number + 1, ROWS + 1):
        log.copy.execute("UPDATE entries SET seq = ? WHERE seq = ?", (later - 1, later))
    if draw.random() < 0.5:
        log.rehash_from(number)
    return True


def insert(draw: random.Random, log: Log) -> bool:
    """Later rows move down; half of the time their hashes are recomputed."""
    number = draw.randint(1, ROWS)
    row = log.row(draw.randint(1, ROWS))
    for later in range(ROWS, number - 1, -1):
        log.copy.execute("UPDATE entries SET seq = ? WHERE seq = ?", (later + 1, later))
    log.write(row | {"seq": number, "entry_id": "forged", "slot": None})
    if draw.random() < 0.5:
        log.rehash_from(number)
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
    """A last row that does not continue the chain, or holds the content of another row."""
    last = log.row(ROWS)
    row = next(
        row
        for row in (log.row(n) for n in draw.sample(range(1, ROWS), ROWS - 1))
        if row["person"] and row["answered"]
    )
    row |= {
        "seq": ROWS + 1,
        "entry_id": "forged",
        "slot": None,
        "before": last["hash"],
    }
    if draw.random() < 0.5:
        row["hash"] = hash_row(row, last["hash"])
    log.write(row)
    return True


def swap(draw: random.Random, log: Log) -> bool:
    """Two rows exchange their numbers, or everything but their numbers."""
    first, second = (log.row(number) for number in draw.sample(range(1, ROWS + 1), 2))
    exchanged = draw.choice((("seq",), ("seq", "before"), ("seq", "before", "hash")))
    log.write(second | {name: first[name] for name in exchanged})
    log.write(first | {name: second[name] for name in exchanged})
    if draw.random() < 0.3:
        log.rehash_from(min(first["seq"], second["seq"]))
    return True


def swap_content(draw: random.Random, log: Log) -> bool:
    """Two rows of a person exchange a body; the hashes are recomputed."""
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
    log.rehash_from(min(first["seq"], second["seq"]))
    return True


def cut_the_tail(draw: random.Random, log: Log) -> bool:
    log.copy.execute("DELETE FROM entries WHERE seq > ?", (draw.randint(0, ROWS - 1),))
    return True


def rewrite_the_tail(draw: random.Random, log: Log) -> bool:
    """A row's metadata, and every hash from there on."""
    number = draw.randint(1, ROWS)
    log.write(
        log.row(number)
        | {"facts": '{"action":"review"}', "tenant": draw.choice(("lender", "other"))}
    )
    log.rehash_from(number)
    return True


def spoil_a_key(draw: random.Random, log: Log) -> bool:
    """The keys or accounts of two persons are exchanged, or a key is deleted or changed."""
    persons = log.copy.execute("SELECT person, sealed_key FROM people ORDER BY person").fetchall()
    (one, sealed), (other, its) = draw.sample(persons, 2)
    update = "UPDATE people SET sealed_key = ? WHERE person = ?"
    match draw.randrange(6):
        case 5:
            # The accounts: erasing one person would then delete the key of the other.
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
    """A digit, a value, a field or the signer of one checkpoint."""
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
            signed = checkpoints.Checkpoint(line["seq"], bytes(32), line["at"]).signed_bytes()
            line |= {
                "hash": bytes(32).hex(),
                "signature": Ed25519PrivateKey.generate().sign(signed).hex(),
            }
        case _:
            line.pop(draw.choice(list(line)))
    lines[place] = json.dumps(line) + "\n"
    log.write_checkpoints(lines)
    return True


def rewrite_the_tail_and_sign_it(draw: random.Random, log: Log) -> bool:
    """Checkpoints that would contradict are replaced by one with another key."""
    rewrite_the_tail(draw, log)
    row = log.row(ROWS)
    log.write_checkpoints(log.lines[:1])
    checkpoints.append(
        log.checkpoints,
        ROWS,
        row["hash"],
        NOW,
        Ed25519PrivateKey.generate(),
    )
    return True


TAMPERINGS: tuple[Callable[[random.Random, Log], bool], ...] = (
    *[edit] * 5,
    edit_with_its_hash,
    write_invalid_text,
    delete,
    delete_and_close_up,
    insert,
    insert_out_of_place,
    append_what_does_not_fit,
    swap,
    swap_content,
    cut_the_tail,
    rewrite_the_tail,
    *[spoil_a_key] * 2,
    edit_a_checkpoint,
    rewrite_the_tail_and_sign_it,
)


@pytest.mark.parametrize(
    "count",
    [
        100,
        pytest.param(1000, marks=pytest.mark.torture),
    ],
)
def test_no_tampering_is_missed(log: Log, count: int) -> None:
    done, missed = 0, []
    for seed in range(10_000):
        draw = random.Random(seed)
        tampering = TAMPERINGS[seed % len(TAMPERINGS)]
        log.restore()
        if not tampering(draw, log):
            continue
        if not log.verify().count:
            missed.append((seed, tampering.__name__))
        done += 1
        if done == count:
            break
    assert (done, missed) == (count, [])


def test_a_genuine_log_has_no_findings(log: Log) -> None:
    log.restore()
    report = log.verify()
    assert (report.rows, report.checkpoints, report.newest) == (ROWS, 10, ROWS)
    assert (report.count, report.unwitnessed) == (0, 0)


@pytest.mark.parametrize(
    "tampering",
    [cut_the_tail, rewrite_the_tail],
    ids=lambda tampering: tampering.__name__,
)
def test_without_checkpoints_the_end_can_be_rewritten_and_the_report_says_so(
    log: Log, tampering: Callable[[random.Random, Log], bool]
) -> None:
    for seed in range(20):
        log.restore()
        tampering(random.Random(seed), log)
        # Whoever cuts rows off cuts the lists too; otherwise they show it.
        log.copy.execute(
            "DELETE FROM review_states WHERE seq > (SELECT max(seq) FROM entries)",
        )
        log.write_checkpoints([])
        report = log.verify()
        assert report.count == 0
        assert report.unwitnessed == report.rows
        assert "there is no checkpoint" in report_text(report)


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("DELETE FROM review_states WHERE seq = 5", "is missing in review_states"),
        ("UPDATE review_states SET state = 'resolved' WHERE seq = 5", "is in review_states"),
        ("INSERT INTO open_notices VALUES ('lender', '2026-01-01', 1)", "is in open_notices"),
    ],
)
def test_a_list_that_hides_or_invents_a_row_is_found(log: Log, statement: str, fault: str) -> None:
    log.restore()
    assert log.verify().count == 0
    log.copy.execute(statement)
    report = log.verify()
    assert any(finding.text.startswith(fault) for finding in each(report.findings))


def test_rows_after_the_newest_checkpoint_can_be_rewritten_and_the_report_counts_them(
    log: Log,
) -> None:
    log.restore()
    log.write(log.row(470) | {"facts": "{}"})
    log.rehash_from(470)
    log.write_checkpoints(log.lines[:9])
    report = log.verify()
    assert (report.count, report.newest, report.unwitnessed) == (0, 450, 50)
    assert "after the newest checkpoint, now 50 row(s):" in report_text(report)


def test_an_added_last_row_is_not_seen_before_the_next_checkpoint(log: Log) -> None:
    log.restore()
    row = log.row(4) | {
        "seq": ROWS + 1,
        "entry_id": "forged",
        "slot": None,
        "person": None,
    }
    log.write(row)
    log.rehash_from(ROWS + 1)
    report = log.verify()
    assert (report.count, report.unwitnessed) == (0, 1)


def test_a_finding_names_the_row_and_what_is_wrong(log: Log) -> None:
    log.restore()
    log.copy.execute("DELETE FROM entries WHERE seq = 7")
    log.copy.execute("UPDATE entries SET facts = '{}' WHERE seq = 300")
    text = report_text(log.verify())
    assert "row 8 does not follow: row 7 is missing" in text
    assert "row 300 was changed after it was written" in text


def test_only_the_first_findings_are_named_and_all_are_counted(log: Log) -> None:
    log.restore()
    log.copy.execute("UPDATE entries SET tenant = 'other' WHERE seq > 100")
    report = log.verify()
    assert report.count == 400
    assert [finding.row for finding in report.findings] == list(range(101, 121))
    assert "and 380 more" in report_text(report)


def test_a_line_that_was_cut_short_is_skipped_and_reported(log: Log) -> None:
    log.restore()
    log.write_checkpoints([*log.lines[:9], log.lines[9][:40]])
    report = log.verify()
    assert (report.count, report.cut_short, report.newest) == (0, 1, 450)
    # Who cut it is not known.
    skipped = "1 incomplete line(s) of the checkpoints, as a power failure leaves them"
    assert f"skipped      {skipped}\n" in report_text(report)


def verify_log(audit_log: AuditLog, folder: Path) -> VerificationReport:
    file = folder / "checkpoints.jsonl"
    return verify.verify(audit_log.database.reading, audit_log.secrets, file)


def test_a_restored_key_is_found(
    record: AuditLog,
    fill: Fill,
    tmp_path: Path,
) -> None:
    fill(30)
    with record.database.reading() as connection:
        people = connection.exec_driver_sql("SELECT * FROM people").all()
    erased = erase_account(record.database, record.secrets, "lender", "acct-1", ORDER)
    assert erased is not None
    assert verify_log(record, tmp_path).count == 0
    [restored] = [tuple(row) for row in people if row.person == erased.data_subject]
    with record.database.writing() as connection:
        connection.exec_driver_sql("INSERT INTO people VALUES (?, ?, ?, ?)", restored)
    [finding] = verify_log(record, tmp_path).findings
    assert finding.row == 31
    assert finding.text == "says that a person was erased, but the person's key exists"


@settings(max_examples=15)
@given(erased=st.lists(st.integers(0, 39), unique=True, max_size=40))
def test_erased_persons_are_no_finding(
    tmp_path_factory: pytest.TempPathFactory, erased: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("erased")
    with contextlib.closing(AuditLog(settings_in(folder))) as audit_log:
        append(audit_log, numbered_entries(0, 60))
        for number in erased:
            erase_account(audit_log.database, audit_log.secrets, "lender", f"acct-{number}", ORDER)
    with contextlib.closing(AuditLog(settings_in(folder))) as reopened:
        assert verify_log(reopened, folder).count == 0


POSTGRESQL_TAMPERINGS = (
    "UPDATE entries SET facts = '{}' WHERE seq = 600",
    "UPDATE entries SET digest = '' "
    "WHERE seq = (SELECT min(seq) FROM entries WHERE digest IS NULL)",
    "UPDATE entries SET seq = 9000 WHERE seq = 5",
    "DELETE FROM entries WHERE seq = 501",
    "DELETE FROM entries WHERE seq > 690",
    r"UPDATE people SET sealed_key = sealed_key || '\x00'::bytea "
    "WHERE person = (SELECT min(person) FROM people)",
    "DELETE FROM people WHERE person = (SELECT min(person) FROM people)",
)


def test_in_postgresql_only_a_tampered_log_has_findings(postgres: AuditLog, tmp_path: Path) -> None:
    append(postgres, numbered_entries(0, 700))
    erased = erase_account(postgres.database, postgres.secrets, "lender", "acct-5", ORDER)
    assert erased is not None
    file = tmp_path / "checkpoints.jsonl"
    with postgres.database.reading() as connection:
        seq, row_hash = read_chain_head(connection)
    checkpoints.append(file, seq, row_hash, NOW, postgres.secrets.signer)
    report = verify_log(postgres, tmp_path)
    assert (report.rows, report.count, report.unwitnessed) == (701, 0, 0)
    for statement in each(POSTGRESQL_TAMPERINGS):
        assert count_findings_after(statement, postgres, file) > 0, statement


def count_findings_after(
    statement: str,
    audit_log: AuditLog,
    file: Path,
) -> int:
    """The number of findings after a statement, which is then rolled back."""
    with audit_log.database.engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE entries DISABLE TRIGGER ALL")
        assert connection.exec_driver_sql(statement).rowcount > 0
        reading = contextlib.nullcontext(connection)
        report = verify.verify(lambda: reading, audit_log.secrets, file)
        connection.rollback()
    return report.count


def test_rows_are_read_a_page_at_a_time(
    record: AuditLog,
    fill: Fill,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verify, "PAGE", 32)
    fill(300)
    begun = 0

    def count_and_read() -> AbstractContextManager[sa.Connection]:
        nonlocal begun
        begun += 1
        return record.database.reading()

    assert verify.verify(count_and_read, record.secrets, tmp_path / "none").rows == 300
    # Ten pages of 32 rows, and one that has none; the API keys, and the lists.
    assert begun == 13
