"""Requests to the decisions as the service hands them on, without HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from serving.api.decisions import Decisions
from serving.api.submission import Submission
from serving.auth.caller import Caller
from serving.auth.request_context import RequestContext
from serving.schemas.base import parse
from serving.schemas.decision import BatchRequest, Request

LENDER = Caller("k1", "lender", frozenset({"score"}))


def submission(
    sent: dict[str, Any],
    key: str | None = None,
    *,
    caller: Caller = LENDER,
    advice: bool = False,
    detail: bool = False,
    age: float = 0.0,
) -> Submission[Request]:
    """Return a request to decide on one account that arrived `age` seconds ago."""
    context = RequestContext(caller, time.monotonic() - age, key, advice, detail)
    return Submission(parse(Request, json.dumps(sent).encode()), context)


async def answer_to(decisions: Decisions, sent: Submission[Request]) -> bytes:
    """Return the bytes of the answer to a request."""
    response = await decisions.decide("decisions", sent.body, [sent.body], sent.context)
    return bytes(response.body)


async def answer_to_batch(
    decisions: Decisions, accounts: Sequence[dict[str, Any]], key: str
) -> bytes:
    """Return the bytes of the answer to a batch."""
    body = parse(BatchRequest, json.dumps({"accounts": list(accounts)}).encode())
    context = RequestContext(LENDER, time.monotonic(), key)
    response = await decisions.decide("batch", body, body.accounts, context)
    return bytes(response.body)
