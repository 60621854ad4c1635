"""What the writer thread does with the database: commits, checkpoints, recovery.

After a failure the connections are dropped, and the database is queried under the writers' lock: a
commit whose confirmation was lost is then known to be stored or not.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from serving.audit_log import checkpoints
from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.memory import Account, newest_events
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.privacy.sealed_batch import SealedBatch, store_batch
from serving.audit_log.rows import (
    decode_rows,
    insert_entries,
    pack_contents,
    read_chain_head,
    unique_key_column,
)
from serving.storage.database import Database
from serving.storage.open_file import FileMovedError
from serving.storage.tables import entries, people, probe
from serving.web.telemetry.metrics import COMMIT_SECONDS

LOGGER = logging.getLogger("clearline.record")
ROWS_PER_CHECKPOINT = 256
SECONDS_PER_CHECKPOINT = 10.0
_PROBE_BYTES = 64 * 1024  # a database that accepts these accepts a decision

Item = Sequence[NewEntry]  # entries that are stored together or not at all
# Why an item was not stored: another entry has a unique key of it, or an account has a newer event
# than an entry follows from, or its person was erased.
Refusal = Literal["duplicate", "outdated"]

_EXISTING = sa.select(entries.c.entry_id, unique_key_column).where(
    entries.c.entry_id.in_(sa.bindparam("entry_ids", expanding=True))
    | unique_key_column.in_(sa.bindparam("unique_keys", expanding=True))
)


class Committer:
    """Commits items to one database; used by one thread.

    ``many_rows``: whether it stores many thousands of rows, one transaction after the other.
    ``ready``: whether the last write succeeded.
    """

    def __init__(
        self,
        database: Database,
        secrets: Secrets,
        checkpoint_file: Path,
        many_rows: bool = False,
    ) -> None:
        self._database, self._secrets, self._file = database, secrets, checkpoint_file
        self._many_rows = many_rows
        self._held: sa.Connection | None = None
        self._rows_unsigned, self._signed_at = 0, time.monotonic()
        self.ready = True

    def commit(self, items: Sequence[Item]) -> list[list[Entry] | Refusal]:
        """Commit the items in one transaction, but for those that are refused; durable on return.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the write failed; it may be stored all the same.
        """
        with COMMIT_SECONDS.time():
            try:
                stored = self._insert(items, find_duplicates=False)
            except IntegrityError:
                # Duplicates are rare and the query for them is not free: only after a failure.
                stored = self._insert(items, find_duplicates=True)
        self.ready = True
        self._rows_unsigned += sum(len(rows) for rows in stored if isinstance(rows, list))
        return stored

    def commit_sealed(self, batch: SealedBatch) -> bool:
        """Commit a batch in one transaction; durable on return.

        False if nothing was stored, because its accounts have changed since it was sealed, or
        because a row of it is stored already: :meth:`commit` says which of its entries can be.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the write failed; it may be stored all the same.
        """
        try:
            with COMMIT_SECONDS.time(), self._database.writing(self._hold()) as connection:
                is_stored = store_batch(connection, batch)
        except IntegrityError:
            return False
        self.ready = True
        self._rows_unsigned += len(batch.rows) if is_stored else 0
        return is_stored

    def find_committed(self, items: Sequence[Item]) -> list[list[Entry] | None]:
        """After a failure: the entries of each item as stored; None: certainly not stored."""
        entry_ids = [entry.entry_id for item in items for entry in item]
        query = sa.select(entries).where(entries.c.entry_id.in_(entry_ids))
        with self._database.reading_after_writes() as connection:
            rows = connection.execute(query).mappings().all()
            stored = {
                entry.entry_id: entry for entry in decode_rows(connection, rows, self._secrets)
            }
        found: list[list[Entry] | None] = []
        for item in items:
            is_stored = all(entry.entry_id in stored for entry in item)
            found.append([stored[entry.entry_id] for entry in item] if is_stored else None)
        return found

    def fail(self, error: Exception) -> None:
        """Note a failed write, and drop the connections."""
        if self.ready:
            cause = getattr(error, "orig", None) or error
            # Only of a moved file the text: others hold values.
            shown = str(error) if isinstance(error, FileMovedError) else type(cause).__name__
            LOGGER.error("the audit log does not accept writes: %s", shown)
        self.ready = False
        # The open connections lead to the file that was moved, and new ones would make another.
        if not isinstance(error, FileMovedError):
            self.reopen()

    def reopen(self) -> None:
        """Drop every connection; the next write opens a new one."""
        if self._held is not None:
            # Without this, `close` would return the connection to the pool for its next user.
            self._held.invalidate()
            self._held.close()
            self._held = None
        self._database.reopen()

    def probe(self) -> None:
        """Test whether the database accepts writes again; updates ``ready``."""
        try:
            for filler in (bytes(_PROBE_BYTES), b""):
                with self._database.writing() as connection:
                    connection.execute(probe.update().values(filler=filler))
        except SQLAlchemyError as error:
            self.fail(error)
        else:
            LOGGER.warning("the audit log accepts writes again")
            self.ready = True

    def sign_if_due(self) -> None:
        """Append a checkpoint if enough rows or enough time have passed since the last one."""
        many = self._rows_unsigned >= ROWS_PER_CHECKPOINT
        if many or time.monotonic() - self._signed_at >= SECONDS_PER_CHECKPOINT:
            self.sign()

    def sign(self) -> None:
        """Append a checkpoint if rows were written since the last one; a failure is logged."""
        if not self._rows_unsigned:
            return
        # Set first: after a failure the next attempt waits as long as after a success.
        self._signed_at = time.monotonic()
        now = datetime.datetime.now(datetime.UTC)
        try:
            with self._database.reading() as connection:
                seq, row_hash = read_chain_head(connection)
            checkpoints.append(self._file, seq, row_hash, now, self._secrets.signer)
        except (SQLAlchemyError, OSError) as error:
            LOGGER.error("no checkpoint could be written: %s", type(error).__name__)
            return
        self._rows_unsigned = 0

    def close(self) -> None:
        """Sign a last checkpoint and close the connection."""
        self.sign()
        if self._held is not None:
            self._held.close()

    def _hold(self) -> sa.Connection:
        if self._held is None:
            self._held = self._database.hold(self._many_rows)
        return self._held

    def _insert(self, items: Sequence[Item], find_duplicates: bool) -> list[list[Entry] | Refusal]:
        """Insert the items that are not refused, within one transaction."""
        # Not under the lock, for which other writers wait.
        packed = [[pack_contents(entry) for entry in item] for item in items]
        with self._database.writing(self._hold()) as connection:
            duplicates = _find_duplicates(connection, items) if find_duplicates else set()
            outdated = _find_outdated(connection, items, duplicates, self._secrets)
            outdated |= _find_erased(connection, items)
            refused = duplicates | outdated
            chosen = [place for place in range(len(items)) if place not in refused]
            together = [entry for place in chosen for entry in items[place]]
            contents = [one for place in chosen for one in packed[place]]
            stored = iter(insert_entries(connection, together, self._secrets, contents))
        found: list[list[Entry] | Refusal] = []
        for place, item in enumerate(items):
            if place in duplicates:
                found.append("duplicate")
            elif place in outdated:
                found.append("outdated")
            else:
                found.append([next(stored) for _ in item])
        return found


def _find_duplicates(connection: sa.Connection, items: Sequence[Item]) -> set[int]:
    """The places of items that share an entry id or unique key with the database or another item.

    Of two items that share one, the later is the duplicate.
    """
    together = [entry for item in items for entry in item]
    wanted = {
        "entry_ids": [entry.entry_id for entry in together],
        "unique_keys": [entry.unique_key for entry in together if entry.unique_key is not None],
    }
    used: set[str] = set()
    for row in connection.execute(_EXISTING, wanted):
        used.update(value for value in row if value is not None)
    duplicates: set[int] = set()
    for place, item in enumerate(items):
        own = {entry.entry_id for entry in item}
        own |= {entry.unique_key for entry in item if entry.unique_key is not None}
        if own.isdisjoint(used):
            used |= own
        else:
            duplicates.add(place)
    return duplicates


def _find_outdated(
    connection: sa.Connection,
    items: Sequence[Item],
    duplicates: Set[int],
    secrets: Secrets,
) -> set[int]:
    """The places of items with an entry that follows from an event that is not the newest any more.

    Of two items that follow from one event, the later is outdated. The writers' lock is held, so no
    other writer can append an event before this transaction ends.
    """
    accounts: dict[int, dict[Account, int]] = {}
    for place, item in enumerate(items):
        followed = {
            (entry.tenant, entry.account): entry.follows
            for entry in item
            if entry.account is not None and entry.follows is not None
        }
        if followed and place not in duplicates:
            accounts[place] = followed
    if not accounts:
        return set()
    named = {account for followed in accounts.values() for account in followed}
    newest: dict[Account, int | None] = dict(newest_events(connection, named, secrets))
    outdated: set[int] = set()
    for place, followed in accounts.items():
        if any(newest[account] != seq for account, seq in followed.items()):
            outdated.add(place)
        else:
            # The number of the row to come: no item of this transaction can follow from it.
            newest |= dict.fromkeys(followed)
    return outdated


def _find_erased(connection: sa.Connection, items: Sequence[Item]) -> set[int]:
    """The places of items about a person who was erased since."""
    named: dict[int, set[str]] = {}
    for place, item in enumerate(items):
        people_of_item = {one.data_subject for one in item if one.data_subject is not None}
        if people_of_item:
            named[place] = people_of_item
    if not named:
        return set()
    wanted = sorted(set().union(*named.values()))
    query = sa.select(people.c.person)
    query = query.where(people.c.person.in_(wanted))
    present = set(connection.scalars(query))
    return {place for place, own in named.items() if not own <= present}
