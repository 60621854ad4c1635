"""Signed checkpoints: a file outside the database that states the number of rows and the last hash.

One JSON object a line: ``seq``, ``hash``, ``at``, ``signature`` (Ed25519, RFC 8032). An attacker
who can write the database can rewrite the whole chain or cut off its end; both contradict a
checkpoint, and a new checkpoint needs the signing key.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from serving.storage.errors import StorageError
from serving.storage.timestamps import encode_time

_BYTES_AT_THE_END = 128 * 1024  # some hundred lines
_FIELDS = {"seq", "hash", "at", "signature"}


class Flaw(Enum):
    """Why a line is not a checkpoint."""

    CUT_SHORT = "is cut short"  # a power failure can do this
    NOT_SIGNED = "was not signed with the audit log's key"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A statement that there were ``seq`` rows, the last with this hash (32 bytes)."""

    seq: int
    hash: bytes
    at: str

    def signed_bytes(self) -> bytes:
        """What the signature covers."""
        return b"clearline checkpoint 1\0" + f"{self.seq}\0{self.hash.hex()}\0{self.at}".encode()


def append(
    path: Path,
    seq: int,
    row_hash: bytes,
    at: datetime.datetime,
    signer: Ed25519PrivateKey,
) -> Checkpoint:
    """Sign a checkpoint and append it to the file; durable on return."""
    checkpoint = Checkpoint(seq, row_hash, encode_time(at))
    fields = {
        "seq": seq,
        "hash": row_hash.hex(),
        "at": checkpoint.at,
        "signature": signer.sign(checkpoint.signed_bytes()).hex(),
    }
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(
        path,
        os.O_RDWR | os.O_APPEND | os.O_CREAT,
        0o600,
    )
    try:
        end = os.lseek(descriptor, 0, os.SEEK_END)
        # A line that a power failure cut short stays on its own; readers skip it.
        is_torn = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
        line = ("\n" if is_torn else "") + json.dumps(fields) + "\n"
        # One write of one line: with O_APPEND two processes cannot mix theirs.
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return checkpoint


def read_lines(path: Path, verifier: Ed25519PublicKey) -> Iterator[tuple[int, Checkpoint | Flaw]]:
    """Each line of a file with its number, from 1; nothing if there is no file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            yield number, parse_line(line.rstrip(b"\r\n"), verifier)


def read(path: Path, verifier: Ed25519PublicKey) -> Iterator[Checkpoint]:
    """The checkpoints of a file, oldest first; nothing if there is no file.

    Lines that were cut short are skipped.

    Raises:
        StorageError: a line has no valid signature.
    """
    for number, parsed in read_lines(path, verifier):
        if parsed is Flaw.NOT_SIGNED:
            raise StorageError(f"{path}, line {number}: this checkpoint {parsed.value}")
        if isinstance(parsed, Checkpoint):
            yield parsed


def read_newest(path: Path, verifier: Ed25519PublicKey) -> Checkpoint | None:
    """The checkpoint with the most rows among the last few hundred; None if there is none.

    Only the end of the file is read, so that a service's start does not slow down over the years.

    Raises:
        StorageError: one of the lines read has no valid signature.
    """
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _BYTES_AT_THE_END, 0))
        starts_within_line = file.tell() > 0
        lines = file.read().splitlines()[starts_within_line:]
    parsed = [parse_line(line, verifier) for line in lines]
    if Flaw.NOT_SIGNED in parsed:
        raise StorageError(f"{path}: a checkpoint near its end {Flaw.NOT_SIGNED.value}")
    checkpoints = [one for one in parsed if isinstance(one, Checkpoint)]
    return max(checkpoints, key=lambda checkpoint: checkpoint.seq, default=None)


def parse_line(line: bytes, verifier: Ed25519PublicKey) -> Checkpoint | Flaw:
    """The checkpoint on a line without its end, or why it is none."""
    if not line.endswith(b"}"):
        return Flaw.CUT_SHORT
    try:
        raw = json.loads(line)
        if set(raw) != _FIELDS or type(raw["seq"]) is not int:
            return Flaw.NOT_SIGNED
        checkpoint = Checkpoint(
            raw["seq"],
            bytes.fromhex(raw["hash"]),
            raw["at"],
        )
        verifier.verify(bytes.fromhex(raw["signature"]), checkpoint.signed_bytes())
    except (ValueError, TypeError, InvalidSignature):
        return Flaw.NOT_SIGNED
    return checkpoint
