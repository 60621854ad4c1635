"""What the writer thread does with the database: commits, checkpoints, recovery.

After a failure the connections are dropped, and the database is queried under the writers' lock: a
commit whose confirmation was lost is then known to be stored or not.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from serving.audit_log import checkpoints
from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.rows import decode_rows, insert_entries, read_chain_head, unique_key_column
from serving.storage.database import Database
from serving.storage.open_file import FileMovedError
from serving.storage.tables import entries, probe

LOGGER = logging.getLogger("clearline.record")
ROWS_PER_CHECKPOINT = 256
SECONDS_PER_CHECKPOINT = 10.0
_PROBE_BYTES = 64 * 1024  # a database that accepts these accepts a decision

Item = Sequence[NewEntry]  # entries that are stored together or not at all

_EXISTING = sa.select(entries.c.entry_id, unique_key_column).where(
    entries.c.entry_id.in_(sa.bindparam("entry_ids", expanding=True))
    | unique_key_column.in_(sa.bindparam("unique_keys", expanding=True))
)


class Committer:
    """Commits items to one database; used by one thread.

    ``ready``: whether the last write succeeded.
    """

    def __init__(
        self,
        database: Database,
        secrets: Secrets,
        checkpoint_file: Path,
    ) -> None:
        self._database, self._secrets, self._file = database, secrets, checkpoint_file
        self._held: sa.Connection | None = None
        self._rows_unsigned, self._signed_at = 0, time.monotonic()
        self.ready = True

    def commit(self, items: Sequence[Item]) -> list[list[Entry] | None]:
        """Commit the items in one transaction; durable on return. None: an item is a duplicate.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the write failed; it may be stored all the same.
        """
        try:
            stored = self._insert(items, [True] * len(items))
        except IntegrityError:
            # Duplicates are rare and the query for them is not free: it runs only after a failure.
            stored = self._insert(items, None)
        self.ready = True
        self._rows_unsigned += sum(len(rows or ()) for rows in stored)
        return stored

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

    def _insert(self, items: Sequence[Item], new: list[bool] | None) -> list[list[Entry] | None]:
        """Insert the items that are ``new`` (None: the database decides which are)."""
        if self._held is None:
            self._held = self._database.hold()
        with self._database.writing(self._held) as connection:
            if new is None:
                new = _find_new(connection, items)
            chosen = [item for item, is_new in zip(items, new, strict=True) if is_new]
            together = [entry for item in chosen for entry in item]
            stored = iter(insert_entries(connection, together, self._secrets))
        found: list[list[Entry] | None] = []
        for item, is_new in zip(items, new, strict=True):
            found.append([next(stored) for _ in item] if is_new else None)
        return found


def _find_new(connection: sa.Connection, items: Sequence[Item]) -> list[bool]:
    """Which items share no entry id or unique key with the database or an earlier item."""
    together = [entry for item in items for entry in item]
    wanted = {
        "entry_ids": [entry.entry_id for entry in together],
        "unique_keys": [entry.unique_key for entry in together if entry.unique_key is not None],
    }
    used: set[str] = set()
    for row in connection.execute(_EXISTING, wanted):
        used.update(value for value in row if value is not None)
    new = []
    for item in items:
        own = {entry.entry_id for entry in item}
        own |= {entry.unique_key for entry in item if entry.unique_key is not None}
        is_new = own.isdisjoint(used)
        new.append(is_new)
        if is_new:
            used |= own
    return new
