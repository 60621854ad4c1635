"""Series that are read at each ``GET /metrics`` rather than counted, as text for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

BACKLOG = ("notices", "reviews", "looks")
_BACKLOG_TEXT = {
    "notices": "Notices to customers that nobody has sent, by the last day to send them.",
    "reviews": "Reviews that nobody has answered, by the last day to answer them.",
    "looks": "Accounts with something in force, by the day of the next decision on them.",
}


def state_text(
    ready: bool,
    bundle: Mapping[str, str],
    backlog: Mapping[str, Mapping[str, int]],
) -> str:
    """Return the series of the service's state.

    `bundle` has the labels of the bundle in service. `backlog` has the number of entries by list
    (:data:`BACKLOG`) and by when they are to be done; empty = the database does not answer.
    """
    registry = CollectorRegistry()
    registry.register(_Families(list(_families(ready, bundle, backlog))))
    return generate_latest(registry).decode()


def _families(
    ready: bool,
    bundle: Mapping[str, str],
    backlog: Mapping[str, Mapping[str, int]],
) -> Iterator[GaugeMetricFamily]:
    yield GaugeMetricFamily(
        "clearline_record_ready", "Whether the audit log accepts rows.", value=float(ready)
    )
    served = GaugeMetricFamily(
        "clearline_bundle", "1 for the bundle that decides.", labels=list(bundle)
    )
    served.add_metric(list(bundle.values()), 1.0)
    yield served
    for name, counts in backlog.items():
        waiting = GaugeMetricFamily(f"clearline_{name}", _BACKLOG_TEXT[name], labels=["when"])
        for when, count in counts.items():
            waiting.add_metric([when], float(count))
        yield waiting


class _Families(Collector):
    """A collector of families that were made before; prometheus_client needs one."""

    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the families."""
        yield from self._families
