"""The keys as the gate holds them: read again every two seconds by a thread of their own, so that
no request waits for them.

A key that was made or revoked elsewhere counts two seconds later.  Where the database does not
answer, the keys last read go on holding; an expiry needs no reading and comes on time.
"""

from __future__ import annotations

import datetime
import logging
import threading
from collections.abc import Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError

from serving.auth.keys import Key, find_key, list_keys, open_database
from serving.storage.database import Database

LOGGER = logging.getLogger("clearline.gate")
SECONDS_BETWEEN = 2.0
_SECONDS_TO_START = 3.0
_OPEN_TO_LOOPBACK = (
    "there is no API key: only clients on this machine are answered, everybody else gets 403; "
    "`python -m serving keys new --tenant NAME --scopes score` makes a key"
)


class KeyCache:
    """What ``read`` returns, the record's keys unless given, kept up to date until :meth:`close`.

    ``known``: they were read at least once; until then nobody can be told apart.  ``needed``: a key
    was ever made, so that one must be shown, also where all have expired since.
    """

    def __init__(
        self,
        read: Callable[[], Sequence[Key]] | None = None,
        seconds_between: float = SECONDS_BETWEEN,
    ) -> None:
        self._read = read or _Stored()
        self._every = seconds_between
        self._by_id: dict[str, Key] = {}
        self._tried, self._closing = threading.Event(), threading.Event()
        self._answers = True
        self.known = False
        self.needed = False
        self._thread = threading.Thread(target=self._run, name="gate-keys", daemon=True)
        self._thread.start()

    def find(self, text: str) -> Key | None:
        """The live key with this text; None where there is none."""
        return find_key(text, self._by_id, datetime.datetime.now(datetime.UTC))

    def wait(self) -> None:
        """Return when they were read for the first time, or it was tried for 3 s."""
        self._tried.wait(_SECONDS_TO_START)

    def close(self) -> None:
        """Read no more.  A read that hangs is not waited for."""
        self._closing.set()
        self._thread.join(1)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._take(self._read())
            except Exception as error:  # noqa: BLE001  # whatever it is: a thread that ended would never learn of a revocation
                self._failed(error)
            self._tried.set()
            self._closing.wait(self._every)

    def _take(self, keys: Sequence[Key]) -> None:
        self._by_id = {key.key_id: key for key in keys}
        # Once there was a key, a record that was emptied or exchanged does not open the service to
        # keyless clients.
        self.needed = self.needed or bool(keys)
        if not self.known and not self.needed:
            LOGGER.warning(_OPEN_TO_LOOPBACK)
        self.known = True
        if not self._answers:
            LOGGER.warning("the API keys can be read again")
        self._answers = True

    def _failed(self, error: Exception) -> None:
        if self._answers:
            holding = "those last read go on holding" if self.known else "nobody can be answered"
            LOGGER.error("the API keys cannot be read (%s): %s", type(error).__name__, holding)
        self._answers = False


class _Stored:
    """Reads the record's keys, and opens the record where it is not open yet."""

    def __init__(self) -> None:
        self._database: Database | None = None

    def __call__(self) -> Sequence[Key]:
        if self._database is None:
            self._database = open_database()
        try:
            return list_keys(self._database)
        except SQLAlchemyError:
            self._database.reopen()
            raise
