"""A recorded decision as the input of its decision: the request, the time and the earlier row."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import ValidationError

from features.schema import StatementError
from serving.audit_log.entry import Entry
from serving.decision.advice.constraints import ConstraintError
from serving.decision.policy.prior import PriorError
from serving.decision.policy.since_last import Earlier
from serving.decision.result import ProductError
from serving.reviews.past_decision import earlier_id, earlier_of
from serving.schemas.advice_request import AdviceRequest
from serving.schemas.decision import Request
from serving.schemas.statement import AS_STORED
from serving.storage.timestamps import decode_time

Find: TypeAlias = Callable[[str], Entry | None]  # from an id

# A request that was answered then and raises one of these is refused now.
REFUSALS = (StatementError, ProductError, PriorError, ConstraintError, ValidationError)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a decision was made from.

    ``request`` holds the prior that was used, ``earlier`` the earlier decision on the account if
    the decision was made with one, by account.
    """

    request: Request
    decided_at: datetime.datetime
    earlier: Mapping[str, Earlier]


def read_recorded(decision: Entry, find: Find | None) -> Recorded:
    """Return what a recorded decision was made from.

    ``find`` gives the entry with an id; None = no decision was made with an earlier one.

    Raises
    ------
    ValueError
        If the decision was erased.
    pydantic.ValidationError
        If its request is refused now.
    """
    if decision.request_body is None:
        raise ValueError(f"expected a decision that was not erased, got {decision.entry_id}")
    metadata = decision.metadata
    # The stored metadata keeps its first names: "door" is the endpoint.
    model = AdviceRequest if metadata["door"] == "advice" else Request
    request = model.model_validate_json(decision.request_body, context=AS_STORED)
    return Recorded(
        request=request,
        decided_at=decode_time(metadata["decided_at"]),
        earlier=_earlier(decision, request.account_id, find),
    )


def _earlier(decision: Entry, account_id: str, find: Find | None) -> dict[str, Earlier]:
    """The earlier decision that a decision was made with, by account."""
    named = earlier_id(decision)
    found = None if named is None or find is None else find(named)
    before = earlier_of(found)
    return {} if before is None else {account_id: before}
