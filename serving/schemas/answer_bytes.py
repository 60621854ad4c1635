"""A decision to the bytes of its answer, without the models of the answer.

Pydantic's models check what comes from outside, field by field.  An answer is made of a decision
that this process has just made, of types that mypy has checked.  To make models of it only to write
them took five times as long as to write the decision itself.

Each part of a decision has the fields of its model, in the same order, so it is written as it is,
by pydantic's serializer of dataclasses.
``tests/serving/schemas/test_answer_bytes.py`` compares the bytes with those of
:func:`serving.schemas.decision.make_answer`, which goes through the models.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from pydantic_core import CoreSchema, SchemaSerializer, core_schema

from serving.schemas.decision import Answer
from serving.storage.timestamps import encode_time

if TYPE_CHECKING:  # at run time these would load numba
    from serving.decision.bundle import Bundle
    from serving.decision.result import Decision

# To an answer that is asked for them; the models make such an answer.
_ADDED = ("advice", "detail")


def write_answer(decision: Decision, bundle: Bundle) -> bytes:
    """Return the JSON that answers a decision of this bundle, without advice or detail.

    Raises
    ------
    ValueError
        If a number of the decision is NaN or infinite, which JSON does not have.
    """
    _check_finite(decision)
    return _writer().to_json(_content_of(decision, bundle))


@cache
def _writer() -> SchemaSerializer:
    """The serializer of :func:`_content_of`.

    It knows the types of the larger parts: to find them out for each object takes twice as long.
    """
    from serving.decision.notice import Notice
    from serving.decision.policy.prior import Prior
    from serving.decision.policy.since_last import SinceLast
    from serving.decision.reasons.comparison import ComparisonNote
    from serving.decision.reasons.ranking import Reason

    parts: dict[str, Any] = {
        "reasons": tuple[Reason, ...],
        "comparison": ComparisonNote | None,
        "notice": Notice | None,
        "prior": Prior | None,
        "since_last": SinceLast | None,
    }
    fields = {
        name: core_schema.typed_dict_field(_schema_of(parts.get(name, Any)))
        for name in Answer.model_fields
        if name not in _ADDED
    }
    return SchemaSerializer(core_schema.typed_dict_schema(fields))


def _schema_of(kind: Any) -> CoreSchema:
    return TypeAdapter(kind).core_schema


def _check_finite(decision: Decision) -> None:
    """Raise ValueError for what the models refuse, too; `to_json` would write `NaN`."""
    total = decision.credit_limit + decision.new_limit + decision.probability
    total += decision.log_odds + decision.base_log_odds + decision.cut_off
    if math.isfinite(total):  # then each of them is
        return
    numbers = {
        "credit_limit": decision.credit_limit,
        "new_limit": decision.new_limit,
        "probability": decision.probability,
        "log_odds": decision.log_odds,
        "base_log_odds": decision.base_log_odds,
        "cut_off": decision.cut_off,
    }
    wrong = {name: number for name, number in numbers.items() if not math.isfinite(number)}
    if wrong:
        raise ValueError(f"decision {decision.decision_id}: expected finite numbers, got {wrong}")


def _content_of(decision: Decision, bundle: Bundle) -> dict[str, Any]:
    """Return the fields of :class:`serving.schemas.decision.Answer`, in its order."""
    provenance = bundle.provenance
    return {
        "decision_id": decision.decision_id,
        "account_id": decision.account_id,
        "as_of": decision.as_of.isoformat()[: len("YYYY-MM")],
        "decided_at": encode_time(decision.decided_at),
        "action": decision.action,
        "credit_limit": decision.credit_limit,
        "new_limit": decision.new_limit,
        "proposed_limit": decision.proposed_limit,
        "currency": "CNY",
        "effective_on": decision.effective_on,
        "review_on": decision.review_on,
        "review_because": decision.review_because,
        "probability": decision.probability,
        "log_odds": decision.log_odds,
        "base_log_odds": decision.base_log_odds,
        "cut_off": decision.cut_off,
        "reasons": decision.reasons,
        "leaders": decision.leaders,
        "comparison": decision.comparison,
        "notice": decision.notice,
        "suspended": decision.suspended,
        "prior": decision.prior,
        "since_last": decision.since_last,
        "model": {
            "name": provenance.name,
            "version": provenance.version,
            "bundle": bundle.digest,
            "reference": bundle.reference_digest,
            "policy": bundle.policy.version,
        },
    }
