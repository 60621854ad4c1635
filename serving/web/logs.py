"""What a log may hold of an error: where it happened and of which type, never its message, which
names accounts and values.
"""

from __future__ import annotations

import logging
import traceback


def format_without_values(error: BaseException | None) -> str:
    """Types and places of an error and its causes; no message, because messages name accounts and
    values.
    """
    parts = []
    while error is not None:
        parts.append("".join(traceback.format_tb(error.__traceback__)) + type(error).__name__)
        error = error.__cause__ or error.__context__
    return "\n\n".join(reversed(parts))


class ValueFilter(logging.Filter):
    """Keeps the place of a logged error and drops its message."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true; the record is changed."""
        if record.exc_info:
            error = record.exc_info[1]
            record.exc_info, record.exc_text = None, format_without_values(error)
        return True
