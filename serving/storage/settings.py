"""The settings of the service: read from the environment once per service or command."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from serving.storage.address import parse_address, sqlite_address
from serving.storage.errors import StorageError

FOLDER = Path(".clearline")  # of the SQLite file, below the folder that the service starts in
# A batch has twice the time: to decide on a hundred accounts with advice takes more than a second.
BATCH_DEADLINES = 2
_MAX_DEADLINE = 60.0  # seconds
_MAX_DRAIN = 3600.0  # seconds
SHADOW = "CLEARLINE_SHADOW"


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """Where the audit log, its secrets and its checkpoints are, and how long a caller waits."""

    address: str  # CLEARLINE_RECORD: sqlite:///path or postgresql://user@host/name
    secrets: Path  # CLEARLINE_SECRETS: a file outside the database, created if missing
    checkpoints: Path  # CLEARLINE_CHECKPOINTS: a file outside the database
    # CLEARLINE_DEADLINE: seconds from a request's arrival to its answer, 2 by default
    deadline: float

    @property
    def file(self) -> Path | None:
        """The SQLite file; None for a PostgreSQL server.

        Raises:
            StorageError: as :func:`serving.storage.address.parse_address`.
        """
        url = parse_address(self.address)
        return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def read_settings(environment: Mapping[str, str] = os.environ) -> StorageSettings:
    """Read the settings from environment variables.

    Raises:
        StorageError: the deadline is not a number in (0, 60].

    >>> read_settings({}).address, read_settings({"CLEARLINE_DEADLINE": "0.5"}).deadline
    ('sqlite:///.clearline/record.db', 0.5)
    """
    return StorageSettings(
        address=environment.get("CLEARLINE_RECORD") or sqlite_address(FOLDER / "record.db"),
        secrets=Path(environment.get("CLEARLINE_SECRETS") or FOLDER / "secrets.json"),
        checkpoints=Path(environment.get("CLEARLINE_CHECKPOINTS") or FOLDER / "checkpoints.jsonl"),
        deadline=_parse_deadline(environment.get("CLEARLINE_DEADLINE", "2")),
    )


def read_drain(environment: Mapping[str, str] = os.environ) -> float:
    """Return ``CLEARLINE_DRAIN``: for how many seconds an ending service still takes requests.

    Raises:
        StorageError: it is not a number in [0, 3600].

    >>> read_drain({}), read_drain({"CLEARLINE_DRAIN": "15"})
    (2.0, 15.0)
    """
    text = environment.get("CLEARLINE_DRAIN", "2")
    try:
        drain = float(text)
    except ValueError:
        drain = -1.0
    if not 0 <= drain <= _MAX_DRAIN:
        raise StorageError(f"CLEARLINE_DRAIN: expected seconds in [0, 3600], got {text!r}")
    return drain


def read_shadow(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return ``CLEARLINE_SHADOW``: the version or digest of a stored bundle that decides along.

    >>> read_shadow({}), read_shadow({"CLEARLINE_SHADOW": "3f2ab1c0"})
    (None, '3f2ab1c0')
    """
    return environment.get(SHADOW) or None


def fix_paths(
    settings: StorageSettings,
    environment: MutableMapping[str, str] = os.environ,
) -> None:
    """Put the paths of the settings into the environment, as they are seen from this folder.

    BentoML starts the workers of a Bento in the Bento's folder, where a relative path means
    another file.

    >>> variables = {}
    >>> fix_paths(read_settings({}), variables)
    >>> Path(variables["CLEARLINE_SECRETS"]) == Path.cwd() / ".clearline" / "secrets.json"
    True
    """
    if settings.file is not None:
        environment["CLEARLINE_RECORD"] = sqlite_address(settings.file.absolute())
    environment["CLEARLINE_SECRETS"] = str(settings.secrets.absolute())
    environment["CLEARLINE_CHECKPOINTS"] = str(settings.checkpoints.absolute())


def _parse_deadline(text: str) -> float:
    try:
        deadline = float(text)
    except ValueError:
        deadline = 0.0
    if not 0 < deadline <= _MAX_DEADLINE:
        raise StorageError(f"CLEARLINE_DEADLINE: expected seconds in (0, 60], got {text!r}")
    return deadline
