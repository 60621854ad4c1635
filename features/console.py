"""The encoding of what a command prints."""

from __future__ import annotations

import io
import sys


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
