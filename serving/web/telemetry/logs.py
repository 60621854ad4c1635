"""What a log may hold of an error: its type and place, never its message.

Messages of libraries name accounts and values.
"""

from __future__ import annotations

import datetime
import json
import logging
import traceback
from collections.abc import Iterator
from typing import Any

from serving.web.telemetry.trace import current_trace
from serving.web.telemetry.watch import LOGGER as REQUEST_LOGGER

# Loggers of this project, whose messages hold no values of requests.
_OURS = ("clearline", "bentoml.limit_reduction")


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


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the ids of the request during which it was logged.

    Of other libraries' messages the first line is kept, before values are put into it.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line: dict[str, Any] = {
            "time": _utc_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        trace = current_trace()
        if trace is not None:
            line |= {"trace": trace.trace_id, "request": trace.span_id}
        line |= getattr(record, "fields", {})
        error = _error_text(record)
        if error:
            line["error"] = error
        return json.dumps(line, ensure_ascii=False)


def log_as_json() -> None:
    """Let every handler of this process write JSON, and log each request.

    The handlers are those that exist now: BentoML makes them before it loads a service.
    """
    formatter = JsonFormatter()
    for logger in _loggers():
        for handler in logger.handlers:
            handler.setFormatter(formatter)
    REQUEST_LOGGER.setLevel(logging.INFO)


def _loggers() -> Iterator[logging.Logger]:
    yield logging.getLogger()
    for name in list(logging.root.manager.loggerDict):
        yield logging.getLogger(name)


def _utc_time(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds")


def _message(record: logging.LogRecord) -> str:
    if _is_ours(record.name):
        return record.getMessage()
    # asyncio writes the error of a task, with its message, on the second line.
    return str(record.msg).partition("\n")[0]


def _is_ours(name: str) -> bool:
    return any(name == ours or name.startswith(f"{ours}.") for ours in _OURS)


def _error_text(record: logging.LogRecord) -> str:
    if record.exc_info:
        return format_without_values(record.exc_info[1])
    # Set by :class:`ValueFilter`, from which the values are gone.
    return record.exc_text if record.exc_text and record.exc_info is None else ""
