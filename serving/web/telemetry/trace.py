"""The trace that a request belongs to: W3C Trace Context, https://www.w3.org/TR/trace-context/.

A caller sends ``traceparent``. The service answers with its own, stores the id of the trace in
every row of the request, and puts both ids into its log. Without the header, or with one that
cannot be read, the service begins a trace.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass

HEADER = "traceparent"
# Later versions may add fields behind these; version ff is forbidden.
_FORMAT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_LENGTH = 55  # of version 00, which has no more fields
_NOT_SAMPLED = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """The ids of one request, in lower-case hex.

    `trace_id` has 32 digits and is the caller's, `span_id` has 16 and is the request's own.
    `parent_id` is the caller's span; None = the service began the trace. `flags` is 1 if the
    caller records the trace.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    flags: int = _NOT_SAMPLED

    @property
    def header(self) -> str:
        """The value of ``traceparent`` for the answer.

        >>> Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", None, 1).header
        '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
        """
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


# Of the request that this task answers; None outside a request.
_current: ContextVar[Trace | None] = ContextVar("clearline_trace", default=None)
enter_trace = _current.set
leave_trace = _current.reset
current_trace = _current.get


def begin_trace(sent: Sequence[str]) -> Trace:
    """Return the trace of a request that sent these values of ``traceparent``."""
    parent = parse_traceparent(sent[0]) if len(sent) == 1 else None
    if parent is None:
        ids = secrets.token_hex(24)
        return Trace(ids[:32], ids[32:], None)
    return Trace(parent.trace_id, secrets.token_hex(8), parent.span_id, parent.flags)


def parse_traceparent(text: str) -> Trace | None:
    """Return the trace and the span that sent the header; None if it cannot be read.

    >>> parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").flags
    1
    >>> parse_traceparent("00-" + "0" * 32 + "-b7ad6b7169203331-01") is None
    True
    """
    found = _FORMAT.fullmatch(text)
    if found is None or (text.startswith("00") and len(text) != _LENGTH):
        return None
    trace_id, span_id, flags, _ = found.groups()
    if not (int(trace_id, 16) and int(span_id, 16)):
        return None
    # Of the flags only "sampled" is defined.
    return Trace(trace_id, span_id, None, int(flags, 16) & 1)
