"""Where the record is: read once, from the environment of the service or the command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.storage.errors import StorageError

FOLDER = Path(".clearline")  # of the embedded record, below the folder that the service starts in


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """Where the record, its secrets and its checkpoints are, and how long a caller waits for it."""

    address: str  # CLEARLINE_RECORD: sqlite:///path or postgresql://user@host/name
    secrets: Path  # CLEARLINE_SECRETS: a file outside the database, made where there is none
    checkpoints: Path  # CLEARLINE_CHECKPOINTS: a file outside the database
    # CLEARLINE_DEADLINE: seconds from a request's arrival to its answer, 2 by default
    deadline: float

    @property
    def file(self) -> Path | None:
        """The file of an embedded record; None = it is a server's."""
        prefix = "sqlite:///"
        return Path(self.address.removeprefix(prefix)) if self.address.startswith(prefix) else None


def read_settings(environment: Mapping[str, str] = os.environ) -> StorageSettings:
    """The settings; RecordError for a deadline that is none.

    >>> settings_from({}).address, settings_from({"CLEARLINE_DEADLINE": "0.5"}).deadline
    ('sqlite:///.clearline/record.db', 0.5)
    """
    said = environment.get("CLEARLINE_DEADLINE", "2")
    try:
        deadline = float(said)
    except ValueError:
        deadline = 0.0
    if not 0 < deadline <= 60:
        raise StorageError(
            f"CLEARLINE_DEADLINE: expected seconds above 0, at most 60, got {said!r}"
        )
    return StorageSettings(
        address=environment.get("CLEARLINE_RECORD") or f"sqlite:///{FOLDER / 'record.db'}",
        secrets=Path(environment.get("CLEARLINE_SECRETS") or FOLDER / "secrets.json"),
        checkpoints=Path(environment.get("CLEARLINE_CHECKPOINTS") or FOLDER / "checkpoints.jsonl"),
        deadline=deadline,
    )
