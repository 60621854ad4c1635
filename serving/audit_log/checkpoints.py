"""Signed checkpoints of the chain, in a file outside the database: so many rows there were, and the
last had this hash.

A line each, JSON: ``seq``, ``hash``, ``at``, ``signature`` (Ed25519, RFC 8032).  Who can write the
database can write a whole new chain, or cut off its end; neither agrees with a checkpoint, and a
new checkpoint needs the signing key.
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

_BYTES_AT_THE_END = 128 * 1024
_FIELDS = {"seq", "hash", "at", "signature"}


class Flaw(Enum):
    """Why a line is no checkpoint."""

    CUT_SHORT = "is cut short"  # as a power failure leaves one
    NOT_SIGNED = "was not signed with the record's key"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """There were ``seq`` rows, the last of which had this hash (32 bytes)."""

    seq: int
    hash: bytes
    at: str

    def signed(self) -> bytes:
        """What the signature is over."""
        return b"clearline checkpoint 1\0" + f"{self.seq}\0{self.hash.hex()}\0{self.at}".encode()


def append(
    path: Path, seq: int, row_hash: bytes, at: datetime.datetime, signer: Ed25519PrivateKey
) -> Checkpoint:
    """Sign a checkpoint and add it to the file; durable when this returns."""
    checkpoint = Checkpoint(seq, row_hash, encode_time(at))
    signature = signer.sign(checkpoint.signed()).hex()
    line = (
        json.dumps(
            {"seq": seq, "hash": row_hash.hex(), "at": checkpoint.at, "signature": signature}
        )
        + "\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        end = os.lseek(descriptor, 0, os.SEEK_END)
        # A line that a power failure cut short stays alone, and is passed over when the file is
        # read.
        torn = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
        os.write(descriptor, (b"\n" if torn else b"") + line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return checkpoint


def lines(path: Path, verifier: Ed25519PublicKey) -> Iterator[tuple[int, Checkpoint | Flaw]]:
    """Each line of a file with its number, from 1: the checkpoint, or why it is none.

    Nothing where there is no file.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            yield number, _said(line.rstrip(b"\r\n"), verifier)


def read(path: Path, verifier: Ed25519PublicKey) -> Iterator[Checkpoint]:
    """The checkpoints of a file, oldest first; none where there is no file.

    RecordError at a line that was not signed here.  A line cut short, as a power failure leaves
    one, is no checkpoint.
    """
    for number, said in lines(path, verifier):
        if said is Flaw.NOT_SIGNED:
            raise StorageError(
                f"{path}, line {number}: this checkpoint was not signed with the record's key"
            )
        if isinstance(said, Checkpoint):
            yield said


def newest(path: Path, verifier: Ed25519PublicKey) -> Checkpoint | None:
    """The checkpoint that speaks of most rows, among the last few hundred; RecordError as of
    :func:`read`.

    Only the end of the file is read: a service's start does not take longer with every year that it
    has run.
    """
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _BYTES_AT_THE_END, 0))
        whole_file = file.tell() == 0
        ends = file.read().splitlines()[0 if whole_file else 1 :]
    found = [_said(line, verifier) for line in ends]
    if Flaw.NOT_SIGNED in found:
        raise StorageError(
            f"{path}: there is a checkpoint near its end that was not signed with the record's key"
        )
    told = [one for one in found if isinstance(one, Checkpoint)]
    return max(told, key=lambda checkpoint: checkpoint.seq, default=None)


def _said(line: bytes, verifier: Ed25519PublicKey) -> Checkpoint | Flaw:
    if not line.endswith(b"}"):
        return Flaw.CUT_SHORT
    try:
        raw = json.loads(line)
        if set(raw) != _FIELDS or type(raw["seq"]) is not int:
            return Flaw.NOT_SIGNED
        checkpoint = Checkpoint(raw["seq"], bytes.fromhex(raw["hash"]), raw["at"])
        verifier.verify(bytes.fromhex(raw["signature"]), checkpoint.signed())
    except (ValueError, TypeError, InvalidSignature):
        return Flaw.NOT_SIGNED
    return checkpoint
