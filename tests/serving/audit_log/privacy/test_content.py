"""Content of rows comes back to the byte, in few lengths, whatever it is and whoever packed it."""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.audit_log.privacy import content as content_module
from serving.audit_log.privacy.content import MAX_CONTENT, ContentError, pack, unpack
from serving.decision.bundle import Bundle
from serving.schemas.base import parse
from serving.schemas.decision import Request
from tests.golden.test_answers import bodies
from tests.support.each import each
from tests.support.entries import decision_entry, example_request

LENGTHS = {256, 768, 2048, 4096}
# Packed when the dictionary was made: rows that hold such content are never written again.
PACKED = (
    (b'{"action":"keep","suspended":false,"prior":null,"since_last":null}', "AavG6E+TMHoHTloAAA=="),
    (
        b'{"statements":[{"month":"2026-09","spend":1.5},{"month":"2026-10","spend":2.5}]}',
        "AqvG08gxgzc7wAuhkWoVoO90jPRMge1IAAA=",
    ),
)


def requests() -> list[bytes]:
    """The golden requests as they are stored."""
    parsed = (parse(Request, json.dumps(body).encode()) for body in bodies()[:100])
    return [request.model_dump_json().encode() for request in parsed]


MONTH = st.dictionaries(st.sampled_from("ab:,{}"), st.none() | st.text(), min_size=1, max_size=3)
STATEMENTS = st.lists(MONTH, max_size=3).map(lambda months: json.dumps({"statements": months}))
COMPACT = STATEMENTS.map(lambda text: json.dumps(json.loads(text), separators=(",", ":")))
PIECES = (b'"statements":[{', b"},{", b"}]", b":", b",", b"x", b"\0", b"\1", b"\2")
BROKEN = st.lists(st.sampled_from(PIECES), max_size=9).map(b"".join)


@given(st.binary(max_size=300) | BROKEN | COMPACT.map(str.encode))
def test_any_content_comes_back(content: bytes) -> None:
    assert unpack(pack(content)) == content


def test_requests_and_answers_take_a_few_lengths(golden: Bundle) -> None:
    lengths: Counter[int] = Counter()
    for request in each(requests()):
        packed = pack(request)
        assert unpack(packed) == request
        lengths[len(packed)] += 1
    assert max(lengths) <= 768  # 5,000 bytes as they are
    answer = decision_entry(example_request("a-1"), golden).response_body
    assert answer is not None
    assert len(pack(answer)) in LENGTHS
    assert len(pack(answer)) < len(answer)


def test_the_dictionary_of_stored_rows_is_as_it_was() -> None:
    for content, packed in each(PACKED):
        assert unpack(base64.b64decode(packed)) == content


def test_another_dictionary_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    other = content_module._dictionary()[::-1]
    monkeypatch.setattr(content_module, "_dictionary", lambda: other)
    for content, packed in each(PACKED):
        try:
            found = unpack(base64.b64decode(packed))
        except ContentError:
            continue
        assert found != content


def test_content_of_earlier_versions_is_read() -> None:
    for content in each((b"", b"{}", b'{"a":[1,2]}')):
        assert unpack(content) == content
        assert unpack(content.ljust(2048, b"\0")) == content


def test_content_grows_to_the_limit_and_no_further() -> None:
    largest = bytes(MAX_CONTENT)
    assert unpack(pack(largest)) == largest
    with pytest.raises(ContentError, match="8,388,608 bytes, got 8,388,609"):
        pack(bytes(MAX_CONTENT + 1))
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = b"\1" + deflate.compress(bytes(MAX_CONTENT + 1)) + deflate.flush()
    with pytest.raises(ContentError, match="at most 8,388,608 bytes"):
        unpack(bomb)


def test_content_that_was_cut_or_changed_is_refused() -> None:
    packed = pack(requests()[0]).rstrip(b"\0")
    for damaged in each((packed[:1], packed[: len(packed) // 2], packed[:1] + b"\xff" * 100)):
        with pytest.raises(ContentError):
            unpack(damaged)
