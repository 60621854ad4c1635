"""Requests to the bytes of their answers: what the service runs, and what a replay runs again.

The same requests and basis give the same bytes, for one account and for many.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from features.schema import StatementError
from serving.audit_log.memory import DECIDED_ON, REVIEW_ON, write_prior
from serving.decision.advice.constraints import UNCONSTRAINED, Constraints
from serving.decision.bundle import Bundle
from serving.decision.pipeline import advise_many, run_stages
from serving.decision.policy.dates import local_date
from serving.decision.policy.prior import Change, Prior, PriorError, after
from serving.decision.policy.since_last import Earlier
from serving.decision.reasons.vector import full_vector
from serving.decision.result import AdviceOptions, Advised, Decision, Found
from serving.reviews.past_decision import EARLIER
from serving.schemas.advice import Advice, make_advice
from serving.schemas.advice_request import AdviceRequest, make_advice_answer
from serving.schemas.answer_bytes import write_answer
from serving.schemas.base import encode
from serving.schemas.decision import Request, make_answer, read_requests
from serving.schemas.prior import priors_of
from serving.schemas.reason import make_detail
from serving.storage.timestamps import encode_time
from serving.web.telemetry.metrics import Decided

Endpoint = Literal["decisions", "batch", "advice"]
# Where a decision was asked for: "portfolio" is a command.
Door = Endpoint | Literal["portfolio"]
_Request = TypeVar("_Request")
# Accounts of a piece.  With advice, pieces of 8 take a tenth longer in all than 100 at once.
_AT_ONCE, _AT_ONCE_WITH_ADVICE = 50, 8


@dataclass(frozen=True, slots=True)
class AnsweredDecision:
    """A decision, and `content`: the bytes that answer it."""

    decision: Decision
    content: bytes

    def metadata(
        self, endpoint: Door, with_advice: bool, bundle: Bundle, with_detail: bool = False
    ) -> dict[str, Any]:
        """Return what the audit log stores unencrypted: nothing that identifies the person."""
        decision = self.decision
        notice = decision.notice
        today = local_date(decision.decided_at, bundle.policy)
        # Only of an event: another decision leaves the day of the next look as it is.
        look = {} if notice is None else {REVIEW_ON: _next_look(decision, today)}
        # Rows without the vector keep the fields that they had before there was one.
        detail = {"detail": True} if with_detail else {}
        # Likewise those of accounts in neither arm, and without an earlier decision.
        arm = {} if decision.arm is None else {"arm": decision.arm}
        since = decision.since_last
        earlier = {} if since is None else {EARLIER: since.decision_id}
        return {
            **detail,
            **arm,
            **earlier,
            "door": endpoint,  # the name in the stored format
            "advice": with_advice,
            "decided_at": encode_time(decision.decided_at),
            "as_of": f"{decision.as_of:%Y-%m}",
            "product": decision.product,
            "action": decision.action,
            "send_by": None if notice is None else notice.send_by.isoformat(),
            DECIDED_ON: today.isoformat(),
            **look,
            "model": {
                "name": bundle.provenance.name,
                "version": bundle.provenance.version,
                "bundle": bundle.digest,
                "reference": bundle.reference_digest,
                "policy": bundle.policy.version,
            },
        }

    def in_force(self, request: Request, bundle: Bundle) -> bytes | None:
        """Return what the decision leaves in force, as the audit log stores it; None = no event."""
        if self.decision.notice is None:
            return None
        latest = max(request.statements, key=lambda statement: statement.month)
        return self.left_in_force(latest.__dict__["balance"], bundle)

    def left_in_force(self, balance: float, bundle: Bundle) -> bytes | None:
        """Return the same, given what is owed on the latest statement, CNY."""
        if self.decision.notice is None:
            return None
        today = local_date(self.decision.decided_at, bundle.policy)
        return write_prior(_left(self.decision, today, balance))

    def counted(self, bundle: Bundle) -> Decided:
        """Return what is counted of the decision, for the metrics."""
        decision = self.decision
        return Decided(
            product=decision.product,
            action=decision.action,
            reason=decision.reasons[0].code if decision.reasons else None,
            bundle=bundle.digest,
            probability=decision.probability,
        )


@dataclass(frozen=True, slots=True)
class Basis:
    """What requests are decided with, besides themselves and the priors in them.

    `id_key` keys the decisions' ids: see :mod:`serving.decision.ids`. `earlier` are the latest
    earlier decisions on accounts, by account.
    """

    bundle: Bundle
    decided_at: datetime.datetime
    id_key: bytes
    earlier: Mapping[str, Earlier] = field(default_factory=dict)

    def of(self, requests: Sequence[Request]) -> dict[str, Earlier]:
        """Return the earlier decisions on the accounts of these requests."""
        accounts = [request.account_id for request in requests]
        return {name: self.earlier[name] for name in accounts if name in self.earlier}


def answer_requests(
    endpoint: Door,
    requests: Sequence[Request],
    with_advice: bool,
    basis: Basis,
) -> list[AnsweredDecision]:
    """Decide on requests with the priors in them; one answer a request, in their order.

    Raises
    ------
    features.schema.StatementError
        If statements break a rule.
    serving.decision.result.ProductError
        If the bundle has no model for a product.
    serving.decision.policy.prior.PriorError
        If a prior contradicts itself, the statements or the day.
    serving.decision.advice.constraints.ConstraintError
        If the choices of an advice request cannot be met.
    """
    if endpoint == "advice":
        # Each account has its own constraints, so there is no search for many at once.
        return [_answer_advice(request, basis) for request in requests]
    bundle = basis.bundle
    if with_advice:
        answered = [
            AnsweredDecision(
                advised.decision,
                encode(make_answer(advised.decision, bundle, make_advice(advised))),
            )
            for advised in _advise(requests, None, basis)
        ]
    else:
        decisions = _run_stages(requests, basis).decisions
        answered = [
            AnsweredDecision(decision, write_answer(decision, bundle)) for decision in decisions
        ]
    by_account = {answer.decision.account_id: answer for answer in answered}
    return [by_account[request.account_id] for request in requests]


def answer_in_full(
    requests: Sequence[Request],
    with_advice: bool,
    basis: Basis,
) -> list[AnsweredDecision]:
    """Decide as :func:`answer_requests`; each answer also has the full vector, its last field.

    The raises are the same, and :class:`serving.decision.scoring.score.AdditivityError`.
    """
    result = _run_stages(requests, basis)
    advice: dict[str, Advice] = {}
    if with_advice:
        for advised in _advise(requests, None, basis):
            advice[advised.decision.account_id] = make_advice(advised)
    by_account: dict[str, AnsweredDecision] = {}
    for decision, evidence in zip(result.decisions, result.evidence, strict=True):
        vector = full_vector(evidence, decision.base_log_odds, decision.log_odds)
        answer = make_answer(decision, basis.bundle, advice.get(decision.account_id))
        detail = make_detail(vector, decision.arm)
        content = encode(answer.model_copy(update={"detail": detail}))
        by_account[decision.account_id] = AnsweredDecision(decision, content)
    return [by_account[request.account_id] for request in requests]


def answer_by_bundle(
    answer: Callable[[Sequence[Request], bool, Basis], list[AnsweredDecision]],
    requests: Sequence[Request],
    bundles: Sequence[Bundle],
    with_advice: bool,
    basis: Basis,
) -> list[AnsweredDecision]:
    """Decide on each request with its own of the `bundles`, not with that of the `basis`.

    `answer` is :func:`answer_in_full`, or :func:`answer_requests` of an endpoint, and raises what
    that raises: the faults of all requests together.
    """
    by_digest = {bundle.digest: bundle for bundle in bundles}
    if len(by_digest) == 1:
        return answer(requests, with_advice, replace(basis, bundle=bundles[0]))
    by_account: dict[str, AnsweredDecision] = {}
    try:
        for digest, bundle in by_digest.items():
            own = [
                request
                for request, its in zip(requests, bundles, strict=True)
                if its.digest == digest
            ]
            for answered in answer(own, with_advice, replace(basis, bundle=bundle)):
                by_account[answered.decision.account_id] = answered
    except (StatementError, PriorError):
        # What is wrong with a request does not depend on the bundle; this lists all of it.
        answer(requests, with_advice, basis)
        raise
    return [by_account[request.account_id] for request in requests]


def answer_again(
    request: Request,
    bundle: Bundle,
    decided_at: datetime.datetime,
    id_key: bytes,
    with_detail: bool = False,
    earlier: Earlier | None = None,
) -> bytes:
    """Return the answer to one request, without advice, as the endpoint `decisions` gives it."""
    past = {} if earlier is None else {request.account_id: earlier}
    basis = Basis(bundle, decided_at, id_key, past)
    if with_detail:
        [answered] = answer_in_full([request], False, basis)
    else:
        [answered] = answer_requests("decisions", [request], False, basis)
    return answered.content


def _next_look(decision: Decision, today: datetime.date) -> str | None:
    """The day of the next look at the account after a decision; None = nothing is in force."""
    left = _left(decision, today, 0.0)  # the day does not depend on the balance
    return None if left is None or left.review_on is None else left.review_on.isoformat()


def _left(decision: Decision, today: datetime.date, balance: float) -> Prior | None:
    """What a decision leaves in force."""
    refers = decision.action == "review"
    change = Change(
        decision_id=decision.decision_id,
        on=today,
        limit_before=decision.credit_limit,
        limit=decision.new_limit,
        effective_on=decision.effective_on or today,
        suspended=decision.suspended,
        balance=balance,
        log_odds=decision.log_odds,
        review_on=None if refers else decision.review_on,
        refers=refers,
    )
    return after(decision.prior, change)


def constraints_of(request: Request) -> Constraints:
    """Return the customer's choices in a request as the decision takes them; by default none."""
    if isinstance(request, AdviceRequest) and request.choices is not None:
        return Constraints(**request.choices.model_dump())
    return UNCONSTRAINED


def is_long(endpoint: Endpoint, with_advice: bool) -> bool:
    """Return whether a request takes so long that the event loop must not wait for it."""
    return with_advice or endpoint != "decisions"


def split(requests: Sequence[_Request], with_advice: bool) -> Iterator[Sequence[_Request]]:
    """Yield requests in their order, as many at a time as take about a tenth of a second."""
    at_once = _AT_ONCE_WITH_ADVICE if with_advice else _AT_ONCE
    for first in range(0, len(requests), at_once):
        yield requests[first : first + at_once]


def join_answers(endpoint: Endpoint, contents: Sequence[bytes]) -> bytes:
    """Return the body of the response; an answer has the same bytes alone and in a batch."""
    if endpoint == "batch":
        return b'{"decisions":[' + b",".join(contents) + b"]}"
    return contents[0]


def _run_stages(requests: Sequence[Request], basis: Basis) -> Found:
    return run_stages(
        read_requests(requests),
        basis.bundle,
        basis.decided_at,
        priors_of(requests),
        basis.id_key,
        basis.of(requests),
    )


def _advise(
    requests: Sequence[Request],
    constraints: Sequence[Constraints] | None,
    basis: Basis,
) -> list[Advised]:
    return advise_many(
        read_requests(requests),
        basis.bundle,
        basis.decided_at,
        AdviceOptions(constraints, earlier=basis.of(requests)),
        priors_of(requests),
        basis.id_key,
    )


def _answer_advice(request: Request, basis: Basis) -> AnsweredDecision:
    constraints = constraints_of(request)
    [advised] = _advise(
        [request],
        None if constraints is UNCONSTRAINED else [constraints],
        basis,
    )
    content = encode(make_advice_answer(advised, basis.bundle))
    return AnsweredDecision(advised.decision, content)
