"""Decide a request once, store the decision, and only then answer.

    key already used -> the stored answer, byte for byte
    otherwise        -> decide -> append, durable -> answer

If one worker gets two requests with the same ``Idempotency-Key``, the second waits for the first.
If two workers get them, both decide; the database stores one answer, and both workers send it.

If the deadline passes before the audit log begins to write, nothing is stored (503). If it passes
during the write, the answer may have been stored (504): a retry with the same key returns it.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from starlette.responses import Response

from serving.api.answers import (
    AnsweredDecision,
    Endpoint,
    answer_in_full,
    answer_requests,
    join_answers,
)
from serving.api.errors import not_stored
from serving.api.key_locks import KeyLocks
from serving.audit_log.entry import NewEntry
from serving.audit_log.errors import Duplicate, Unavailable, Unconfirmed
from serving.audit_log.log import AuditLog
from serving.auth.request_context import RequestContext
from serving.decision.bundle import Bundle
from serving.reviews.workflow import review_by_policy
from serving.schemas.base import ApiRequest
from serving.schemas.decision import Request
from serving.web.errors import single_fault
from serving.web.params import KEY_HEADER

# A batch has twice the time: to decide on a hundred accounts with advice takes more than a second.
_BATCH_DEADLINES = 2


@dataclass(frozen=True, slots=True)
class _Job:
    """Requests to decide on together.

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


class Decisions:
    """Answers requests with one bundle, and stores the answers in one audit log."""

    def __init__(self, bundle: Bundle, audit_log: AuditLog) -> None:
        self._bundle, self._audit_log = bundle, audit_log
        self.key_locks = KeyLocks()

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
            if job.unique_key is None:
                contents = await self._decide_and_append(job)
            else:
                async with self.key_locks.hold(job.unique_key, job.deadline):
                    contents = await self._decide_once(job, job.unique_key)
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
        seconds = self._audit_log.deadline * (_BATCH_DEADLINES if endpoint == "batch" else 1)
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
        )

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
        with self._audit_log.expecting():
            # Requests that arrived in the same turn of the event loop get here first, so that the
            # log waits for their rows too and commits all of them together.
            await asyncio.sleep(0)
            answers = self._answers(job)
            entries: list[NewEntry] = []
            for place, answer in enumerate(answers):
                entries += self._entries(job, place, answer)
        await self._audit_log.append(entries, job.deadline)
        return [answer.content for answer in answers]

    def _answers(self, job: _Job) -> list[AnsweredDecision]:
        """Decide on the requests of a job."""
        now, id_key = datetime.datetime.now(datetime.UTC), self._audit_log.secrets.id_key
        options = job.requests, job.context.with_advice, self._bundle, now, id_key
        if job.context.with_detail:
            return answer_in_full(*options)
        return answer_requests(job.endpoint, *options)

    def _entries(self, job: _Job, place: int, answer: AnsweredDecision) -> list[NewEntry]:
        """Return the row of a decision and, if a person decides, the row that opens the review."""
        decision, context = answer.decision, job.context
        unique_key = None if job.unique_key is None else _unique_key_at(job.unique_key, place)
        entry = NewEntry(
            entry_id=decision.decision_id,
            kind="decision",
            subject=decision.decision_id,
            tenant=context.caller.tenant,
            caller=context.caller.key_id,
            at=decision.decided_at,
            account=decision.account_id,
            metadata=answer.metadata(
                job.endpoint, context.with_advice, self._bundle, context.with_detail
            ),
            request_body=job.requests[place].model_dump_json().encode(),
            response_body=answer.content,
            unique_key=unique_key,
            digest=job.digest,
            due=None if decision.notice is None else decision.notice.send_by,
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


def _unique_key_at(unique_key: str, place: int) -> str:
    """Return the unique key of a request's row; `place` is that of the account, from 0."""
    return f"{unique_key}:{place}"
