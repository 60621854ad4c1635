"""What a command prints, and the names and reasons that it takes."""

from __future__ import annotations

import argparse
import io
import sys
import unicodedata

# Control characters, surrogates, line and paragraph separators: a terminal obeys some of them.
_NOT_ON_A_LINE = frozenset({"Cc", "Cs", "Zl", "Zp"})


def use_utf8() -> None:
    """Make stdout and stderr UTF-8 where they go to a file or a pipe, whatever the locale.

    What ``python -m serving export`` prints is read again as UTF-8.  A terminal keeps its encoding;
    it shows a character that it lacks as an escape, where Python would stop with an error.
    """
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        encoding = stream.encoding if stream.isatty() else "utf-8"
        stream.reconfigure(encoding=encoding, errors="backslashreplace")


def parse_line(text: str) -> str:
    """A name or a reason for the record, as the command line has it.

    Raises:
        argparse.ArgumentTypeError: It has control characters or several lines.
    """
    if not _NOT_ON_A_LINE.isdisjoint(map(unicodedata.category, text)):
        raise argparse.ArgumentTypeError(
            f"expected one line without control characters, got {text!r}"
        )
    return text
