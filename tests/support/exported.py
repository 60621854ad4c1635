"""The names of the series that the service exports, from where they are declared."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Counter, Gauge, Histogram, Metric
from prometheus_client.parser import text_string_to_metric_families

from serving.web.telemetry import metrics
from serving.web.telemetry.state import BACKLOG, bundle_text, state_text

_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def exported_names() -> list[str]:
    """The series of the service, as Prometheus names them."""
    backlog = {name: {"due": 0} for name in BACKLOG}
    state = state_text(True, {"bundle": "0"}, backlog, {"app": (0, 0, 0.0)})
    state += bundle_text({("0", "active"): 1}, 0.0, {"taken": 0})
    families = [*_counted(), *text_string_to_metric_families(state)]
    return [family.name + end for family in families for end in _SUFFIXES[family.type]]


def _counted() -> Iterator[Metric]:
    for declared in vars(metrics).values():
        if isinstance(declared, Counter | Gauge | Histogram):
            yield from declared.collect()
