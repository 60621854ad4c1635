"""What a command prints, the names and reasons that it takes, and options that it would not use."""

from __future__ import annotations

import argparse
import io
import sys
import unicodedata
from collections.abc import Iterable

# Control characters, surrogates, line and paragraph separators: a terminal obeys some of them.
_NOT_ON_A_LINE = frozenset({"Cc", "Cs", "Zl", "Zp"})


class OptionError(ValueError):
    """An option of a command that the command would not use."""


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


def refuse_options(options: argparse.Namespace, names: Iterable[str], expected: str) -> None:
    """Refuse options that were given and would be ignored.

    Args:
        options: Of a command; ``parser`` is that of the command.
        names: Attributes of ``options``.  One that has its default was not given.
        expected: What the message says of the option, such as "expected --out too".

    Raises:
        OptionError: The first one that was given.
    """
    parser: argparse.ArgumentParser = options.parser
    for name in names:
        if getattr(options, name) != parser.get_default(name):
            raise OptionError(f"--{name.replace('_', '-')}: {expected}")
