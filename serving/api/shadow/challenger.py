"""The challenger's process: ``python -m serving.api.shadow.challenger``.

It reads messages from standard input and writes its replies to what was standard output:

    folder, digest, id key  -> ready, or failed and why
    pieces                  -> for each: decided, id, account, answer, metadata
                                         refused or failed, and the type of the error

A piece and its reply are messages within the message: some at once cost the service less.

It ends when its input ends, and when the process that started it is gone.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.api.answers import Basis, answer_requests
from serving.api.shadow.frames import decode_frames, encode_frame, read_frame
from serving.api.shadow.server import (
    DECIDED,
    FAILED,
    MEMORY_VARIABLE,
    READY,
    REFUSED,
    be_last_in_line,
    follow_parent,
    limit_memory,
    serve,
    take_streams,
)
from serving.audit_log.entry import Entry
from serving.decision.bundle import Bundle, BundleError
from serving.decision.golden import load
from serving.reviews.past_decision import EARLIER
from serving.reviews.recorded import REFUSALS, read_recorded
from serving.storage.timestamps import decode_time, encode_time


@dataclass(frozen=True, slots=True)
class Piece:
    """A decision that was answered, as far as the challenger needs it.

    `door` is the endpoint, and `earlier` the earlier decision's row: id, endpoint, request and
    answer; None = it was made without one.
    """

    decision_id: str
    door: str
    decided_at: datetime.datetime
    request: bytes
    earlier: tuple[str, str, bytes, bytes] | None

    def parts(self) -> list[bytes]:
        """Return the parts of its message."""
        named = (self.decision_id, self.door, encode_time(self.decided_at))
        parts = [text.encode() for text in named]
        parts.append(self.request)
        if self.earlier is not None:
            entry_id, door, request, answer = self.earlier
            parts += [entry_id.encode(), door.encode(), request, answer]
        return parts


def decide_pieces(message: Sequence[bytes], bundle: Bundle, id_key: bytes) -> list[bytes]:
    """Return the replies to some pieces, each as a message."""
    replies = []
    for frame in message:
        [[*parts]], _ = decode_frames(frame)
        try:
            reply = decide_piece(parts, bundle, id_key)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001
            # Whatever a bundle raises: the others are decided.
            reply = [FAILED, type(error).__name__.encode()]
        replies.append(encode_frame(reply))
    return replies


def decide_piece(parts: Sequence[bytes], bundle: Bundle, id_key: bytes) -> list[bytes]:
    """Return the reply to a :class:`Piece`: the decision under a bundle, without advice."""
    decision_id, door, decided_at, request, *earlier = parts
    metadata = {"door": door.decode(), "decided_at": decided_at.decode()}
    before = None
    if earlier:
        before = _entry(earlier[0], {"door": earlier[1].decode()}, earlier[2], earlier[3])
        metadata[EARLIER] = before.entry_id
    decision = _entry(decision_id, metadata, request, b"")
    try:
        recorded = read_recorded(decision, lambda _: before)
        basis = Basis(bundle, recorded.decided_at, id_key, recorded.earlier)
        [answered] = answer_requests("decisions", [recorded.request], False, basis)
    except REFUSALS as error:
        return [REFUSED, type(error).__name__.encode()]
    stored = json.dumps(answered.metadata("decisions", False, bundle))
    decided = answered.decision
    named = decided.decision_id.encode(), decided.account_id.encode()
    return [DECIDED, *named, answered.content, stored.encode()]


def main() -> int:
    """Load the bundle of the first message, and decide the pieces that follow."""
    be_last_in_line()
    follow_parent()
    requests, replies = take_streams()
    first = read_frame(requests)
    if first is None:
        return 1
    folder, digest, id_key = first
    try:
        bundle = load(Path(os.fsdecode(folder)))
        if bundle.digest.encode() != digest:
            raise BundleError(f"expected the bundle {digest.decode()}, got {bundle.digest}")
    except BundleError as error:
        replies.write(encode_frame([FAILED, str(error).encode()]))
        replies.flush()
        return 1
    limit_memory(int(os.environ[MEMORY_VARIABLE]))
    replies.write(encode_frame([READY]))
    replies.flush()
    serve(lambda message: decide_pieces(message, bundle, id_key), requests, replies)
    return 0


def _entry(
    entry_id: bytes,
    metadata: dict[str, str],
    request: bytes,
    answer: bytes,
) -> Entry:
    """A row with what a decision is read from."""
    name = entry_id.decode()
    return Entry(
        seq=0,
        entry_id=name,
        kind="decision",
        subject=name,
        tenant="",
        caller="",
        at=decode_time(metadata.get("decided_at", "1970-01-01T00:00:00.000000Z")),
        data_subject=None,
        metadata=metadata,
        request_body=request,
        response_body=answer,
        unique_key=None,
        digest=None,
        due=None,
        erased=False,
    )


if __name__ == "__main__":
    sys.exit(main())
