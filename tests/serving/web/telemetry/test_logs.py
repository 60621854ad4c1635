"""Lines of JSON hold the ids of their request, and no value of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest

from serving.web.telemetry import logs
from serving.web.telemetry.logs import JsonFormatter, ValueFilter, log_as_json
from serving.web.telemetry.settings import TelemetryError, read_telemetry
from serving.web.telemetry.trace import begin_trace, enter_trace, leave_trace
from serving.web.telemetry.watch import LOGGER as REQUESTS
from tests.support.gated_app import MARK

OURS, FOREIGN = "clearline.test", "uvicorn.error"


@pytest.fixture
def output() -> Iterator[StringIO]:
    """What the loggers of this test write as JSON."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    loggers = [logging.getLogger(name) for name in (OURS, FOREIGN)]
    for logger in loggers:
        logger.addHandler(handler)
    yield stream
    for logger in loggers:
        logger.removeHandler(handler)


def lines(output: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def fail() -> None:
    raise ValueError(f"the balance of {MARK} is wrong")


def test_a_line_has_the_ids_of_its_request(output: StringIO) -> None:
    trace = begin_trace([])
    entered = enter_trace(trace)
    logging.getLogger(OURS).warning("a query of %s was given up", "lists")
    leave_trace(entered)
    logging.getLogger(OURS).warning("the audit log accepts writes again")
    first, second = lines(output)
    assert first["message"] == "a query of lists was given up"
    assert (first["trace"], first["request"]) == (trace.trace_id, trace.span_id)
    assert (first["level"], first["logger"]) == ("warning", OURS)
    assert first["time"].endswith("+00:00")
    assert "trace" not in second


@pytest.mark.parametrize("name", [OURS, FOREIGN])
@pytest.mark.parametrize("filtered", [False, True])
def test_an_error_is_logged_by_type_and_place(output: StringIO, name: str, filtered: bool) -> None:
    logger = logging.getLogger(name)
    value_filter = ValueFilter()
    if filtered:
        logger.addFilter(value_filter)
    try:
        fail()
    except ValueError:
        logger.exception("internal error")
    finally:
        logger.removeFilter(value_filter)
    [line] = lines(output)
    assert line["error"].endswith("ValueError")
    assert "in fail" in line["error"]
    assert MARK not in output.getvalue().replace("{MARK}", "")


def test_other_libraries_messages_have_no_values(output: StringIO) -> None:
    logger = logging.getLogger(FOREIGN)
    logger.error("invalid header %s of %s", MARK, {"account": MARK})
    # As asyncio does of a task that nobody waited for.
    logger.error(f"Task exception was never retrieved\nfuture: <Task exception={MARK!r}>")
    assert [line["message"] for line in lines(output)] == [
        "invalid header %s of %s",
        "Task exception was never retrieved",
    ]
    assert MARK not in output.getvalue()


def test_a_value_in_a_line_would_be_found(output: StringIO) -> None:
    logging.getLogger(OURS).error("account %s", MARK)
    assert MARK in output.getvalue()


def test_every_handler_writes_json(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = StringIO()
    logger = logging.Logger("root")
    logger.addHandler(logging.StreamHandler(stream))
    monkeypatch.setattr(logs, "_loggers", lambda: iter([logger]))
    level = REQUESTS.level
    try:
        log_as_json()
        assert REQUESTS.isEnabledFor(logging.INFO)
    finally:
        REQUESTS.setLevel(level)
    logger.error("text")
    assert json.loads(stream.getvalue())["level"] == "error"


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(TelemetryError, match="CLEARLINE_LOG: expected text or json, got 'xml'"):
        read_telemetry({"CLEARLINE_LOG": "xml"})
