"""Messages between the service and the challenger's process: lists of bytes, each with its length.

    >>> frame = encode_frame([b"id", b""])
    >>> decode_frames(frame + frame[:5])
    ([[b'id', b'']], b'\\x00\\x00\\x00\\n\\x00')

No pickle: that would let a process which a damaged bundle controls run code in the service.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import BinaryIO

_LENGTH = struct.Struct(">I")
MAX_FRAME = 32 * 1024 * 1024  # bytes; a request is refused long before


class FrameError(ValueError):
    """What was read is no message."""


def encode_frame(parts: Sequence[bytes]) -> bytes:
    """Return a message with its length before it."""
    content = b"".join(_LENGTH.pack(len(part)) + part for part in parts)
    return _LENGTH.pack(len(content)) + content


def decode_frames(received: bytes) -> tuple[list[list[bytes]], bytes]:
    """Return the whole messages at the beginning of what was received, and what is left.

    Raises :class:`FrameError` if a length is wrong.
    """
    messages = []
    while len(received) >= _LENGTH.size:
        [length] = _LENGTH.unpack_from(received)
        _check_length(length)
        end = _LENGTH.size + length
        if len(received) < end:
            break
        messages.append(_split(received[_LENGTH.size : end]))
        received = received[end:]
    return messages, received


def read_frame(stream: BinaryIO) -> list[bytes] | None:
    """Wait for a message and return it; None if the stream ends.

    Raises :class:`FrameError` if it ends within a message, or a length is wrong.
    """
    head = stream.read(_LENGTH.size)
    if not head:
        return None
    if len(head) < _LENGTH.size:
        raise FrameError("the stream ended within a length")
    [length] = _LENGTH.unpack(head)
    _check_length(length)
    content = stream.read(length)
    if len(content) < length:
        raise FrameError(f"expected a message of {length} bytes, got {len(content)}")
    return _split(content)


def _check_length(length: int) -> None:
    if length > MAX_FRAME:
        raise FrameError(f"expected a message of at most {MAX_FRAME} bytes, got {length}")


def _split(content: bytes) -> list[bytes]:
    parts = []
    place = 0
    while place < len(content):
        if place + _LENGTH.size > len(content):
            raise FrameError("a part has no length")
        [length] = _LENGTH.unpack_from(content, place)
        place += _LENGTH.size
        if place + length > len(content):
            raise FrameError(f"expected a part of {length} bytes, got fewer")
        parts.append(content[place : place + length])
        place += length
    return parts
