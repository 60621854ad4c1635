"""Which bundle answers a request: one for each account, from its start to its end."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from features.schema import StatementError
from serving.api.answers import answer_again
from serving.api.decisions import Decisions
from serving.audit_log.log import AuditLog
from serving.decision.bundle import Bundle
from serving.decision.golden import load
from serving.operations.decide_again.replay import recompute
from serving.reviews.service import Reviews
from serving.schemas import examples
from serving.storage.bundles.held import Canary, HeldBundles
from serving.web.telemetry.metrics import DECISIONS, bundle_label
from tests.support.bundles import write_variant
from tests.support.each import each
from tests.support.records import settings_in
from tests.support.submissions import answer_to, answer_to_batch, submission

ACCOUNTS = [examples.REQUEST | {"account_id": f"a{number}", "prior": None} for number in range(20)]


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("second") / "bundle"
    write_variant(folder, 0.02)
    return load(folder)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AuditLog]:
    audit_log = AuditLog(settings_in(tmp_path))
    yield audit_log
    audit_log.close()


def bundle_of(answer: dict[str, Any]) -> str:
    digest: str = answer["model"]["bundle"]
    return digest


def test_a_batch_is_split_by_account_as_single_requests_are(
    golden: Bundle, second: Bundle, log: AuditLog
) -> None:
    bundles = HeldBundles(golden)
    bundles.set_canary(Canary(second, 0.5))
    decisions = Decisions(bundles, log)
    counted = count_decisions(second)
    batch = json.loads(asyncio.run(answer_to_batch(decisions, ACCOUNTS, "key-1")))["decisions"]
    assert [one["account_id"] for one in batch] == [one["account_id"] for one in ACCOUNTS]
    by_bundle = [bundle_of(one) for one in batch]
    assert set(by_bundle) == {golden.digest, second.digest}
    alone = [json.loads(asyncio.run(answer_to(decisions, submission(one)))) for one in ACCOUNTS]
    assert [bundle_of(one) for one in alone] == by_bundle
    assert count_decisions(second) - counted == 2 * by_bundle.count(second.digest)
    # Each row names its bundle, and so do its bytes; a review has it at hand.
    reviews = Reviews(bundles, log, answer_again)
    held = {golden.digest: golden, second.digest: second}
    for row in each(list(log.reader.of_kind(("decision",)))):
        own = held[row.metadata["model"]["bundle"]]
        again = recompute(row, own, log.secrets.id_key, log.reader.by_id)
        assert again == row.response_body
        earlier = log.reader.by_id(row.metadata.get("earlier", ""))
        assert reviews.full_vector(row, earlier)["features"]


def count_decisions(bundle: Bundle) -> float:
    """How many decisions of a bundle the metrics have."""
    label = bundle_label(bundle.digest)
    [family] = DECISIONS.collect()
    return sum(
        sample.value
        for sample in family.samples
        if sample.name.endswith("_total") and sample.labels["bundle"] == label
    )


def test_faults_of_accounts_of_both_bundles_are_listed_together(
    golden: Bundle, second: Bundle, log: AuditLog
) -> None:
    bundles = HeldBundles(golden)
    bundles.set_canary(Canary(second, 0.5))
    bad = [one | {"statements": [one["statements"][0] | {"month": "2099-01"}]} for one in ACCOUNTS]
    with pytest.raises(StatementError) as refused:
        asyncio.run(answer_to_batch(Decisions(bundles, log), bad, "key-1"))
    assert refused.value.violations[0].count == len(ACCOUNTS)


def test_a_request_is_answered_by_the_bundles_with_which_it_began(
    golden: Bundle, second: Bundle, log: AuditLog
) -> None:
    bundles = HeldBundles(golden)

    def activate_first() -> datetime.datetime:
        # The clock is read after the request has begun, and before it is decided.
        bundles.activate(second)
        bundles.set_canary(Canary(second, 1.0))
        return datetime.datetime.now(datetime.UTC)

    decisions = Decisions(bundles, log, activate_first)
    batch = json.loads(asyncio.run(answer_to_batch(decisions, ACCOUNTS, "key-1")))["decisions"]
    assert {bundle_of(one) for one in batch} == {golden.digest}
    # The control: what begins afterwards is answered by the other one.
    next_one = json.loads(asyncio.run(answer_to(decisions, submission(ACCOUNTS[0]))))
    assert bundle_of(next_one) == second.digest
    # The first is at hand for reviews and replays.
    assert bundles.held(golden.digest) is golden
