"""From parsed requests to the bytes of their answers: what the service does, and what a replay does
again.

The same requests, bundle and time give the same bytes, for one account and for many.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from serving.decision.bundle import Bundle
from serving.decision.pipeline import advise, advise_many, decide_many
from serving.decision.result import Decision
from serving.schemas.advice import make_advice
from serving.schemas.advice_request import AdviceRequest, make_advice_answer
from serving.schemas.base import encode
from serving.schemas.decision import Request, make_answer, statements_table

Endpoint = Literal["decisions", "batch", "advice"]


@dataclass(frozen=True, slots=True)
class AnsweredDecision:
    """A decision, and the bytes that answer it."""

    decision: Decision
    content: bytes

    def metadata(self, door: Endpoint, with_advice: bool, bundle: Bundle) -> dict[str, Any]:
        """What the record keeps readable of it: nothing that tells who it is."""
        decision = self.decision
        notice = decision.notice
        return {
            "door": door,
            "advice": with_advice,
            "decided_at": decision.decided_at.astimezone(datetime.UTC).strftime(
                "%Y-%m-%dT%H:%M:%S.%fZ"
            ),
            "as_of": f"{decision.as_of:%Y-%m}",
            "product": decision.product,
            "action": decision.action,
            "send_by": None if notice is None else notice.send_by.isoformat(),
            "model": {
                "name": bundle.provenance.name,
                "version": bundle.provenance.version,
                "bundle": bundle.digest,
                "reference": bundle.reference_digest,
                "policy": bundle.policy.version,
            },
        }


def answer_requests(
    door: Endpoint,
    requests: Sequence[Request],
    with_advice: bool,
    bundle: Bundle,
    decided_at: datetime.datetime,
) -> list[AnsweredDecision]:
    """One answer a request, in their order.

    Raises :class:`features.schema.StatementError`, :class:`serving.decision.result.ProductError`
    and, for the door ``advice``, :class:`serving.decision.advice.constraints.ConstraintError` for
    what the decision refuses.
    """
    asked = statements_table(requests)
    if door == "advice":
        settled = [request.settled() for request in requests if isinstance(request, AdviceRequest)]
        advised = [advise(asked, bundle, decided_at, choices) for choices in settled]
        made = [
            AnsweredDecision(one.decision, encode(make_advice_answer(one, bundle)))
            for one in advised
        ]
    elif with_advice:
        each = advise_many(asked, bundle, decided_at)
        made = [
            AnsweredDecision(
                one.decision, encode(make_answer(one.decision, bundle, make_advice(one)))
            )
            for one in each
        ]
    else:
        made = [
            AnsweredDecision(one, encode(make_answer(one, bundle)))
            for one in decide_many(asked, bundle, decided_at)
        ]
    by_account = {answered.decision.account_id: answered for answered in made}
    return [by_account[request.account_id] for request in requests]


def join_answers(door: Endpoint, contents: Sequence[bytes]) -> bytes:
    """The body that is sent: an answer has the same bytes alone and in a batch."""
    return b'{"decisions":[' + b",".join(contents) + b"]}" if door == "batch" else contents[0]
