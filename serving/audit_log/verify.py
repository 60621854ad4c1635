"""Verifies the audit log: every row in place and unchanged, and as the signed checkpoints state.

The chain shows a row that was edited, deleted, inserted or moved, unless all later hashes were
recomputed. The checkpoints show that too, and rows cut off the end. The report also says what
neither can show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from sqlalchemy.exc import OperationalError

from serving.audit_log import checkpoints
from serving.audit_log.checkpoints import Checkpoint, Flaw
from serving.audit_log.hash_chain import GENESIS, hash_row
from serving.audit_log.privacy.api_key_macs import (
    KEY_KINDS,
    NOT_ADOPTED,
    REMOVED,
    read_stored_keys,
)
from serving.audit_log.privacy.data_subjects import try_subject_keys
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.privacy.record_secrets import keys_to_adopt
from serving.audit_log.rows import data_subject_column, is_readable
from serving.storage.tables import entries, not_a_decision
from serving.storage.triggers.lists import find_wrong_rows

MAX_FINDINGS = 20  # named in a report; one wrong row may cause thousands
PAGE = 500  # rows or checkpoints in memory at a time


def _uncoerced(column: sa.Column[Any]) -> sa.Label[Any]:
    """The column as stored: a type that converts on reading would hide a value of another type."""
    return sa.type_coerce(column, sa.types.NullType()).label(column.name)


# SQLite stores any type in any column, so the types are checked here.
_RAW = [_uncoerced(column) for column in entries.c]
_seq = sa.type_coerce(entries.c.seq, sa.types.NullType())
_PYTHON_TYPES = {
    sa.BigInteger: int,
    sa.String: str,
    sa.Text: str,
    sa.LargeBinary: bytes,
}
_TYPES = {
    column.name: {_PYTHON_TYPES[type(column.type)]} | ({type(None)} if column.nullable else set())
    for column in entries.c
}
_UNREADABLE = object()  # stands for a value that the driver cannot convert

Reading = Callable[[], AbstractContextManager[sa.Connection]]  # a transaction that sees one state
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class VerificationFinding:
    """One thing that is wrong; ``row`` is its ``seq``, None if it is not about a row."""

    row: int | None
    text: str


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """The result of :func:`verify`; nothing is wrong if ``count`` is 0."""

    rows: int
    checkpoints: int  # with a valid signature
    newest: int  # row of the newest checkpoint, 0 = no checkpoint
    cut_short: int  # lines of the checkpoint file that were skipped
    count: int  # of findings
    findings: tuple[VerificationFinding, ...]  # the first MAX_FINDINGS
    not_adopted: int = 0  # API keys of an earlier version, which no service answers

    @property
    def unwitnessed(self) -> int:
        """The number of rows after the newest checkpoint."""
        return max(self.rows - self.newest, 0)


@dataclass(slots=True)
class _Findings:
    """Counts all findings and keeps the first."""

    count: int = 0
    first: list[VerificationFinding] = field(default_factory=list)

    def add(self, row: int | None, text: str) -> None:
        self.count += 1
        if len(self.first) < MAX_FINDINGS:
            self.first.append(VerificationFinding(row, text))


@dataclass(slots=True)
class _Witnesses:
    """What the checkpoint file states."""

    signed: int = 0
    newest: int = 0
    cut_short: int = 0


@dataclass(frozen=True, slots=True)
class _Page:
    """Rows as stored."""

    rows: Sequence[Row]
    keys: Mapping[str, bytes | None]  # by data subject; None = it fails to decrypt
    lost: frozenset[str]  # data subjects without a key and without an erasure


def verify(
    reading: Reading,
    secrets: Secrets,
    checkpoint_file: Path,
) -> VerificationReport:
    """Verify an audit log, page by page; rows may be added while it runs.

    Args:
        reading: Begins a transaction, as :meth:`serving.storage.database.Database.reading`.
        secrets: The secrets of the audit log.
        checkpoint_file: Its checkpoints; it may be missing.
    """
    # Checkpoints first: a checkpoint that is written after the rows were read would seem wrong.
    from_checkpoints, from_rows = _Findings(), _Findings()
    witnesses = _verify_checkpoints(reading, secrets, checkpoint_file, from_checkpoints)
    logged_keys: set[str] = set()
    rows = _verify_rows(reading, secrets, from_rows, logged_keys)
    not_adopted = _verify_api_keys(reading, secrets, from_checkpoints, logged_keys)
    # Lists follow from rows: beside a changed row, nothing can be said about them.
    if not from_rows.count + from_checkpoints.count:
        _verify_lists(reading, from_rows)
    in_order = sorted(from_checkpoints.first + from_rows.first, key=_place)
    return VerificationReport(
        rows=rows,
        checkpoints=witnesses.signed,
        newest=witnesses.newest,
        cut_short=witnesses.cut_short,
        count=from_checkpoints.count + from_rows.count,
        findings=tuple(in_order[:MAX_FINDINGS]),
        not_adopted=not_adopted,
    )


def _place(finding: VerificationFinding) -> tuple[bool, int]:
    return finding.row is not None, finding.row or 0


def _verify_lists(reading: Reading, findings: _Findings) -> None:
    """Compare the tables behind the lists of the API with the rows that they follow from."""
    with reading() as connection:
        for seq, fault in find_wrong_rows(connection):
            findings.add(seq, fault)


def _verify_checkpoints(
    reading: Reading,
    secrets: Secrets,
    file: Path,
    findings: _Findings,
) -> _Witnesses:
    """Compare the rows with every checkpoint."""
    witnesses = _Witnesses()
    lines = checkpoints.read_lines(file, secrets.verifier)
    while page := list(islice(lines, PAGE)):
        signed = []
        for number, parsed in page:
            if isinstance(parsed, Checkpoint):
                signed.append(parsed)
            elif parsed is Flaw.CUT_SHORT:
                witnesses.cut_short += 1
            else:
                findings.add(None, f"line {number} of the checkpoints {parsed.value}")
        witnesses.signed += len(signed)
        witnesses.newest = max([witnesses.newest, *(one.seq for one in signed)])
        _compare_hashes(reading, signed, findings)
    return witnesses


def _compare_hashes(
    reading: Reading,
    signed: Sequence[Checkpoint],
    findings: _Findings,
) -> None:
    raw_hash = sa.type_coerce(entries.c.hash, sa.types.NullType())
    query = sa.select(_seq, raw_hash).where(_seq.in_([one.seq for one in signed]))
    with reading() as connection:
        hashes = {row[0]: row[1] for row in connection.execute(query)}
    for one in signed:
        if one.seq not in hashes:
            findings.add(one.seq, f"is missing: a checkpoint of it was signed at {one.at}")
        elif hashes[one.seq] != one.hash:
            findings.add(
                one.seq,
                f"differs from its checkpoint, signed at {one.at}: it or an earlier row was "
                "rewritten",
            )


def _verify_rows(
    reading: Reading,
    secrets: Secrets,
    findings: _Findings,
    logged_keys: set[str],
) -> int:
    """Compare every row with the row before it and with its data subject's key; counts the rows.

    Adds the API keys that a row is about to ``logged_keys``.
    """
    count, expected, before = 0, 1, GENESIS
    for page in _pages(reading, secrets):
        count += len(page.rows)
        for row in page.rows:
            seq = row["seq"]
            if type(seq) is not int:
                findings.add(None, f"a row has the number {seq!r}")
                continue
            if seq != expected:
                findings.add(seq, _gap_text(seq, expected))
            _verify_row(row, before, page, findings)
            if row["kind"] in KEY_KINDS and isinstance(row["subject"], str):
                logged_keys.add(row["subject"])
            expected, before = max(seq + 1, expected), row["hash"]
    return count


def _verify_api_keys(
    reading: Reading,
    secrets: Secrets,
    findings: _Findings,
    logged_keys: set[str],
) -> int:
    """Compare the API keys with the rows about them; counts those that were not adopted."""
    try:
        # After the rows: a key that is made between the two has a row by then.
        with reading() as connection:
            stored = read_stored_keys(connection, secrets, keys_to_adopt(connection, secrets))
    except OperationalError as error:
        if not _is_invalid_text(error):
            raise
        findings.add(None, "the API keys or the rows about them hold text that is not UTF-8")
        return 0
    except InvalidTag:
        findings.add(None, "the marker of the secrets was changed")
        return 0
    for one in stored:
        if one.problem not in (None, NOT_ADOPTED):
            findings.add(None, f"API key {one.row['key_id']} {one.problem}")
    for key_id in sorted(logged_keys - {one.row["key_id"] for one in stored}):
        findings.add(None, f"API key {key_id} {REMOVED}")
    return sum(one.problem == NOT_ADOPTED for one in stored)


def _gap_text(seq: int, expected: int) -> str:
    if seq < expected:
        return "is one row too many: rows are numbered from 1"
    if seq == expected + 1:
        return f"does not follow: row {expected} is missing"
    return f"does not follow: rows {expected} to {seq - 1} are missing"


def _verify_row(
    row: Row,
    before: Any,
    page: _Page,
    findings: _Findings,
) -> None:
    """Compare a row with ``before``, the hash of the row before it, and decrypt its content."""
    seq = row["seq"]
    wrong_types = [name for name, types in _TYPES.items() if type(row[name]) not in types]
    if wrong_types:
        findings.add(seq, f"holds a value of another type in {', '.join(wrong_types)}")
    if row["before"] != before:
        findings.add(
            seq,
            "does not continue the row before it: one of the two was changed, or rows between "
            "them are missing",
        )
    if wrong_types:
        return  # such a row cannot be hashed
    if hash_row(row, row["before"]) != row["hash"]:
        findings.add(seq, "was changed after it was written")
    if problem := _key_problem(row, page):
        findings.add(seq, problem)
    if row["kind"] == "erasure" and row["subject"] in page.keys:
        findings.add(seq, "says that a person was erased, but the person's key exists")


def _key_problem(row: Row, page: _Page) -> str | None:
    person = row[data_subject_column.name]
    if person in page.lost:
        return "is about a person whose key is missing without an erasure"
    if person not in page.keys:
        return None
    key = page.keys[person]
    if key is None:
        return "is about a person whose key cannot be decrypted"
    if not is_readable(row, key):
        return "holds content that the person's key does not decrypt"
    return None


def _pages(reading: Reading, secrets: Secrets) -> Iterator[_Page]:
    """Every row in order. Each page is a transaction of its own: writers do not wait for long."""
    last: Any = None
    while True:
        chosen = sa.true() if last is None else _seq > last
        with reading() as connection:
            page = _complete_page(connection, _read_rows(connection, chosen), secrets)
        if not page.rows:
            return
        yield page
        last = page.rows[-1]["seq"]
        if last is None:  # no row of the page has a number to continue from
            return


def _complete_page(
    connection: sa.Connection,
    rows: Sequence[Row],
    secrets: Secrets,
) -> _Page:
    named = (row[data_subject_column.name] for row in rows)
    persons = {one for one in named if isinstance(one, str)}
    erased = {row["subject"] for row in rows if row["kind"] == "erasure"}
    keys = try_subject_keys(
        connection,
        persons | {one for one in erased if isinstance(one, str)},
        secrets,
    )
    without_key = persons - keys.keys()
    erasures = sa.select(entries.c.subject).where(
        # Implied by the kind, and the condition of the index.
        not_a_decision,
        entries.c.kind == "erasure",
        entries.c.subject.in_(sorted(without_key)),
    )
    explained = set(connection.scalars(erasures)) if without_key else set()
    return _Page(rows, keys, frozenset(without_key - explained))


def _read_rows(connection: sa.Connection, chosen: sa.ColumnElement[bool]) -> Sequence[Row]:
    """The next rows; a value that cannot be read is ``_UNREADABLE``."""
    try:
        query = sa.select(*_RAW).where(chosen).order_by(_seq).limit(PAGE)
        return [dict(row) for row in connection.execute(query).mappings()]
    except OperationalError as error:
        if not _is_invalid_text(error):
            raise
    numbers = sa.select(_seq).where(chosen).order_by(_seq).limit(PAGE)
    return [_read_row(connection, seq) for seq in connection.scalars(numbers).all()]


def _read_row(connection: sa.Connection, seq: Any) -> Row:
    """One row, column by column if it cannot be read as a whole."""
    whole = _read_one(connection, sa.select(*_RAW).where(_seq == seq))
    if whole is not _UNREADABLE:
        return dict(zip(_TYPES, whole, strict=True))
    row = {}
    for name, column in zip(_TYPES, _RAW, strict=True):
        value = _read_one(connection, sa.select(column).where(_seq == seq))
        row[name] = value if value is _UNREADABLE else value[0]
    return row


def _read_one(connection: sa.Connection, query: sa.Select[*tuple[Any, ...]]) -> Any:
    try:
        return connection.execute(query).one()
    except OperationalError as error:
        if _is_invalid_text(error):
            return _UNREADABLE
        raise


def _is_invalid_text(error: OperationalError) -> bool:
    """Whether SQLite holds text that is not valid UTF-8."""
    return "decode to UTF-8" in str(error.orig)
