"""Series that are read at each ``GET /metrics`` rather than counted, as text for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

EVENTS = {
    "waiting": "Events that an endpoint has not taken.",
    "refused": "Events that an endpoint refused, and that were set aside.",
    "oldest_seconds": "Seconds since the earliest event that waits was written.",
}
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
    events: Mapping[str, Sequence[float]],
) -> str:
    """Return the series of the service's state.

    `bundle` has the labels of the bundle in service. `backlog` has the number of entries by list
    (:data:`BACKLOG`) and by when they are to be done; empty = the database does not answer.
    `events` has the values of :data:`EVENTS` by endpoint.
    """
    return _text([*_families(ready, bundle, backlog), *_event_families(events)])


def bundle_text(
    workers: Mapping[tuple[str, str], int],
    canary_share: float,
    activations: Mapping[str, int],
) -> str:
    """Return the series of the bundles that the workers serve.

    `workers` has the number of workers by bundle and role, ``active`` or ``canary``;
    `canary_share` is the largest of a worker, and `activations` has their number by outcome.
    """
    served = GaugeMetricFamily(
        "clearline_bundle_workers", "Workers that serve a bundle.", labels=["bundle", "role"]
    )
    for (bundle, role), count in workers.items():
        served.add_metric([bundle, role], float(count))
    share = GaugeMetricFamily(
        "clearline_canary_share",
        "Share of the accounts on which the canary decides.",
        value=canary_share,
    )
    counted = CounterMetricFamily(
        "clearline_activations",
        "Bundles that were activated: taken over, or refused.",
        labels=["outcome"],
    )
    for outcome, count in activations.items():
        counted.add_metric([outcome], float(count))
    return _text([served, share, counted])


def _text(families: Sequence[Metric]) -> str:
    registry = CollectorRegistry()
    registry.register(_Families(families))
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


def _event_families(events: Mapping[str, Sequence[float]]) -> Iterator[GaugeMetricFamily]:
    for place, (name, text) in enumerate(EVENTS.items()):
        family = GaugeMetricFamily(f"clearline_events_{name}", text, labels=["endpoint"])
        for endpoint, values in events.items():
            family.add_metric([endpoint], float(values[place]))
        yield family


class _Families(Collector):
    """A collector of families that were made before; prometheus_client needs one."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        yield from self._families
