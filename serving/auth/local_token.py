"""The token of callers on this machine, for a service that has no API key.

A proxy on this machine connects from a loopback address too, so an address proves nothing about the
caller. The service writes a token to a file that only its own user can read. A caller that sends
the token can read files of that user; a request from the network cannot.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from serving.storage.errors import StorageError
from serving.storage.settings import StorageSettings

_MODE = 0o600
_OTHERS = 0o077  # the permissions of everybody but the owner


def token_file(settings: StorageSettings) -> Path:
    """Return the token's file: beside the SQLite file, or beside the secrets of a PostgreSQL.

    >>> from serving.storage.settings import read_settings
    >>> str(token_file(read_settings({})))
    '.clearline/record.db.token'
    """
    place = settings.file or settings.secrets
    return place.with_name(f"{place.name}.token")


def read_token(file: Path) -> str | None:
    """Return the token in a file; None if there is no file that only its owner can read."""
    try:
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            text = opened.read().decode("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    is_own = status.st_uid == os.geteuid()
    is_shown = stat.S_IMODE(status.st_mode) & _OTHERS
    if not is_own or is_shown:
        return None
    return text.strip() or None


def discard_token(file: Path) -> None:
    """Remove the token of an earlier start; the next :class:`LocalToken` makes a new one.

    A file that cannot be removed is left: the service needs the token only without API keys.
    """
    with contextlib.suppress(OSError):
        file.unlink()


class LocalToken:
    """The token in a file, which several workers share: the first one that needs it writes it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._token: str | None = None

    def create(self) -> None:
        """Read the token, or write one if there is none.

        Raises:
            StorageError: the file cannot be written.
        """
        self._token = read_token(self.file) or _write(self.file)

    def matches(self, sent: str) -> bool:
        """Return whether a caller sent the token.

        Raises:
            StorageError: there is no token yet, and the file cannot be written.
        """
        if self._token is None:
            self.create()
        if _is_equal(sent, self._token):
            return True
        # Another service with the same database may have replaced the file.
        self._token = read_token(self.file) or self._token
        return _is_equal(sent, self._token)


def _is_equal(sent: str, token: str | None) -> bool:
    return token is not None and hmac.compare_digest(sent.encode(), token.encode())


def _write(file: Path) -> str:
    """Write a new token and return it, or the token of a worker that was faster."""
    random = secrets.token_urlsafe(32)
    token = f"local_{random}"
    ending = secrets.token_hex(8)
    draft = file.with_name(f"{file.name}.{ending}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            _write_draft(draft, token)
            return _publish(draft, file, token)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        message = f"the token of local callers cannot be written to {file}: {error.strerror}"
        raise StorageError(message) from error


def _write_draft(draft: Path, token: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    descriptor = os.open(draft, flags, _MODE)
    with open(descriptor, "w", encoding="ascii") as opened:
        opened.write(f"{token}\n")


def _publish(draft: Path, file: Path, token: str) -> str:
    """Give the draft its name, unless another worker has; returns the token in force."""
    try:
        # Unlike a rename, a link fails if the file exists: all workers use the first one's.
        os.link(draft, file)
    except FileExistsError:
        if faster := read_token(file):
            return faster
        # Others can read this file, or it is empty: it holds no secret.
        draft.replace(file)
    except OSError:
        # The file system has no hard links. The last worker's token counts: see `matches`.
        draft.replace(file)
    return token
