"""What is logged and traced, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

LogFormat = Literal["text", "json"]


class TelemetryError(ValueError):
    """A setting of logs or traces cannot be used: which, what was expected, what came."""


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """How the service logs, and where it sends its spans."""

    log_format: LogFormat  # CLEARLINE_LOG; json also logs one line a request
    exporter: str | None  # OTEL_TRACES_EXPORTER: console, otlp, ...; None = no spans are made


def read_telemetry(environment: Mapping[str, str] = os.environ) -> TelemetrySettings:
    """Read the settings from environment variables.

    OpenTelemetry's own default for the exporter is ``otlp``; here spans are made only on request.

    Raises
    ------
    TelemetryError
        If the format of the log is unknown.

    >>> read_telemetry({})
    TelemetrySettings(log_format='text', exporter=None)
    >>> read_telemetry({"CLEARLINE_LOG": "json", "OTEL_TRACES_EXPORTER": "otlp"}).exporter
    'otlp'
    """
    log_format = environment.get("CLEARLINE_LOG") or "text"
    if log_format not in get_args(LogFormat):
        raise TelemetryError(f"CLEARLINE_LOG: expected text or json, got {log_format!r}")
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    return TelemetrySettings(
        log_format=cast(LogFormat, log_format),
        exporter=None if exporter in ("", "none") else exporter,
    )
