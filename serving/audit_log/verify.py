"""Whether the record is what was written: every row in its place, unchanged, and as the signed
checkpoints say.

The chain shows an edit, a deletion, an insertion or a swap, unless all later hashes were written
anew; the checkpoints show that, and rows cut off the end.  What neither can show stands in the
verdict too.
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
from serving.audit_log.hash_chain import GENESIS, hash_of
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.privacy.persons import bound_to, unseal
from serving.storage.tables import entries, people

MOST_NAMED = 20  # findings; where one row is wrong, thousands after it may be
_TOGETHER = 500  # rows or checkpoints in memory at a time
# As they are stored: SQLite takes any type in any column, and a type that converts what it reads
# would hide that.
_RAW = [sa.type_coerce(column, sa.types.NullType()).label(column.name) for column in entries.c]
_number = sa.type_coerce(entries.c.seq, sa.types.NullType())
_KINDS = {sa.BigInteger: int, sa.String: str, sa.Text: str, sa.LargeBinary: bytes}
_TYPES = {
    column.name: {_KINDS[type(column.type)]} | ({type(None)} if column.nullable else set())
    for column in entries.c
}
_UNREADABLE = object()

Reading = Callable[[], AbstractContextManager[sa.Connection]]  # a transaction that sees one state


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, in words; ``row`` is the place in the record, None where it is none row's."""

    row: int | None
    what: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found in ``rows`` rows with ``signed`` checkpoints, the newest of which speaks of
    row ``newest`` (0 = none).

    ``findings`` are the first of the ``found``; nothing is wrong where there is none.
    ``cut_short`` lines of checkpoints were passed over.
    """

    rows: int
    signed: int
    newest: int
    cut_short: int
    found: int
    findings: tuple[Finding, ...]

    @property
    def unwitnessed(self) -> int:
        """The rows after the newest checkpoint."""
        return max(self.rows - self.newest, 0)


@dataclass(slots=True)
class _Findings:
    """Counts all, and holds on to the first."""

    count: int = 0
    first: list[Finding] = field(default_factory=list)

    def add(self, row: int | None, what: str) -> None:
        self.count += 1
        if len(self.first) < MOST_NAMED:
            self.first.append(Finding(row, what))


def verify(reading: Reading, secrets: Secrets, checkpoint_file: Path) -> Verdict:
    """What is wrong with a record, read a page at a time; rows may be added meanwhile.

    ``reading`` begins a transaction, as :meth:`serving.storage.database.Database.reading` does.
    """
    # Before the rows are walked: of what is written meanwhile, only rows can be seen to be more.
    witnessed = _Findings()
    signed, newest, cut_short = _checkpoints(reading, secrets, checkpoint_file, witnessed)
    walked = _Findings()
    rows = _walk(reading, secrets, walked)
    first = sorted(
        witnessed.first + walked.first, key=lambda one: (one.row is not None, one.row or 0)
    )
    return Verdict(
        rows, signed, newest, cut_short, witnessed.count + walked.count, tuple(first[:MOST_NAMED])
    )


def _checkpoints(
    reading: Reading, secrets: Secrets, file: Path, found: _Findings
) -> tuple[int, int, int]:
    """How many were signed, the row of the newest, and how many lines were cut short."""
    signed, newest, cut_short = 0, 0, 0
    lines = checkpoints.lines(file, secrets.verifier)
    while page := list(islice(lines, _TOGETHER)):
        for number, said in page:
            if said is Flaw.NOT_SIGNED:
                found.add(None, f"line {number} of the checkpoints {said.value}")
        cut_short += sum(said is Flaw.CUT_SHORT for _, said in page)
        spoken = [said for _, said in page if isinstance(said, Checkpoint)]
        signed, newest = signed + len(spoken), max([newest, *(one.seq for one in spoken)])
        hashes = _hashes(reading, [one.seq for one in spoken])
        for one in spoken:
            if one.seq not in hashes:
                found.add(one.seq, f"is missing: a checkpoint of it was signed at {one.at}")
            elif hashes[one.seq] != one.hash:
                found.add(
                    one.seq,
                    f"is not the one of which a checkpoint was signed at {one.at}: it, or one before, was rewritten",
                )
    return signed, newest, cut_short


def _hashes(reading: Reading, numbers: Sequence[int]) -> dict[Any, Any]:
    chosen = sa.select(_number, sa.type_coerce(entries.c.hash, sa.types.NullType())).where(
        _number.in_(numbers)
    )
    with reading() as connection:
        return {row[0]: row[1] for row in connection.execute(chosen)}


def _walk(reading: Reading, secrets: Secrets, found: _Findings) -> int:
    """Every row against the one before it, and its content against its person's key; how many there
    are.
    """
    count, expected, before = 0, 1, GENESIS
    for page in _pages(reading, secrets):
        count += len(page.rows)
        for row in page.rows:
            number = row["seq"]
            if type(number) is not int:
                found.add(None, f"a row has {number!r} for its number")
                continue
            if number < expected:
                found.add(number, "is a row too many: rows are numbered from 1")
            elif number > expected:
                gone = (
                    f"row {expected} is"
                    if number == expected + 1
                    else f"rows {expected} to {number - 1} are"
                )
                found.add(number, f"does not follow: {gone} missing")
            _check(row, before, page, found)
            expected, before = max(number + 1, expected), row["hash"]
    return count


@dataclass(frozen=True, slots=True)
class _Page:
    """Rows as they are stored.

    ``keys``: person -> key, None = it does not open; those that were destroyed are missing, and
    ``gone`` are those of whom no erasure says so.
    """

    rows: Sequence[Mapping[str, Any]]
    keys: Mapping[str, bytes | None]
    gone: frozenset[str]


def _check(row: Mapping[str, Any], before: Any, page: _Page, found: _Findings) -> None:
    """What is wrong with a row that comes after the one with the hash ``before``."""
    number, person = row["seq"], row["person"]
    odd = [name for name, types in _TYPES.items() if type(row[name]) not in types]
    if odd:
        found.add(number, f"holds in {', '.join(odd)} what is never written there")
    if row["before"] != before:
        found.add(
            number,
            "does not continue the row before it: one of the two was changed, or rows between them are missing",
        )
    if odd:
        return
    if hash_of(row, row["before"]) != row["hash"]:
        found.add(number, "was changed after it was written")
    key = page.keys.get(person)
    if person in page.gone:
        found.add(number, "is of a person whose key is gone, and no erasure says so")
    elif person in page.keys and key is None:
        found.add(number, "is of a person whose key does not open")
    elif key is not None and not all(_opens(row, name, key) for name in ("asked", "answered")):
        found.add(number, "holds sealed content that its person's key does not open")
    if row["kind"] == "erasure" and row["subject"] in page.keys:
        found.add(number, "says that a person was erased whose key is there")


def _opens(row: Mapping[str, Any], name: str, key: bytes) -> bool:
    try:
        unseal(row[name], key, f"{row['entry_id']} {name}")
    except (InvalidTag, ValueError):  # ValueError: too short to have been sealed
        return False
    return True


def _pages(reading: Reading, secrets: Secrets) -> Iterator[_Page]:
    """Every row in order; each page is a transaction of its own, so that nobody who writes waits
    for long.
    """
    last: Any = None
    while True:
        chosen = sa.true() if last is None else _number > last
        with reading() as connection:
            page = _page(connection, _read(connection, chosen), secrets)
        if not page.rows:
            return
        yield page
        last = page.rows[-1]["seq"]
        if last is None:  # no row has a number; there is no going on from there
            return


def _page(connection: sa.Connection, rows: Sequence[Mapping[str, Any]], secrets: Secrets) -> _Page:
    persons = {row["person"] for row in rows if isinstance(row["person"], str)}
    erased = {
        row["subject"]
        for row in rows
        if row["kind"] == "erasure" and isinstance(row["subject"], str)
    }
    # Cast: SQLite may hold text there, which need not even be text.
    chosen = sa.select(
        people.c.person,
        sa.cast(people.c.account, sa.LargeBinary),
        sa.cast(people.c.sealed_key, sa.LargeBinary),
    )
    sealed = connection.execute(chosen.where(people.c.person.in_(sorted(persons | erased))))
    keys = {person: _key(content, person, account, secrets) for person, account, content in sealed}
    lost = sorted(persons - keys.keys())
    said = sa.select(entries.c.subject).where(
        entries.c.kind == "erasure", entries.c.subject.in_(lost)
    )
    gone = set(lost) - set(connection.scalars(said)) if lost else set()
    return _Page(rows, keys, frozenset(gone))


def _key(
    sealed: bytes | None, person: str, account: bytes | None, secrets: Secrets
) -> bytes | None:
    try:
        return unseal(sealed, secrets.sealing_key, bound_to(person, (account or b"").decode()))
    except (InvalidTag, ValueError):
        return None


def _read(connection: sa.Connection, chosen: sa.ColumnElement[bool]) -> Sequence[Mapping[str, Any]]:
    """The next rows among the chosen; a value that cannot be read is ``_UNREADABLE``."""
    try:
        rows = connection.execute(
            sa.select(*_RAW).where(chosen).order_by(_number).limit(_TOGETHER)
        ).mappings()
        return [dict(row) for row in rows]
    except OperationalError as error:
        if not _is_no_text(error):
            raise
    numbers = connection.scalars(
        sa.select(_number).where(chosen).order_by(_number).limit(_TOGETHER)
    ).all()
    return [_row(connection, number) for number in numbers]


def _row(connection: sa.Connection, number: Any) -> Mapping[str, Any]:
    """The row of this number, value by value where it cannot be read whole."""
    whole = _read_if_text(connection, sa.select(*_RAW).where(_number == number))
    if whole is not _UNREADABLE:
        return dict(zip(_TYPES, whole, strict=True))
    values = (
        _read_if_text(connection, sa.select(column).where(_number == number)) for column in _RAW
    )
    return {
        name: value if value is _UNREADABLE else value[0]
        for name, value in zip(_TYPES, values, strict=True)
    }


def _read_if_text(connection: sa.Connection, chosen: sa.Select[*tuple[Any, ...]]) -> Any:
    try:
        return connection.execute(chosen).one()
    except OperationalError as error:
        if _is_no_text(error):
            return _UNREADABLE
        raise


def _is_no_text(error: OperationalError) -> bool:
    """Whether SQLite holds bytes as text that are none."""
    return "decode to UTF-8" in str(error.orig)


def verdict_text(verdict: Verdict) -> str:
    """The verdict in words, with what it cannot see.

    >>> print(verdict_text(Verdict(rows=3, signed=1, newest=2, cut_short=0, found=0, findings=())))  # doctest: +ELLIPSIS
    rows         3
    checkpoints  1, the newest of row 2
    findings     none
    not seen     what became of rows after the newest checkpoint, now 1: who can write the database could ...
    """
    newest = f", the newest of row {verdict.newest}" if verdict.signed else ""
    lines = [f"rows         {verdict.rows}", f"checkpoints  {verdict.signed}{newest}"]
    if verdict.cut_short:
        lines.append(
            f"passed over  lines cut short, as a power failure leaves one: {verdict.cut_short}"
        )
    lines.append(f"findings     {verdict.found or 'none'}")
    lines += [
        f"  {'' if one.row is None else f'row {one.row} '}{one.what}" for one in verdict.findings
    ]
    if verdict.found > len(verdict.findings):
        lines.append(f"  and {verdict.found - len(verdict.findings)} more")
    return "\n".join([*lines, f"not seen     {_unseen(verdict)}"])


def _unseen(verdict: Verdict) -> str:
    if not verdict.signed:
        return (
            "there is no checkpoint: only that the rows fit one another was verified.  Who can write the database could have "
            "cut rows off the end, or written all of them anew"
        )
    return (
        f"what became of rows after the newest checkpoint, now {verdict.unwitnessed}: who can write the database could cut "
        "them off, write them anew or add to them"
    )
