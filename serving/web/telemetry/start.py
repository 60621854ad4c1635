"""Turns on what the environment asks for: logs as JSON, and spans."""

from __future__ import annotations

from serving.web.telemetry.logs import log_as_json
from serving.web.telemetry.settings import read_telemetry
from serving.web.telemetry.spans import load_exporter, record_spans


def start_telemetry() -> None:
    """Configure logs and spans of this process.

    Raises :class:`serving.web.telemetry.settings.TelemetryError` if that is not possible.
    """
    settings = read_telemetry()
    if settings.log_format == "json":
        log_as_json()
    if settings.exporter is not None:
        record_spans(load_exporter(settings.exporter))
