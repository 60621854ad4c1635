"""More than 1,000 malformed connections: their bytes, some with pauses."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from serving.auth.routes import LARGEST_BODY, ROUTES
from serving.schemas import examples

MARK = b"Kanarie5150"
REQUEST = json.dumps(examples.REQUEST).encode()
HEAD = "head"  # instead of a pause: the client closes its half of the connection


@dataclass(frozen=True)
class Case:
    """The bytes of a connection, with pauses in seconds.

    `unasked` = they contain no complete request, so there may be no answer.
    """

    name: str
    parts: tuple[bytes | float | str, ...]
    unasked: bool = False


def post(
    body: bytes,
    *headers: bytes,
    path: bytes = b"/v1/decisions",
    length: int | None = None,
    key: bytes = b"KEY",
) -> bytes:
    """A correct request except for the arguments; `length` -1 = without Content-Length."""
    own = [
        b"Host: 127.0.0.1",
        b"Connection: close",
        b"Content-Type: application/json",
        b"Authorization: Bearer " + key,
    ]
    own += (
        [b"Content-Length: %d" % (len(body) if length is None else length)] if length != -1 else []
    )
    return b"POST " + path + b" HTTP/1.1\r\n" + b"\r\n".join([*own, *headers]) + b"\r\n\r\n" + body


def chunked(*chunks: bytes) -> bytes:
    return post(b"".join(chunks), b"Transfer-Encoding: chunked", length=-1)


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def broken_texts() -> Iterator[Case]:
    bad = [
        b"\xff",
        b"\xc3",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xe4\xb8",
        b"\x80",
        b"\x00",
        b"\xfe\xff",
        b"\xf4\x90\x80\x80",
    ]
    for wrong in bad:
        for place in (0, 1, 5, 20, 60, len(REQUEST) // 2, len(REQUEST) - 1, len(REQUEST)):
            yield Case(
                f"utf8 {wrong!r} at {place}", (post(REQUEST[:place] + wrong + REQUEST[place:]),)
            )
    for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-7", "utf-8-sig"):
        yield Case(encoding, (post(REQUEST.decode().encode(encoding)),))


def lying_lengths() -> Iterator[Case]:
    size = len(REQUEST)
    for shorter in (0, 1, 2, size // 2, size - 1):
        yield Case(f"announced {shorter}", (post(REQUEST, length=shorter),))
    for longer in (size + 1, size + 1000, LARGEST_BODY):
        yield Case(f"announced {longer}", (post(REQUEST, length=longer),))
        yield Case(
            f"announced {longer}, half closed", (post(REQUEST, length=longer), HEAD), unasked=True
        )
    for said in (
        b"-1",
        b"+5",
        b"0x10",
        b"5 5",
        b"5,5",
        b"1e3",
        b"",
        b" ",
        b"\x00",
        b"9" * 30,
        b"18446744073709551616",
        MARK,
        b"\xb2",
    ):
        yield Case(f"length {said!r}", (post(REQUEST, b"Content-Length: " + said, length=-1),))
        yield Case(f"a second length {said!r}", (post(REQUEST, b"Content-Length: " + said),))
    for over in (LARGEST_BODY + 1, 10**9, 10**14, 2**63 - 1):
        yield Case(f"announced {over}", (post(b"{", length=over),))


def slow_bodies() -> Iterator[Case]:
    for path in (b"/v1/decisions", b"/v1/decisions/batch", b"/v1/advice"):
        yield Case(
            f"slow {path!r}",
            (
                post(REQUEST[:10], path=path, length=len(REQUEST)),
                *[part for _ in range(30) for part in (0.25, b" ")],
            ),
        )
        yield Case(f"quiet {path!r}", (post(b"{", path=path, length=500),))
        yield Case(
            f"slow chunks {path!r}",
            (
                post(b"", b"Transfer-Encoding: chunked", path=path, length=-1),
                *[p for _ in range(30) for p in (0.25, chunk(b" "))],
            ),
        )
    for pause in (0.01, 0.05):
        whole = post(REQUEST)
        yield Case(
            f"dripping {pause}",
            tuple(
                part
                for start in range(0, len(whole), 200)
                for part in (whole[start : start + 200], pause)
            ),
        )
    yield Case(
        "slow head",
        (b"POST /v1/decisions HTTP/1.1\r\nHost: ", 0.5, b"a\r\n", 0.5, HEAD),
        unasked=True,
    )


def compressed() -> Iterator[Case]:
    bomb = gzip.compress(b" " * 20_000_000 + REQUEST)
    for coding in (
        b"gzip",
        b"deflate",
        b"br",
        b"zstd",
        b"compress",
        b"gzip, gzip",
        b"identity, gzip",
        b"x-" + MARK,
        b"GZIP",
    ):
        for body in (bomb, gzip.compress(REQUEST), zlib.compress(REQUEST), REQUEST):
            yield Case(
                f"coded {coding!r} {len(body)}", (post(body, b"Content-Encoding: " + coding),)
            )
    for body in (bomb, gzip.compress(REQUEST)):
        yield Case(f"gzip unsaid {len(body)}", (post(body),))
        yield Case(
            f"gzip as transfer {len(body)}",
            (post(chunk(body) + b"0\r\n\r\n", b"Transfer-Encoding: gzip, chunked", length=-1),),
        )


def chunks() -> Iterator[Case]:
    last = b"0\r\n\r\n"
    yield Case("chunked", (chunked(chunk(REQUEST), last),))
    yield Case("one byte a chunk", (chunked(*(chunk(bytes([byte])) for byte in REQUEST), last),))
    yield Case("too large in chunks", (chunked(*[chunk(b" " * 65536)] * 8, last),))
    yield Case("endless", (chunked(*[chunk(b" " * 65536)] * 100),))
    for size in (
        b"g",
        b"-1",
        b"0x5",
        b"",
        b" ",
        b"fffffffff",
        b"f" * 40,
        b"5;" + MARK * 50,
        b"5 ",
        b"\x00",
        b"+5",
        b"5\n5",
    ):
        yield Case(
            f"chunk size {size!r}",
            (chunked(size + b"\r\n" + REQUEST + b"\r\n", last), 0.2, HEAD),
            unasked=True,
        )
    for ending in (
        b"0\r\n",
        b"0",
        b"",
        b"00\r\n\r\n",
        b"0\r\nX-Trailer: " + MARK + b"\r\n\r\n",
        b"0\r\nContent-Length: 9\r\n\r\n",
        b"0\n\n",
    ):
        yield Case(
            f"chunk end {ending!r}", (chunked(chunk(REQUEST), ending), 0.2, HEAD), unasked=True
        )
    yield Case(
        "a chunk shorter than said", (chunked(b"ff\r\n{}\r\n", last), 0.2, HEAD), unasked=True
    )
    yield Case("a chunk longer than said", (chunked(b"1\r\n{}\r\n", last), 0.2, HEAD), unasked=True)


def deep() -> Iterator[Case]:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"), (b'[{"' + MARK + b'":', b"}]")):
        for levels in (33, 100, 1000, 10_000, 100_000 // len(opening) * 2):
            yield Case(
                f"{levels} of {opening!r}", (post(opening * levels + b"1" + closing * levels),)
            )
            yield Case(f"{levels} of {opening!r}, open", (post(opening * levels),))
    for batch in (b"[" * 100_000 + b"]" * 100_000, b"[" * 2_000_000):
        yield Case(f"deep batch {len(batch)}", (post(batch, path=b"/v1/decisions/batch"),))
    for inner in (
        b'"\\"[' * 5000,
        b'"' + b"[" * 50_000,
        b"\\" * 50_000,
        b"[]" * 50_000,
        b'{"a":1}' * 9000,
        b"1" * 50_000,
        b"-" * 999,
        b'"' + b"\\u0000" * 9000 + b'"',
    ):
        yield Case(f"odd json {inner[:6]!r}", (post(inner),))
        yield Case(f"odd json in a field {inner[:6]!r}", (post(b'{"account_id":' + inner + b"}"),))


def heads() -> Iterator[Case]:
    for size in (1000, 10_000, 70_000, 300_000):
        yield Case(f"header of {size}", (post(REQUEST, b"X-Large: " + b"a" * size),))
        yield Case(f"path of {size}", (post(REQUEST, path=b"/v1/" + b"a" * size),))
        yield Case(f"query of {size}", (post(REQUEST, path=b"/v1/decisions?" + b"a" * size),))
        yield Case(f"key of {size}", (post(REQUEST, key=b"clk_" + b"a" * size),))
    yield Case(
        "2,000 headers", (post(REQUEST, *(b"X-%d: %s" % (number, MARK) for number in range(2000))),)
    )
    for line in (
        b"X: a\x00b",
        b"X : a",
        b": a",
        b"X\r\n y",
        b"X: a\r b",
        b"X: \x01",
        b"\xff: a",
        b"X: \xff",
        b"X",
        b" X: folded",
        b"X: a\nY: b",
        MARK + b" " + MARK,
    ):
        yield Case(f"header {line!r}", (post(REQUEST, line),))
    for name in (
        b"Authorization",
        b"Content-Type",
        b"Content-Encoding",
        b"Host",
        b"Transfer-Encoding",
        b"Expect",
        b"Upgrade",
        b"Connection",
    ):
        for value in (
            b"",
            MARK,
            b"\xff\xfe",
            b"a" * 5000,
            b"application/json",
            b"chunked",
            b"100-continue",
            b"h2c",
            b"websocket",
            b"close, Upgrade",
        ):
            yield Case(
                f"{name!r} {value[:20]!r}",
                (post(REQUEST, name + b": " + value), 0.05, HEAD),
                unasked=True,
            )
    for key in (
        b"",
        b"clk_",
        b"KEY" + b"x",
        b"clk_" + b"0" * 16 + b"_" + b"A" * 43,
        b"\xff" * 60,
        b"KEY KEY",
        b"clk_\x00",
        MARK,
        b"' OR 1=1 --",
        b"KEY,KEY",
    ):
        yield Case(f"key {key!r}", (post(REQUEST, key=key),))


def smuggled() -> Iterator[Case]:
    inner = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
    for value in (
        b"chunked",
        b" chunked",
        b"Chunked",
        b"chunked, identity",
        b"identity",
        b"xchunked",
        b"chunked, chunked",
        b"\x0bchunked",
        b"chunked\x00",
    ):
        for length in (0, 5, len(inner)):
            yield Case(
                f"TE {value!r} CL {length}",
                (
                    post(b"0\r\n\r\n" + inner, b"Transfer-Encoding: " + value, length=length),
                    0.1,
                    HEAD,
                ),
                unasked=True,
            )
    yield Case(
        "TE twice",
        (
            post(
                b"0\r\n\r\n" + inner,
                b"Transfer-Encoding: chunked",
                b"Transfer-Encoding: identity",
                length=-1,
            ),
        ),
    )
    yield Case("CL twice", (post(inner, b"Content-Length: 0"),))
    for ending in (b"\n", b"\r", b"\n\r"):
        yield Case(
            f"lines end with {ending!r}",
            (post(REQUEST).replace(b"\r\n", ending), 0.1, HEAD),
            unasked=True,
        )
    keep = post(REQUEST).replace(b"Connection: close\r\n", b"")
    yield Case("ten at once", (keep * 10 + post(REQUEST),))
    yield Case(
        "refused ones between",
        (
            (keep + post(b"{}", key=b"x").replace(b"Connection: close\r\n", b"")) * 5
            + post(REQUEST),
        ),
    )
    yield Case(
        "after a body that was too large",
        (post(b" " * (LARGEST_BODY + 5)).replace(b"Connection: close\r\n", b"") + post(REQUEST),),
    )


def upgrades() -> Iterator[Case]:
    headers = (
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
        b"Upgrade: "
    )
    for path in (b"/", b"/metrics", b"/v1/decisions", b"/" + MARK):
        for to in (b"websocket", b"h2c", b"TLS/1.0", MARK):
            line = (
                b"GET "
                + path
                + b" HTTP/1.1\r\nHost: a\r\nX: "
                + MARK
                + b"\r\n"
                + headers
                + to
                + b"\r\n\r\n"
            )
            yield Case(f"upgrade of {path!r} to {to!r}", (line, b"\x81\x85" + MARK))


def odd_lines() -> Iterator[Case]:
    for method in (
        b"GET",
        b"PUT",
        b"PATCH",
        b"DELETE",
        b"OPTIONS",
        b"TRACE",
        b"HEAD",
        b"CONNECT",
        b"PROPFIND",
        b"PRI",
        MARK,
        b"post",
        b"P\x00ST",
        b"",
        b"G" * 5000,
    ):
        for path in (b"/v1/decisions", b"/livez", b"/" + MARK, b"*"):
            yield Case(f"{method!r} {path!r}", (post(b"", path=path).replace(b"POST", method, 1),))
    paths = [
        b"/%00",
        b"/\x00",
        b"/\xff",
        b"/%ff%fe",
        b"/v1/decisions/%2e%2e",
        b"/v1/decisions/" + MARK,
        b"/v1//decisions",
        b"//",
        b"/../../etc/passwd",
        b"http://a/v1/decisions",
        b"/v1/decisions#a",
        b"/v1/decisions;a",
        b"/v1/decisions?advice=" + MARK,
        b"/v1/decisions?-" + MARK + b"=1",
        b"/v1/decisions?%00",
        b"/v1/decisions?" + b"a&" * 5000,
        b"/static_content/..%2f..%2f",
        b"v1",
        b"",
        b" ",
        b"/a b",
        b"/livez/../metrics",
        b"/%",
        b"/%zz",
        b"/%F0%9F%92%A9",
        b"/livez%0d%0aX:%20a",
    ]
    for path in paths:
        yield Case(f"path {path!r}", (post(REQUEST, path=path),))
        yield Case(f"get {path!r}", (post(b"", path=path).replace(b"POST", b"GET", 1),))
    for version in (
        b"HTTP/1.0",
        b"HTTP/0.9",
        b"HTTP/2.0",
        b"HTTP/9.9",
        b"HTTP/1.1 ",
        b"HTTX/1.1",
        b"",
        b"http/1.1",
        b"HTTP/1.11",
    ):
        yield Case(
            f"version {version!r}",
            (post(REQUEST).replace(b"HTTP/1.1", version, 1), 0.1, HEAD),
            unasked=True,
        )
    for start in (
        b"",
        b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00" * 100,
        b"GET",
        b"{}",
        MARK * 100,
        b"\xff" * 5000,
    ):
        yield Case(f"starts {start[:12]!r}", (start, 0.2, HEAD), unasked=True)


def half_closed() -> Iterator[Case]:
    whole = post(REQUEST)
    for place in (0, 1, 10, 50, 120, len(whole) - len(REQUEST), len(whole) - 1, len(whole)):
        yield Case(f"half closed at {place}", (whole[:place], HEAD), unasked=True)
    for route in ROUTES:
        path = route.template.replace("{id}", "d-1")
        head = f"{route.method} {path} HTTP/1.1\r\nHost: a\r\n".encode()
        name = f"half closed {route.method} {route.template}"
        yield Case(name, (head, HEAD), unasked=True)


def mutants(count: int) -> Iterator[Case]:
    """Correct requests with a few bytes changed, removed or inserted; an answer is optional."""
    drawn = random.Random(5150)
    whole = post(REQUEST.replace(b"A-1027", MARK))
    for number in range(count):
        mutant = bytearray(whole)
        for _ in range(drawn.choice((1, 1, 2, 5, 20))):
            place = drawn.randrange(drawn.choice((250, len(mutant) - 30)))
            match drawn.randrange(3):
                case 0:
                    mutant[place] = drawn.randrange(256)
                case 1:
                    del mutant[place : place + drawn.randrange(1, 20)]
                case _:
                    mutant[place:place] = drawn.choice(
                        (
                            b"\r\n",
                            b"\x00",
                            b'"',
                            b"{",
                            b"[",
                            b",",
                            b"\xff",
                            b"9",
                            b":",
                            b"\n",
                            b"\\",
                        )
                    )
        yield Case(f"mutant {number}", (bytes(mutant), 0.3, HEAD), unasked=True)


def all_cases() -> list[Case]:
    kinds = (
        broken_texts,
        lying_lengths,
        slow_bodies,
        compressed,
        chunks,
        deep,
        heads,
        smuggled,
        upgrades,
        odd_lines,
        half_closed,
    )
    return [case for kind in kinds for case in kind()] + list(mutants(450))
