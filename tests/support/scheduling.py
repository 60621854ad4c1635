"""Which worker of a parallel run gets which tests, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xdist.scheduler import LoadFileScheduling

from tests.support.paths import ROOT

if TYPE_CHECKING:
    import pytest

# Fixtures that start a service once for all tests of a worker.
SHARED_SERVICES = frozenset({"server", "guarded"})
# The files that ask for them, which one worker runs: a start costs as much as most of their tests.
SERVED = (
    "tests/serving/api/test_advice.py",
    "tests/serving/api/test_detail.py",
    "tests/serving/api/test_other_product.py",
    "tests/serving/api/test_prior.py",
    "tests/serving/api/test_promises.py",
    "tests/serving/api/test_recorded_prior.py",
    "tests/serving/api/test_reviews.py",
    "tests/serving/audit_log/test_workers.py",
    "tests/serving/auth/test_direct_client.py",
    "tests/serving/auth/test_gate.py",
    "tests/serving/auth/test_routes.py",
    "tests/serving/operations/decide_again/test_replay.py",
    "tests/serving/operations/test_client.py",
    "tests/serving/operations/test_explain.py",
    "tests/serving/operations/test_pack.py",
    "tests/serving/portfolio/test_twenty_thousand.py",
    "tests/serving/test_service.py",
    "tests/serving/test_taiwan_flow.py",
    "tests/serving/web/test_raw_http.py",
)
# Places whose tests share what takes long to make, services or a population with its cut accounts:
# one worker makes it, and runs them all.
TOGETHER = (SERVED, ("tests/training/examine/",))
# On a fresh clone one worker compiles the loops while the others run what needs none: each of them
# would compile its own, at the same time.  After these the longest come first: at the end of a run,
# one worker would wait for the long file of another.
FIRST = (
    "tests/golden/test_answers.py",  # compiles every loop
    "tests/test_structure.py",
    "tests/training/data/ingest/",
    "tests/training/evaluate/",
    "tests/training/tracking/test_config.py",
    "tests/serving/schemas/",
    "tests/serving/auth/",
    "tests/deploy/test_",
    "tests/training/data/test_",
)
LONGEST = (
    "tests/docs/test_first_experiment.py",
    "tests/training/examine/",
    "tests/docs/test_service_pages.py",
    *SERVED,
    "tests/training/tracking/",
    "tests/training/release/",
    "tests/serving/test_start.py",
    "tests/serving/api/test_openapi.py",
    "tests/training/tune/",
    "tests/serving/test_no_pickle.py",
    "tests/serving/test_environment.py",
    "tests/serving/decision/",
    "tests/training/test_cli.py",
    "tests/serving/audit_log/",
    "tests/training/fit/",
    "tests/training/test_api.py",
    "tests/serving/portfolio/",
    "tests/serving/test_",
)


class FilesTogether(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """A file's tests in one worker, and those of the places in TOGETHER."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return next((places[0] for places in TOGETHER if file.startswith(places)), file)


def is_unlisted(item: pytest.Item) -> bool:
    """Whether a test asks for a service that tests share, and its file is not in SERVED."""
    fixtures = getattr(item, "fixturenames", ())
    return not SHARED_SERVICES.isdisjoint(fixtures) and _file_of(item) not in SERVED


def put_longest_first(items: list[pytest.Item]) -> None:
    """Sort the items in place by FIRST and LONGEST; otherwise their order stays."""
    order = FIRST + LONGEST

    def place_of(item: pytest.Item) -> int:
        file = _file_of(item)
        if file in SERVED:
            return order.index(file)
        fitting = [place for place, start in enumerate(order) if file.startswith(start)]
        return fitting[0] if fitting else len(order)

    items.sort(key=place_of)


def _file_of(item: pytest.Item) -> str:
    return Path(item.path).relative_to(ROOT).as_posix()
