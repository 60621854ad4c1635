"""The desk: a request is decided on once, kept, and only then answered.

    asked before with this key? -> the first answer, byte for byte
    else decide -> keep, durable -> answer

Of two with one ``Idempotency-Key`` the second waits for the first; where they met in the database,
the first kept is answered. A request whose time is over before the record took it leaves nothing
(503); one that the record was writing by then is perhaps kept, and its key tells (504).
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.responses import Response

from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.errors import Duplicate, Unavailable, Unconfirmed
from serving.audit_log.log import AuditLog
from serving.auth.caller import Caller
from serving.decision.bundle import Bundle
from serving.reviews.workflow import review_by_policy
from serving.schemas.answers import AnsweredDecision, Endpoint, answer_requests, join_answers
from serving.schemas.base import ApiRequest
from serving.schemas.decision import Request
from serving.web.errors import ApiError, Fault, api_error
from serving.web.params import KEY_HEADER

_JSON = "application/json"
_TIMES_FOR_A_BATCH = 2  # a hundred accounts with advice take more than a second by themselves


class Decisions:
    """Answers requests with one bundle over one record."""

    def __init__(self, bundle: Bundle, record: AuditLog) -> None:
        self._bundle, self._record = bundle, record
        # slot -> whose turn it is, and how many want it
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    async def answer(
        self, door: Endpoint, submitted: ApiRequest, requests: Sequence[Request]
    ) -> Response:
        """The response; raises :class:`serving.web.errors.ApiError`, and what the decision refuses
        (see ``answer_requests``).
        """
        caller = submitted.caller
        deadline = submitted.arrived + self._record.deadline * (
            _TIMES_FOR_A_BATCH if door == "batch" else 1
        )
        try:
            if submitted.key is None:
                return self._response(
                    door,
                    await self._decide(door, submitted, requests, caller, deadline, None, None),
                )
            digest = self._digest(door, submitted)
            slot = unique_key_of(caller.tenant, submitted.key)
            async with self._turn(slot, deadline):
                contents = await self._first(slot, digest)
                if contents is None:
                    try:
                        contents = await self._decide(
                            door, submitted, requests, caller, deadline, slot, digest
                        )
                    except Duplicate:
                        # Another worker was quicker.
                        contents = await self._first(slot, digest)
                        if contents is None:
                            raise Unavailable("the row that has this key cannot be read") from None
                return self._response(door, contents)
        except (Unavailable, Unconfirmed) as error:
            raise not_stored(error) from None

    async def _decide(
        self,
        door: Endpoint,
        submitted: ApiRequest,
        requests: Sequence[Request],
        caller: Caller,
        deadline: float,
        slot: str | None,
        digest: str | None,
    ) -> list[bytes]:
        """Decide and keep; the contents of the answers."""
        with self._record.expecting():
            # Whoever came in the same turn of the loop comes as far as this, and is expected too.
            await asyncio.sleep(0)
            made = answer_requests(
                door,
                requests,
                submitted.with_advice,
                self._bundle,
                datetime.datetime.now(datetime.UTC),
            )
            drafts = [
                draft
                for place, (request, answered) in enumerate(zip(requests, made, strict=True))
                for draft in self._drafts(
                    door,
                    submitted.with_advice,
                    request,
                    answered,
                    caller,
                    None if slot is None else f"{slot}:{place}",
                    digest,
                )
            ]
        await self._record.keep(drafts, deadline)
        return [answered.content for answered in made]

    def _drafts(
        self,
        door: Endpoint,
        with_advice: bool,
        request: Request,
        answered: AnsweredDecision,
        caller: Caller,
        slot: str | None,
        digest: str | None,
    ) -> list[NewEntry]:
        """The decision's row and, where it is that a person decides, the review that asks one to."""
        decision = answered.decision
        draft = NewEntry(
            entry_id=decision.decision_id,
            kind="decision",
            subject=decision.decision_id,
            tenant=caller.tenant,
            caller=caller.key_id,
            at=decision.decided_at,
            account=decision.account_id,
            metadata=answered.metadata(door, with_advice, self._bundle),
            request_body=request.model_dump_json().encode(),
            response_body=answered.content,
            unique_key=slot,
            digest=digest,
            due=None if decision.notice is None else decision.notice.send_by,
        )
        if decision.action != "review" or decision.review_on is None:
            return [draft]
        return [draft, review_by_policy(draft, decision.review_on)]

    async def _first(self, slot: str, digest: str) -> list[bytes] | None:
        """What was answered first to this key; None = nothing was.

        Refused where another question had it.
        """
        rows: list[Entry] = await self._record.find(lambda reader: reader.by_slots(f"{slot}:"))
        if not rows:
            return None
        if any(row.digest != digest for row in rows):
            fault = Fault(path=KEY_HEADER, message="this key was used for another request")
            raise api_error(HTTPStatus.UNPROCESSABLE_ENTITY, [fault])
        contents = [row.response_body for row in rows if row.response_body is not None]
        if len(contents) < len(rows):
            raise api_error(
                HTTPStatus.GONE,
                [Fault(path=KEY_HEADER, message="the answer to this key was erased")],
            )
        return contents

    def _digest(self, door: Endpoint, submitted: ApiRequest) -> str:
        """Whether two ask the same: the door, the switches and the fields, however they were
        written.
        """
        asked = f"{door}\0{submitted.with_advice}\0{submitted.model_dump_json()}"
        return self._record.secrets.digest_of(asked.encode())

    @staticmethod
    def _response(door: Endpoint, contents: Sequence[bytes]) -> Response:
        return Response(join_answers(door, contents), media_type=_JSON)

    @asynccontextmanager
    async def _turn(self, slot: str, deadline: float) -> AsyncIterator[None]:
        """One at a time for a slot; ``Unavailable`` where the turn does not come by the deadline."""
        lock, wanted = self._turns.get(slot, (asyncio.Lock(), 0))
        self._turns[slot] = lock, wanted + 1
        try:
            try:
                await asyncio.wait_for(lock.acquire(), max(deadline - time.monotonic(), 0.0))
            except TimeoutError:
                raise Unavailable("the first request with this key is not answered yet") from None
            try:
                yield
            finally:
                lock.release()
        finally:
            _, wanted = self._turns.pop(slot)
            if wanted > 1:
                self._turns[slot] = lock, wanted - 1


def unique_key_of(tenant: str, key: str) -> str:
    """Where the answers to a tenant's key stand: the key itself is not kept, for callers put into
    it what they like.
    """
    return "key:" + hashlib.sha256(f"{tenant}\0{key}".encode()).hexdigest()


def not_stored(error: Unavailable | Unconfirmed) -> ApiError:
    """503 where nothing was kept, 504 where that is not known."""
    known = isinstance(error, Unavailable)
    said = (
        "nothing was decided or kept: ask again"
        if known
        else f"it may have been decided and kept: ask again with the same {KEY_HEADER}, and the first answer comes"
    )
    status = HTTPStatus.SERVICE_UNAVAILABLE if known else HTTPStatus.GATEWAY_TIMEOUT
    return api_error(status, [Fault(path="$", message=said)], {"retry-after": "1"})
