"""What a copy has to hold: every row of before, a whole hash chain, the signed checkpoints."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from serving.audit_log import checkpoints
from serving.audit_log.checkpoints import Checkpoint
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.verify import Reading, VerificationReport, verify
from serving.storage.errors import StorageError


@dataclass(frozen=True, slots=True)
class Extent:
    """How far an audit log goes: the number of rows, and the last row's number, hash and time."""

    rows: int
    newest: int = 0
    hash: bytes = b""
    at: str = ""


def check_holds(before: Extent, rows: int, hash_there: bytes | None) -> None:
    """Refuse a copy without the rows that were there before it was made.

    Args:
        before: The extent of the audit log before the copy began.
        rows: The number of rows of the copy.
        hash_there: The hash that the copy has in the row ``before.newest``; None = no such row.

    Raises:
        StorageError: rows are missing, or are others.
    """
    if rows < before.rows:
        raise StorageError(f"expected a copy of {before.rows} rows at least, got one of {rows}")
    if before.rows and hash_there != before.hash:
        raise StorageError(
            f"expected the copy to have row {before.newest} as the audit log has it, got another "
            "or none"
        )


def split_checkpoints(
    lines: bytes, verifier: Ed25519PublicKey, rows: int
) -> tuple[bytes, list[Checkpoint]]:
    """The lines about rows that a copy has, and the checkpoints of later rows."""
    reached: list[bytes] = []
    unreached: list[Checkpoint] = []
    for line in lines.splitlines(keepends=True):
        parsed = checkpoints.parse_line(line.rstrip(b"\r\n"), verifier)
        if isinstance(parsed, Checkpoint) and parsed.seq > rows:
            unreached.append(parsed)
        else:
            # Also a line that is no checkpoint: it is a finding of the verification.
            reached.append(line)
    return b"".join(reached), unreached


def verify_with(reading: Reading, secrets: Secrets, lines: bytes) -> VerificationReport:
    """Verify an audit log against the lines of a checkpoint file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoints.jsonl"
        file.write_bytes(lines)
        return verify(reading, secrets, file)


def unreached_text(unreached: Sequence[Checkpoint], extent: Extent) -> str:
    """Which signed rows a restored copy does not have.

    >>> late = Checkpoint(140, b"", "2026-11-25T08:00:00.000000Z")
    >>> print(unreached_text([late], Extent(123)))
    not reached  1 checkpoint(s): rows 124 to 140, the last signed at 2026-11-25T08:00:00.000000Z
    """
    last = max(unreached, key=lambda checkpoint: checkpoint.seq)
    return (
        f"not reached  {len(unreached)} checkpoint(s): rows {extent.rows + 1} to {last.seq}, "
        f"the last signed at {last.at}"
    )
