"""Messages come out as they went in, however they are cut, and nothing else is taken for one."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.api.shadow.frames import (
    MAX_FRAME,
    FrameError,
    decode_frames,
    encode_frame,
    read_frame,
)

MESSAGES = st.lists(st.lists(st.binary(max_size=40), max_size=4), max_size=4)


@given(MESSAGES, st.integers(1, 30))
def test_messages_come_out_as_they_went_in(messages: list[list[bytes]], size: int) -> None:
    sent = b"".join(map(encode_frame, messages))
    found: list[list[bytes]] = []
    left = b""
    for begin in range(0, len(sent), size):
        more, left = decode_frames(left + sent[begin : begin + size])
        found += more
    assert (found, left) == (messages, b"")
    stream = io.BytesIO(sent)
    assert [read_frame(stream) for _ in messages] == messages
    assert read_frame(stream) is None


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.data())
def test_a_message_that_is_cut_off_is_refused(parts: list[bytes], data: st.DataObject) -> None:
    sent = encode_frame(parts)
    cut = data.draw(st.integers(1, len(sent) - 1))
    assert decode_frames(sent[:cut]) == ([], sent[:cut])
    with pytest.raises(FrameError):
        read_frame(io.BytesIO(sent[:cut]))


@pytest.mark.parametrize(
    "sent",
    [
        (MAX_FRAME + 1).to_bytes(4, "big"),
        b"\0\0\0\2\0\0",
        b"\0\0\0\5\0\0\0\2x",
    ],
    ids=["too long", "no length of a part", "a part that is too long"],
)
def test_what_is_no_message_is_refused(sent: bytes) -> None:
    with pytest.raises(FrameError):
        decode_frames(sent)
    with pytest.raises(FrameError):
        read_frame(io.BytesIO(sent))
