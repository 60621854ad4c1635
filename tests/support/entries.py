"""Decisions as the service appends them, made by the golden bundle, which loads in no time."""

from __future__ import annotations

import copy
import datetime
import json
from typing import Any

from serving.api.answers import Basis, Endpoint, answer_requests
from serving.audit_log.entry import Entry, NewEntry
from serving.decision.bundle import Bundle
from serving.decision.ids import UNKEYED
from serving.schemas import examples
from serving.schemas.advice_request import AdviceRequest
from serving.schemas.base import parse
from serving.schemas.decision import Request
from tests.support.records import NOW


def example_request(account: str, endpoint: Endpoint = "decisions", **changes: Any) -> Request:
    """The documented example's request for an account; ``changes`` are of its newest statement."""
    body = copy.deepcopy(examples.REQUEST) | {"account_id": account}
    body["statements"][-1] |= changes
    if endpoint == "advice":
        body["choices"] = {"monthly_payment": 3000.0}
        return parse(AdviceRequest, json.dumps(body).encode())
    return parse(Request, json.dumps(body).encode())


def decision_entry(
    request: Request,
    bundle: Bundle,
    endpoint: Endpoint = "decisions",
    with_advice: bool = False,
    at: datetime.datetime = NOW,
    tenant: str = "lender",
) -> NewEntry:
    """The entry of the decision on a request, with an id without a key."""
    [answered] = answer_requests(endpoint, [request], with_advice, Basis(bundle, at, UNKEYED))
    decision = answered.decision
    return NewEntry(
        entry_id=decision.decision_id,
        kind="decision",
        subject=decision.decision_id,
        tenant=tenant,
        caller="key-1",
        at=at,
        account=decision.account_id,
        metadata=answered.metadata(endpoint, with_advice, bundle),
        request_body=request.model_dump_json().encode(),
        response_body=answered.content,
        in_force=answered.in_force(request, bundle),
    )


def stored_entry(draft: NewEntry) -> Entry:
    """The entry as a reader gives it back, without a database."""
    return Entry(
        seq=1,
        entry_id=draft.entry_id,
        kind=draft.kind,
        subject=draft.subject,
        tenant=draft.tenant,
        caller=draft.caller,
        at=draft.at,
        data_subject="a person",
        metadata=draft.metadata,
        request_body=draft.request_body,
        response_body=draft.response_body,
        unique_key=draft.unique_key,
        digest=draft.digest,
        due=draft.due,
        erased=False,
    )
