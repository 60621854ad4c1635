"""The API keys in memory, refreshed every two seconds by a thread: no request waits for a read.

A new or revoked key takes effect within two seconds. If the database does not answer, the keys of
the last read stay valid; an expiry takes effect without a read.
"""

from __future__ import annotations

import datetime
import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy.exc import SQLAlchemyError

from serving.audit_log.privacy.key_file import read_secrets
from serving.auth.keys import Key, find_key, has_keys, list_keys
from serving.storage.database import Database, open_database
from serving.storage.settings import read_settings

LOGGER = logging.getLogger("clearline.gate")
SECONDS_BETWEEN_READS = 2.0
_SECONDS_FOR_FIRST_READ = 3.0


class KeyCache:
    """The keys that ``read`` returns, refreshed until :meth:`close`.

    Args:
        read: Returns all keys, by default those of the database that the environment names.
        seconds_between: From one read to the next.
        when_empty: Called once, if the first read finds that no key was ever created.
    """

    def __init__(
        self,
        read: Callable[[], Sequence[Key]] | None = None,
        seconds_between: float = SECONDS_BETWEEN_READS,
        when_empty: Callable[[], None] | None = None,
    ) -> None:
        self._read = read or _DatabaseKeys()
        self._seconds_between = seconds_between
        self._when_empty = when_empty
        self._by_id: dict[str, Key] = {}
        self._first_read, self._closing = threading.Event(), threading.Event()
        self._is_readable = True
        self.known = False  # read at least once: until then no caller can be authenticated
        self.needed = False  # a key was ever created: callers must send one, even if all expired
        self._thread = threading.Thread(target=self._run, name="gate-keys", daemon=True)
        self._thread.start()

    def find(self, text: str) -> Key | None:
        """The live key with this text; None if there is none."""
        return find_key(text, self._by_id, datetime.datetime.now(datetime.UTC))

    def wait(self) -> None:
        """Return after the first read, or after 3 s."""
        self._first_read.wait(_SECONDS_FOR_FIRST_READ)

    def close(self) -> None:
        """Stop reading. A read that hangs is abandoned after a second."""
        self._closing.set()
        self._thread.join(1)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._refresh(self._read())
            # A thread that ends would miss every later revocation.
            except Exception as error:  # noqa: BLE001
                self._fail(error)
            self._first_read.set()
            self._closing.wait(self._seconds_between)

    def _refresh(self, keys: Sequence[Key]) -> None:
        # Replaced as a whole: a request sees the old keys or the new ones, without a lock.
        by_id = {key.key_id: key for key in keys}
        self._log_refused(by_id)
        self._by_id = by_id
        # Never reset: an emptied or replaced database must not open the service to all callers.
        self.needed = self.needed or bool(keys)
        if not self.known and not self.needed and self._when_empty is not None:
            self._when_empty()
        self.known = True
        if not self._is_readable:
            LOGGER.warning("the API keys can be read again")
        self._is_readable = True

    def _log_refused(self, by_id: Mapping[str, Key]) -> None:
        for key in by_id.values():
            known = self._by_id.get(key.key_id)
            if key.problem is not None and (known is None or known.problem != key.problem):
                LOGGER.error("the API key %s is refused: it %s", key.key_id, key.problem)

    def _fail(self, error: Exception) -> None:
        if self._is_readable:
            effect = "those of the last read stay valid" if self.known else "no caller is answered"
            LOGGER.error("the API keys cannot be read (%s): %s", type(error).__name__, effect)
        self._is_readable = False


class _DatabaseKeys:
    """Reads the keys of the database that the environment names; opens it when first called."""

    def __init__(self) -> None:
        self._settings = read_settings()
        self._database: Database | None = None

    def __call__(self) -> Sequence[Key]:
        if self._database is None:
            self._database = open_database(self._settings)
        try:
            # A new audit log has no secrets before the service has made them, and no keys.
            if not has_keys(self._database):
                return []
            # Read each time: it is short, and no change of the file is missed.
            return list_keys(self._database, read_secrets(self._settings.secrets))
        except SQLAlchemyError:
            self._database.reopen()
            raise
