"""An account that comes with another product than that of its earlier decisions."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
from collections import Counter
from typing import Any

import httpx
import pytest

from serving.api.decisions import Decisions
from serving.audit_log.entry import Entry
from serving.audit_log.log import AuditLog
from serving.decision.bundle import Bundle
from serving.operations.decide_again.replay import Bundles, replay
from serving.reviews.past_decision import OtherProductError
from serving.schemas import examples
from tests.golden.remake import BUNDLE
from tests.golden.test_answers import bodies
from tests.support.each import each
from tests.support.entries import decision_entry, example_request
from tests.support.records import append
from tests.support.served import Server
from tests.support.submissions import answer_to, answer_to_batch, submission

Json = dict[str, Any]
FIRST, OTHER = "pay_later", "cash_loan"
CUTS = ("reduce", "suspend")
MESSAGE = (
    f"expected {FIRST}, as in the earlier decisions on the account, or a request that states its "
    "prior"
)


def cut_request(product: str, account: str = "acct-1", **fields: Any) -> Json:
    """The documented request, whose limit is cut under both products."""
    named = {"account_id": account, "product": product}
    return copy.deepcopy(examples.REQUEST) | named | fields


def kept_request(product: str, **fields: Any) -> Json:
    """One of the golden requests, which is kept under both products."""
    return copy.deepcopy(bodies()[1]) | {"account_id": "acct-1", "product": product} | fields


def decide(decisions: Decisions, request: Json) -> Json:
    answer: Json = json.loads(asyncio.run(answer_to(decisions, submission(request))))
    return answer


def rows_of(log: AuditLog) -> list[Entry]:
    return list(log.reader.of_kind(["decision"]))


def refused(decisions: Decisions, request: Json) -> OtherProductError:
    with pytest.raises(OtherProductError) as caught:
        decide(decisions, request)
    return caught.value


def test_the_prior_of_another_product_is_not_taken(record: AuditLog, golden: Bundle) -> None:
    decisions = Decisions(golden, record)
    assert decide(decisions, cut_request(FIRST))["action"] in CUTS
    error = refused(decisions, cut_request(OTHER))
    assert error.recorded == {"acct-1": FIRST}
    expected = f"account acct-1: expected {FIRST}, that of its earlier decisions, got {OTHER}"
    assert expected in str(error)
    assert len(rows_of(record)) == 1
    # The control: its own product, and another account.
    assert decide(decisions, cut_request(FIRST))["prior"] is not None
    assert decide(decisions, cut_request(OTHER, "acct-2"))["action"] in CUTS


def test_an_account_that_was_only_kept_has_its_product_too(
    record: AuditLog, golden: Bundle
) -> None:
    decisions = Decisions(golden, record)
    assert decide(decisions, kept_request(FIRST))["action"] == "keep"
    assert refused(decisions, kept_request(OTHER)).recorded == {"acct-1": FIRST}
    assert decide(decisions, kept_request(FIRST))["since_last"] is not None


def test_a_request_that_states_its_prior_is_decided_and_compared_with_nothing(
    record: AuditLog, golden: Bundle
) -> None:
    decisions = Decisions(golden, record)
    decide(decisions, cut_request(FIRST))
    stated = decide(decisions, kept_request(OTHER, prior=None))
    assert (stated["action"], stated["since_last"]) == ("keep", None)
    # What is in force is still that of the first product, whatever was decided last.
    assert refused(decisions, kept_request(OTHER)).recorded == {"acct-1": FIRST}
    of_first = decide(decisions, cut_request(FIRST))
    assert (of_first["prior"] is not None, of_first["since_last"]) == (True, None)
    # From its own cut on, the account has the other product.
    assert decide(decisions, cut_request(OTHER, prior=None))["action"] in CUTS
    assert decide(decisions, cut_request(OTHER))["prior"] is not None
    assert refused(decisions, cut_request(FIRST)).recorded == {"acct-1": OTHER}
    bundles = Bundles({golden.digest: BUNDLE})
    done = replay(rows_of(record), bundles, record.secrets.id_key, record.reader.by_id)
    assert done.counts == Counter(same=5), done.different


def test_one_account_of_a_batch_refuses_all(record: AuditLog, golden: Bundle) -> None:
    decisions = Decisions(golden, record)
    decide(decisions, cut_request(FIRST))
    decide(decisions, cut_request(FIRST, "acct-2"))
    batch = [cut_request(OTHER, account) for account in ("acct-1", "acct-2", "acct-3")]
    with pytest.raises(OtherProductError) as caught:
        asyncio.run(answer_to_batch(decisions, batch, "key-1"))
    assert caught.value.recorded == {"acct-1": FIRST, "acct-2": FIRST}
    assert "and 1 more" in str(caught.value)
    assert len(rows_of(record)) == 2


def test_a_row_that_does_not_say_its_product_refuses_nothing(
    record: AuditLog, golden: Bundle
) -> None:
    written = decision_entry(example_request("acct-1"), golden)
    without = {name: value for name, value in written.metadata.items() if name != "product"}
    append(record, [dataclasses.replace(written, metadata=without)])
    assert decide(Decisions(golden, record), cut_request(OTHER))["action"] in CUTS


@pytest.mark.integration
def test_over_http_the_path_is_that_of_the_product(server: Server) -> None:
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=30) as client:
        own = cut_request(FIRST, "other-product")
        client.post("/v1/decisions", json=own).raise_for_status()
        wrong = own | {"product": OTHER}
        batch = {"accounts": [own | {"account_id": "other-product-2"}, wrong]}
        sent = [
            ("/v1/decisions", wrong, "$.product"),
            ("/v1/decisions/batch", batch, "$.accounts[1].product"),
            ("/v1/advice", wrong, "$.product"),
        ]
        for endpoint, body, path in each(sent):
            answer = client.post(endpoint, json=body)
            assert answer.status_code == 422, answer.text
            assert answer.json()["errors"] == [{"path": path, "message": MESSAGE}]
        stated = client.post("/v1/decisions", json=wrong | {"prior": None})
        assert stated.raise_for_status().json()["since_last"] is None
