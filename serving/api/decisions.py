"""Decide a request once, store the decision, and only then answer.

    key already used -> the stored answer, byte for byte
    otherwise        -> look up what is recorded -> decide -> append, durable -> answer

If one worker gets two requests with the same ``Idempotency-Key``, the second waits for the first.
If two workers get them, both decide; the database stores one answer, and both workers send it.

A request without a prior gets that of the audit log. If an account gets another decision or outcome
between the look-up and the append, nothing is stored, and the request is decided again. So two
simultaneous requests do not both cut one account.

A single decision takes about a millisecond and is made on the event loop, with its look-up where
that waits for no network. A batch and advice take up to seconds, so they are made on a thread, in
pieces.

If the deadline passes before the audit log begins to write, nothing is stored (503). If it passes
during the write, the answer may have been stored (504): a retry with the same key returns it.
"""

from __future__ import annotations

import asyncio
import datetime
import functools
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from starlette.responses import Response

from features.schema import StatementError
from serving.api.answers import (
    AnsweredDecision,
    Basis,
    Endpoint,
    answer_by_bundle,
    answer_in_full,
    answer_requests,
    is_long,
    join_answers,
    split,
)
from serving.api.errors import not_stored
from serving.api.key_locks import KeyLocks
from serving.api.shadow.shadow import Shadow
from serving.audit_log.entry import NewEntry
from serving.audit_log.errors import Duplicate, Outdated, Unavailable, Unconfirmed
from serving.audit_log.log import AuditLog
from serving.audit_log.memory import NOTHING, REVIEW_ON, Memory
from serving.audit_log.reader import Reader
from serving.audit_log.rows import pack_ahead
from serving.auth.request_context import RequestContext
from serving.auth.work import cost_of
from serving.decision.bundle import Bundle
from serving.decision.policy.prior import PriorError, up_to_date
from serving.decision.policy.since_last import Earlier
from serving.decision.result import ProductError
from serving.reviews.past_decision import earlier_of_requests
from serving.reviews.workflow import review_by_policy
from serving.schemas.base import ApiRequest
from serving.schemas.decision import Request
from serving.schemas.prior import make_prior
from serving.storage.bundles.held import Choice, HeldBundles
from serving.storage.settings import BATCH_DEADLINES
from serving.web.errors import single_fault
from serving.web.params import KEY_HEADER
from serving.web.telemetry.metrics import count_decision
from serving.web.telemetry.spans import span
from serving.web.work_pool import WorkPool


def _utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True, slots=True)
class _Job:
    """Requests to decide on together, with the bundles of `choice`.

    `deadline` is on ``time.monotonic``'s clock. `unique_key` names the idempotency key in the
    database, `earlier_unique_key` in rows of earlier versions, and `digest` identifies the request;
    all None without a key.
    """

    endpoint: Endpoint
    requests: Sequence[Request]
    context: RequestContext
    deadline: float
    unique_key: str | None
    earlier_unique_key: str | None
    digest: str | None
    choice: Choice


@dataclass(frozen=True, slots=True)
class _Recalled:
    """A request with the prior to decide with, be it null, the earlier decision, and the bundle.

    `source` says where the prior is from. `follows` is the newest event of the account that it
    follows from; None if the caller stated it. `ended`: the audit log has a cut that the lender has
    taken back since, as the latest statement shows.
    """

    request: Request
    source: Literal["request", "record"]
    follows: int | None
    ended: bool
    earlier: Earlier | None
    bundle: Bundle


class Decisions:
    """Answers requests with the bundles that are held, and stores the answers in one audit log.

    A bundle alone is the active one. `now` is the clock that decides when a decision is made.
    """

    def __init__(
        self,
        bundles: HeldBundles | Bundle,
        audit_log: AuditLog,
        now: Callable[[], datetime.datetime] = _utc_now,
    ) -> None:
        self._bundles = HeldBundles.of(bundles)
        self._audit_log, self._now = audit_log, now
        self.shadow: Shadow | None = None  # what was decided is offered to it
        self.key_locks = KeyLocks()
        self.pool = WorkPool()

    async def decide(
        self,
        endpoint: Endpoint,
        body: ApiRequest,
        requests: Sequence[Request],
        context: RequestContext,
    ) -> Response:
        """Answer the `requests` in the `body` of an HTTP request.

        Raises :class:`serving.web.errors.ApiError`, and the errors of
        :func:`serving.api.answers.answer_requests`.
        """
        job = self._job(endpoint, body, requests, context)
        try:
            contents = await self._decide_as_newest(job)
        except (Unavailable, Unconfirmed) as error:
            raise not_stored(error) from None
        return Response(join_answers(endpoint, contents), media_type="application/json")

    def _job(
        self,
        endpoint: Endpoint,
        body: ApiRequest,
        requests: Sequence[Request],
        context: RequestContext,
    ) -> _Job:
        seconds = self._audit_log.deadline * (BATCH_DEADLINES if endpoint == "batch" else 1)
        unique_key = earlier = digest = None
        if context.key is not None:
            named = f"{context.caller.tenant}\0{context.key}".encode()
            unique_key = self._audit_log.secrets.unique_key(named)
            earlier = earlier_unique_key(named)
            digest = self._digest(endpoint, body, context)
        return _Job(
            endpoint=endpoint,
            requests=requests,
            context=context,
            deadline=context.arrived + seconds,
            unique_key=unique_key,
            earlier_unique_key=earlier,
            digest=digest,
            choice=self._bundles.choose(self._audit_log.secrets.id_key),
        )

    async def _decide_as_newest(self, job: _Job) -> list[bytes]:
        """Decide, and decide again while other decisions on the accounts are quicker."""
        while True:
            try:
                if job.unique_key is None:
                    return await self._decide_and_append(job)
                async with self.key_locks.hold(job.unique_key, job.deadline):
                    return await self._decide_once(job, job.unique_key)
            except Outdated:
                if time.monotonic() > job.deadline:
                    raise Unavailable("other decisions on the account were quicker") from None

    async def _decide_once(self, job: _Job, unique_key: str) -> list[bytes]:
        stored = await self._replay(job, unique_key)
        if stored is not None:
            return stored
        try:
            return await self._decide_and_append(job)
        except Duplicate:
            # Another worker has stored its answer to this key in the meantime.
            stored = await self._replay(job, unique_key)
            if stored is None:
                raise Unavailable("the row with this key cannot be read") from None
            return stored

    async def _replay(self, job: _Job, unique_key: str) -> list[bytes] | None:
        """Return the stored answers to a key; None if the key was never used.

        Raises ApiError: 422 if another request used the key, 410 if its answer was erased.
        """
        # A request of another length has another digest, whichever of its rows are found.
        places = range(len(job.requests))
        names = [name for name in (unique_key, job.earlier_unique_key) if name is not None]
        keys = [_unique_key_at(name, place) for name in names for place in places]
        rows = await self._audit_log.read(lambda reader: reader.by_unique_keys(keys), "decisions")
        if not rows:
            return None
        if any(row.digest != job.digest for row in rows):
            message = "this key was used for another request"
            raise single_fault(HTTPStatus.UNPROCESSABLE_ENTITY, message, path=KEY_HEADER)
        contents = [row.response_body for row in rows if row.response_body is not None]
        if len(contents) < len(rows):
            message = "the answer to this key was erased"
            raise single_fault(HTTPStatus.GONE, message, path=KEY_HEADER)
        return contents

    async def _decide_and_append(self, job: _Job) -> list[bytes]:
        """Decide, store the decisions, and return the answers."""
        with span("look up"):
            recalled = await self._recall(job)
        if is_long(job.endpoint, job.context.with_advice):
            with span("decide"):
                answers = await self._answer_in_pieces(job, recalled)
            key, cost = job.context.caller.key_id, float(len(answers))
            prepare = functools.partial(self._packed_rows, job, answers, recalled)
            entries = await self.pool.run(key, cost, prepare)
        else:
            with self._audit_log.expecting():
                # Requests that arrived in the same turn of the event loop get here first, so that
                # the log waits for their rows too and commits all of them together.
                await asyncio.sleep(0)
                with span("decide"):
                    answers = self._answers(job, recalled, self._now())
                entries = self._rows(job, answers, recalled)
        with span("store"):
            stored = await self._audit_log.append(entries, job.deadline)
        if self.shadow is not None:
            self.shadow.offer(stored)
        for answer, one in zip(answers, recalled, strict=True):
            count_decision(answer.counted(one.bundle))
        return [answer.content for answer in answers]

    async def _recall(self, job: _Job) -> list[_Recalled]:
        """Look up the priors of the requests that state none, and the earlier decisions of all."""
        tenant = job.context.caller.tenant
        accounts = [one.account_id for one in job.requests]

        def read(reader: Reader) -> tuple[dict[str, Memory], dict[str, Earlier]]:
            memories, latest = reader.memories_and_latest(tenant, accounts)
            return memories, earlier_of_requests(job.requests, memories, latest)

        # 100 decisions decrypted and parsed would hold the event loop for 20 ms.
        log = self._audit_log
        look_up = log.read_short if len(accounts) == 1 else log.read
        memories, earlier = await look_up(read, "decisions")
        return [
            _recalled(
                one,
                memories.get(one.account_id, NOTHING),
                earlier.get(one.account_id),
                job.choice.of(one.account_id),
            )
            for one in job.requests
        ]

    async def _answer_in_pieces(
        self, job: _Job, recalled: Sequence[_Recalled]
    ) -> list[AnsweredDecision]:
        """Decide off the event loop, some accounts at a time, so that other keys get their turns.

        Raises :class:`Unavailable` as soon as the deadline has passed.
        """
        now, key = self._now(), job.context.caller.key_id
        answers: list[AnsweredDecision] = []
        for piece in split(recalled, job.context.with_advice):
            if time.monotonic() > job.deadline:
                raise Unavailable("the deadline passed before all accounts were decided on")
            decide = functools.partial(self._answers, job, piece, now)
            cost = cost_of(len(piece), job.endpoint, job.context.with_advice)
            try:
                answers += await self.pool.run(key, cost, decide)
            except (StatementError, PriorError, ProductError):
                if len(piece) < len(recalled):
                    # The faults of all accounts are listed together.
                    await self.pool.run(key, cost, lambda: self._answers(job, recalled, now))
                raise
        return answers

    def _answers(
        self, job: _Job, recalled: Sequence[_Recalled], now: datetime.datetime
    ) -> list[AnsweredDecision]:
        """Decide on requests of a job, which have their priors by now, each with its bundle."""
        earlier = {
            one.request.account_id: one.earlier for one in recalled if one.earlier is not None
        }
        basis = Basis(job.choice.active, now, self._audit_log.secrets.id_key, earlier)
        requests = [one.request for one in recalled]
        bundles = [one.bundle for one in recalled]
        plain = functools.partial(answer_requests, job.endpoint)
        answer = answer_in_full if job.context.with_detail else plain
        return answer_by_bundle(answer, requests, bundles, job.context.with_advice, basis)

    def _rows(
        self, job: _Job, answers: Sequence[AnsweredDecision], recalled: Sequence[_Recalled]
    ) -> list[NewEntry]:
        """Return the rows of all decisions of a job."""
        entries: list[NewEntry] = []
        for place, answer in enumerate(answers):
            entries += self._entries(job, place, answer, recalled[place])
        return entries

    def _packed_rows(
        self, job: _Job, answers: Sequence[AnsweredDecision], recalled: Sequence[_Recalled]
    ) -> list[NewEntry]:
        """Return the rows, packed here: other decisions would wait for the writer to do it."""
        return [pack_ahead(entry) for entry in self._rows(job, answers, recalled)]

    def _entries(
        self, job: _Job, place: int, answer: AnsweredDecision, recalled: _Recalled
    ) -> list[NewEntry]:
        """Return the row of a decision and, if a person decides, the row that opens the review."""
        decision, context = answer.decision, job.context
        unique_key = None if job.unique_key is None else _unique_key_at(job.unique_key, place)
        metadata = answer.metadata(
            job.endpoint, context.with_advice, recalled.bundle, context.with_detail
        )
        metadata["prior"] = recalled.source
        if recalled.ended and decision.notice is None:
            metadata[REVIEW_ON] = None
        changes = REVIEW_ON in metadata
        entry = NewEntry(
            entry_id=decision.decision_id,
            kind="decision",
            subject=decision.decision_id,
            tenant=context.caller.tenant,
            caller=context.caller.key_id,
            at=decision.decided_at,
            account=decision.account_id,
            metadata=metadata,
            request_body=recalled.request.model_dump_json().encode(),
            response_body=answer.content,
            unique_key=unique_key,
            digest=job.digest,
            due=None if decision.notice is None else decision.notice.send_by,
            in_force=answer.in_force(recalled.request, recalled.bundle),
            # A decision that changes nothing may be stored whatever happened to the account.
            follows=recalled.follows if changes else None,
        )
        if decision.action != "review" or decision.review_on is None:
            return [entry]
        return [entry, review_by_policy(entry, decision.review_on)]

    def _digest(self, endpoint: Endpoint, body: ApiRequest, context: RequestContext) -> str:
        """Return a digest of the endpoint, the switches and the fields, in whatever format sent."""
        text = f"{endpoint}\0{context.with_advice}\0{body.model_dump_json()}"
        if context.with_detail:
            # Without it the text is the one of rows that were stored before there was the switch.
            text += "\0detail"
        return self._audit_log.secrets.keyed_digest(text.encode())


def earlier_unique_key(named: bytes) -> str:
    """Return the name that earlier versions gave to an idempotency key in the database.

    It is a plain hash: whoever guesses the key recognises its rows. No new row gets such a name.
    """
    return "key:" + hashlib.sha256(named).hexdigest()


def _recalled(
    request: Request, memory: Memory, earlier: Earlier | None, bundle: Bundle
) -> _Recalled:
    """Return the request with its own prior, or with that of the audit log."""
    if request.states_prior:
        return _Recalled(request, "request", None, False, earlier, bundle)
    latest = max(request.statements, key=lambda statement: statement.month)
    as_of = datetime.date.fromisoformat(f"{latest.month}-01")
    limit = latest.__dict__["credit_limit"]
    prior = up_to_date(memory.prior, as_of, limit)
    had_cut = memory.prior is not None and memory.prior.cuts
    return _Recalled(
        request=request.model_copy(update={"prior": make_prior(prior)}),
        source="record",
        follows=memory.newest_event,
        ended=had_cut and (prior is None or not prior.cuts),
        earlier=earlier,
        bundle=bundle,
    )


def _unique_key_at(unique_key: str, place: int) -> str:
    """Return the unique key of a request's row; `place` is that of the account, from 0."""
    return f"{unique_key}:{place}"
