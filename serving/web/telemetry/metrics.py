"""Every series that the service exports, with its labels and buckets.

Each label has few values, whatever callers send: a route is a template, a product one of the
bundle. No label and no value is of a single customer.

BentoML starts each worker with a folder in ``PROMETHEUS_MULTIPROC_DIR``; ``GET /metrics`` adds the
workers up. Its own series are left out (:func:`serving.api.bento.with_own_layers`): they
count no refused request, and their shortest bucket is 5 ms.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

from prometheus_client import Counter, Gauge, Histogram

# Seconds. A kept decision takes some milliseconds, a batch with advice seconds; beyond the last
# bucket no caller waits.
REQUEST_BUCKETS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.0, 4.0,
)  # fmt: skip
COMMIT_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
PROBABILITY_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)

REQUESTS = Counter(
    "clearline_requests",
    "Requests, by the status of their answer; closed = the client left before it.",
    ["method", "route", "status"],
)
SECONDS = Histogram(
    "clearline_request_seconds",
    "Seconds from a request's head to the end of its answer, of requests that were not refused.",
    ["route"],
    buckets=REQUEST_BUCKETS,
)
REFUSALS = Counter(
    "clearline_refusals",
    "Requests that were refused or failed, by kind.",
    ["kind"],
)
DECISIONS = Counter(
    "clearline_decisions",
    "Decisions that were stored; reason is the first one, bundle the beginning of the digest.",
    ["product", "action", "reason", "bundle"],
)
PROBABILITY = Histogram(
    "clearline_probability",
    "Probability of default of the accounts that were decided on.",
    ["product"],
    buckets=PROBABILITY_BUCKETS,
)
WAITING_ROWS = Gauge(
    "clearline_record_waiting_rows",
    "Rows that wait for the audit log's writer.",
    multiprocess_mode="livesum",
)
COMMIT_SECONDS = Histogram(
    "clearline_record_commit_seconds",
    "Seconds of a transaction that makes rows durable, with those that failed.",
    buckets=COMMIT_BUCKETS,
)
SHADOW_DECISIONS = Counter(
    "clearline_shadow_decisions",
    "Decisions of the challenger that were stored, beside the action that was answered.",
    ["product", "action", "shadow_action"],
)
SHADOW_DROPPED = Counter(
    "clearline_shadow_dropped",
    "Decisions that the challenger did not make, or that were not stored, by why.",
    ["why"],
)
SHADOW_RESTARTS = Counter(
    "clearline_shadow_restarts",
    "Starts of the challenger's process after the first.",
)

_METHODS = frozenset({"GET", "HEAD", "POST"})
_KINDS: Mapping[int, str] = {
    HTTPStatus.BAD_REQUEST: "malformed",
    HTTPStatus.UNAUTHORIZED: "unauthenticated",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method",
    HTTPStatus.REQUEST_TIMEOUT: "slow_client",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.GONE: "erased",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "media_type",
    HTTPStatus.UNPROCESSABLE_ENTITY: "invalid",
    HTTPStatus.TOO_MANY_REQUESTS: "rate",
    HTTPStatus.INTERNAL_SERVER_ERROR: "fault",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
    HTTPStatus.GATEWAY_TIMEOUT: "unconfirmed",
}
_BUNDLE_DIGITS = 12
NO_REASON = "none"
OTHER = "other"


class Decided(NamedTuple):
    """What is counted of a decision; `reason` is the code of the first, None = it has none."""

    product: str
    action: str
    reason: str | None
    bundle: str
    probability: float


def count_decision(decided: Decided) -> None:
    """Count a decision that is stored."""
    reason = decided.reason or NO_REASON
    bundle = bundle_label(decided.bundle)
    DECISIONS.labels(decided.product, decided.action, reason, bundle).inc()
    PROBABILITY.labels(decided.product).observe(decided.probability)


def bundle_label(digest: str) -> str:
    """Return the beginning of a bundle's digest, which is enough to tell bundles apart."""
    return digest[:_BUNDLE_DIGITS]


def method_label(method: str) -> str:
    """Return a method that the service knows, or ``other``: callers may invent some."""
    return method if method in _METHODS else OTHER


def count_request(method: str, route: str, status: int | None, seconds: float) -> None:
    """Count a request; `status` is None if it was not answered.

    `method` is of :func:`method_label`, and `route` a template.
    """
    _requests(method, route, status).inc()
    if status is None:
        return
    if status < HTTPStatus.BAD_REQUEST:
        SECONDS.labels(route).observe(seconds)
    else:
        _refusals(status).inc()


# Labels are looked up under a lock, which takes longer than the count itself.
@functools.lru_cache(maxsize=1024)
def _requests(method: str, route: str, status: int | None) -> Counter:
    shown = "closed" if status is None else str(status)
    return REQUESTS.labels(method, route, shown)


@functools.lru_cache(maxsize=64)
def _refusals(status: int) -> Counter:
    return REFUSALS.labels(refusal_kind(status))


def refusal_kind(status: int) -> str:
    """Return the kind of a refusal, by the status of its answer.

    >>> refusal_kind(429), refusal_kind(418)
    ('rate', 'other')
    """
    return _KINDS.get(status, OTHER)
