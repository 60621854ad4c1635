"""What a log may hold of an error: its type and place, never its message.

Messages of libraries name accounts and values.
"""

from __future__ import annotations

import logging
import traceback


def format_without_values(error: BaseException | None) -> str:
    """Return the types and tracebacks of an error and its causes, the first cause first."""
    parts = []
    while error is not None:
        frames = "".join(traceback.format_tb(error.__traceback__))
        parts.append(frames + type(error).__name__)
        error = error.__cause__ or error.__context__
    return "\n\n".join(reversed(parts))


class ValueFilter(logging.Filter):
    """Keeps the traceback of a logged error and drops its message."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the error in `record` by its text without values; always true."""
        if record.exc_info:
            error = record.exc_info[1]
            # `exc_text` is the cache that formatters use instead of formatting `exc_info`.
            record.exc_info, record.exc_text = None, format_without_values(error)
        return True
