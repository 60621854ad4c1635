"""The trace of a request: the caller's where it can be read, else one of its own."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.web.telemetry.trace import begin_trace, parse_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = f"00-{TRACE}-{SPAN}-01"
# The examples of https://www.w3.org/TR/trace-context/ and what its tests break.
UNREADABLE = {
    "empty": "",
    "upper case": SENT.upper(),
    "no trace": f"00-{'0' * 32}-{SPAN}-01",
    "no span": f"00-{TRACE}-{'0' * 16}-01",
    "short trace": f"00-{TRACE[1:]}-{SPAN}-01",
    "no flags": f"00-{TRACE}-{SPAN}",
    "forbidden version": f"ff-{TRACE}-{SPAN}-01",
    "more than version 00 has": f"{SENT}-more",
    "letters": f"00-{TRACE[:-1]}g-{SPAN}-01",
    "a blank": f" {SENT}",
    "a line": f"{SENT}\n",
}
hexadecimal = st.text("0123456789abcdef")


def test_a_caller_s_trace_goes_on() -> None:
    trace = begin_trace([SENT])
    assert (trace.trace_id, trace.parent_id, trace.flags) == (TRACE, SPAN, 1)
    assert trace.span_id != SPAN
    assert trace.header == f"00-{TRACE}-{trace.span_id}-01"


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    later = parse_traceparent(f"01-{TRACE}-{SPAN}-03-more")
    assert later is not None
    assert (later.trace_id, later.span_id, later.flags) == (TRACE, SPAN, 1)


@pytest.mark.parametrize("sent", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_begins_a_trace(sent: str) -> None:
    trace = begin_trace([sent])
    assert trace.parent_id is None
    assert trace.trace_id != TRACE


def test_two_headers_begin_a_trace() -> None:
    assert begin_trace([SENT, SENT]).trace_id != TRACE


@given(st.text(max_size=80) | st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"))
def test_whatever_is_sent_the_answer_has_a_header_that_can_be_read(sent: str) -> None:
    trace = begin_trace([sent])
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", trace.header)
    assert parse_traceparent(trace.header) is not None
