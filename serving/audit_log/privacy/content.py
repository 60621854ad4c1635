"""The content of a row, as it is encrypted: compressed, then filled up to one of few lengths.

    content -> statements by column -> deflate with a dictionary -> mark, stream, padding

A request lists its statements month by month, and repeats the names of the fields each time. By
column they take half the bytes, because the numbers of one field are alike. Requests and answers of
all accounts have much in common besides: the dictionary has it, and no row does.

A row of an earlier version holds its content as it is, with or without padding. JSON does not begin
with a mark, so each row says which kind it is.
"""

from __future__ import annotations

import functools
import tomllib
import zlib
from collections.abc import Iterable
from pathlib import Path

MAX_CONTENT = 8 * 1024 * 1024  # bytes; a request has at most 2 MiB

_AS_IT_IS, _BY_COLUMN = b"\1", b"\2"  # marks: the first byte of packed content
_PADDING = b"\0"
# Bytes of packed content. An encrypted content's length would tell whose it is: of 1,000 accounts
# the exact lengths of request and answer tell 777 from all others, these tell none. With the first
# two, two kept decisions fit into a page of SQLite.
_SMALL_SIZES = (256, 768)
_BLOCK = 2048  # larger ones are multiples of it

_LEVEL = 6  # 9 saves 1 %
_RAW = -zlib.MAX_WBITS  # no header: AES-GCM finds any change
_DICTIONARY = Path(__file__).with_name("dictionary_1.toml")
_BEGIN, _BETWEEN, _END = b'"statements":[{', b"},{", b"}]"


class ContentError(ValueError):
    """Decrypted content that :func:`pack` did not make."""


def pack(content: bytes) -> bytes:
    """Compress content, and pad it to one of few lengths.

    Raises:
        ContentError: it is larger than ``MAX_CONTENT``.
    """
    if len(content) > MAX_CONTENT:
        raise ContentError(f"expected at most {MAX_CONTENT:,} bytes, got {len(content):,}")
    mark, arranged = _AS_IT_IS, content
    by_column = _by_column(content)
    # Only what comes back exactly: the stored bytes are those that were sent.
    if by_column is not None and _by_month(by_column) == content:
        mark, arranged = _BY_COLUMN, by_column
    return _deflate(mark, arranged)


def pack_request(head: bytes, columns: Iterable[bytes], tail: bytes) -> bytes:
    """:func:`pack` of a request that is known by column, which takes half the time.

    Args:
        head: The JSON before the field ``statements``.
        columns: Of each field of a statement, its name, a colon and its values of all months,
            separated by commas, as JSON: numbers, null, or texts without a comma or a bracket.
        tail: The JSON after the statements.

    >>> packed = pack_request(b"{", [b'"month":"09","10"', b'"spend":1.0,2.0'], b"}")
    >>> unpack(packed)
    b'{"statements":[{"month":"09","spend":1.0},{"month":"10","spend":2.0}]}'
    """
    arranged = head + _BEGIN + _BETWEEN.join(columns) + _END + tail
    return _deflate(_BY_COLUMN, arranged)


def unpack(packed: bytes) -> bytes:
    """The content that :func:`pack` packed, or that an earlier version only padded.

    Raises:
        ContentError: it is neither, or would be larger than ``MAX_CONTENT``.
    """
    mark = packed[:1]
    if mark not in (_AS_IT_IS, _BY_COLUMN):
        return packed.rstrip(_PADDING)
    inflate = zlib.decompressobj(_RAW, _dictionary())
    try:
        arranged = inflate.decompress(packed[1:], MAX_CONTENT)
    except zlib.error as error:
        raise ContentError(f"expected compressed content: {error}") from None
    if not inflate.eof:
        raise ContentError(f"expected content that ends, of at most {MAX_CONTENT:,} bytes")
    return arranged if mark == _AS_IT_IS else _by_month(arranged)


def _deflate(mark: bytes, arranged: bytes) -> bytes:
    deflate = _primed().copy()
    packed = mark + deflate.compress(arranged) + deflate.flush()
    return packed.ljust(_padded_size(len(packed)), _PADDING)


def _padded_size(size: int) -> int:
    for small in _SMALL_SIZES:
        if size <= small:
            return small
    return -(-size // _BLOCK) * _BLOCK  # rounded up


def _by_column(content: bytes) -> bytes | None:
    """The statements of a request field by field; None if they cannot be so arranged.

    >>> request = b'{"statements":[{"month":"09","spend":1.0},{"month":"10","spend":2.0}]}'
    >>> _by_column(request)
    b'{"statements":[{"month":"09","10"},{"spend":1.0,2.0}]}'
    >>> _by_month(_by_column(request)) == request
    True
    """
    head, _, rest = content.partition(_BEGIN)
    statements, end, tail = rest.partition(_END)
    if not end:
        return None
    months = statements.count(_BETWEEN) + 1
    # Whole columns at once: to treat each value by itself takes four times as long. A value with a
    # comma or with another name is cut at the wrong place, and does not come back.
    values = statements.replace(_BETWEEN, b",").split(b",")
    fields, rest_of_month = divmod(len(values), months)
    if rest_of_month:
        return None
    columns: list[bytes] = []
    for place in range(fields):
        name, colon, _ = values[place].partition(b":")
        column = b",".join(values[place::fields])
        columns.append(name + colon + column.replace(name + colon, b""))
    return head + _BEGIN + _BETWEEN.join(columns) + end + tail


def _by_month(content: bytes) -> bytes:
    """The inverse of :func:`_by_column`."""
    head, _, rest = content.partition(_BEGIN)
    arranged, end, tail = rest.partition(_END)
    columns: list[list[bytes]] = []
    for column in arranged.split(_BETWEEN):
        name, colon, _ = column.partition(b":")
        columns.append(column.replace(b",", b"," + name + colon).split(b","))
    months = map(b",".join, zip(*columns, strict=False))
    return head + _BEGIN + _BETWEEN.join(months) + end + tail


@functools.cache
def _dictionary() -> bytes:
    parts = tomllib.loads(_DICTIONARY.read_text("utf-8"))
    text: str = parts["answers"] + parts["requests"]
    return text.encode()


@functools.cache
def _primed() -> zlib._Compress:
    """A compressor that knows the dictionary; to copy it is faster than to prime another."""
    return zlib.compressobj(
        _LEVEL, zlib.DEFLATED, _RAW, zlib.DEF_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY, _dictionary()
    )
