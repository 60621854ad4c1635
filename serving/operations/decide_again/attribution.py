"""A decision under two bundles, and which part of the bundle changed what.

A decision has a state before the first step and after each:

    recorded   as it was answered
    program    as this version of the program decides with the bundle that decided then; normally
               the same, because a replay gives the same bytes
    model, reference, policy, wording
               after each step of :mod:`serving.operations.decide_again.mixing`

A part changed what differs between its state and the one before.  The last state is the decision
under the whole new bundle.  So the parts of a change add up to it exactly, also in cents: an amount
changes by ``Decimal(after) - Decimal(before)``, and the sum of such differences has no remainder.
The log-odds can change at ``program`` and ``model`` alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from pydantic_core import from_json

from serving.audit_log.entry import Entry
from serving.decision.bundle import Bundle
from serving.decision.ids import UNKEYED
from serving.operations.decide_again.mixing import PARTS, Part
from serving.operations.decide_again.replay import answer_plainly
from serving.reviews.recorded import Recorded
from serving.reviews.workflow import decision_in

Step: TypeAlias = Literal["recorded", "program", Part]
STEPS: tuple[Step, ...] = ("recorded", "program", *PARTS)
# They name the decision and what made it, or were not asked for again.
_NOT_COMPARED = ("decision_id", "model", "advice", "detail")


@dataclass(frozen=True, slots=True)
class State:
    """What a decision is after a step.

    Attributes:
        new_limit: The limit in force from then on, CNY.
        limit_if_confirmed: The same if a person confirms what is proposed.
        base_log_odds: The mean of the reference population.
        first_reason: Its code; None = there is no reason.
        notice: The English text of the notice; None = there is none.
        content: SHA-256 of the whole answer but for ids, versions, advice and the full vector.
    """

    action: str
    new_limit: float
    limit_if_confirmed: float
    suspended: bool
    probability: float
    log_odds: float
    base_log_odds: float
    first_reason: str | None
    notice: str | None
    content: str


FIELDS: tuple[str, ...] = tuple(one.name for one in fields(State))
States: TypeAlias = tuple[State | None, ...]  # in order of STEPS; None = not known


@dataclass(frozen=True, slots=True)
class UnderBundles:
    """The bundles that a decision is made with.

    ``old`` decided then; None = it is not there.  ``between`` is as
    :func:`serving.operations.decide_again.mixing.bundles_between` gives it; None = the parts of the
    two do not fit together.
    """

    old: Bundle | None
    between: Mapping[Part, Bundle] | None
    new: Bundle


def follow_steps(
    decision: Entry,
    recorded: Recorded,
    bundles: UnderBundles,
    id_key: bytes,
) -> States:
    """The state of a recorded decision after each step, in order of ``STEPS``.

    Without the old bundle, or where the parts of the two do not fit together, the states between
    the first and the last are None.

    Args:
        decision: The row of a decision that was not erased.
        recorded: What it was made from.
        bundles: What to decide with.
        id_key: Of the secrets; it draws the control arm.

    Raises:
        StatementError, ProductError, PriorError: A bundle refuses the request.
    """
    first = state_of(decision_in(decision))
    if bundles.old is None or bundles.between is None:
        last = _decide(recorded, bundles.new, id_key)
        unknown = [None] * len(PARTS)
        return (first, *unknown, state_of(last))
    answer = _decide(recorded, bundles.old, id_key)
    if answer["decision_id"] != decision.entry_id:
        # A row of an earlier version: its id, and its arm, were drawn without a key.
        unkeyed = _decide(recorded, bundles.old, UNKEYED)
        if unkeyed["decision_id"] == decision.entry_id:
            answer, id_key = unkeyed, UNKEYED
    state = state_of(answer)
    states = [first, state]
    for part in PARTS:
        bundle = bundles.between.get(part)
        if bundle is not None:
            answer = _decide(recorded, bundle, id_key)
            state = state_of(answer)
        states.append(state)
    return tuple(states)


def state_of(answer: Mapping[str, Any]) -> State:
    """The state that an answer's JSON is in, of this version or an earlier one."""
    proposed = answer.get("proposed_limit")
    reasons = answer.get("reasons") or ()
    notice = answer.get("notice")
    action = answer["action"]
    new_limit = answer["new_limit"]
    return State(
        action=action,
        new_limit=float(new_limit),
        limit_if_confirmed=float(new_limit if proposed is None else proposed),
        # Versions without the field had no memory: a suspension was in the action or nowhere.
        suspended=answer.get("suspended", action == "suspend"),
        probability=answer["probability"],
        log_odds=answer["log_odds"],
        base_log_odds=answer["base_log_odds"],
        first_reason=reasons[0]["code"] if reasons else None,
        notice=None if notice is None else notice["text"]["en"],
        content=_hash_content(answer),
    )


def changed_by(states: States) -> dict[str, list[Step]]:
    """The steps that changed each field, in order; fields that no step changed are missing.

    Empty where the states between are not known.
    """
    changes: dict[str, list[Step]] = {}
    for name in FIELDS:
        for step, before, after in _transitions(states, name):
            if before != after:
                changes.setdefault(name, []).append(step)
    return changes


def parts_of(states: States, name: str) -> dict[Step, Decimal]:
    """By how much each step changed an amount; empty where the states between are not known."""
    parts: dict[Step, Decimal] = {}
    for step, before, after in _transitions(states, name):
        parts[step] = money(after) - money(before)
    return parts


def money(amount: float) -> Decimal:
    """The amount as it is printed: 0.1 is a tenth, and sums of such amounts have no remainder.

    >>> money(0.1) + money(0.2)
    Decimal('0.3')
    """
    return Decimal(repr(float(amount)))


def _transitions(states: States, name: str) -> Iterator[tuple[Step, Any, Any]]:
    """Each step with a field's value before and after it; nothing where states are not known."""
    if None in states:
        return
    values = [getattr(state, name) for state in states]
    for step, (before, after) in zip(STEPS[1:], pairwise(values), strict=False):
        yield step, before, after


def _decide(
    recorded: Recorded,
    bundle: Bundle,
    id_key: bytes,
) -> dict[str, Any]:
    answer: dict[str, Any] = from_json(answer_plainly(recorded, bundle, id_key))
    return answer


def _hash_content(answer: Mapping[str, Any]) -> str:
    compared = _without(answer, _NOT_COMPARED)
    comparison = compared.get("comparison")
    if comparison is not None:
        # The version of the policy and the digest of the bundle: names, as in `model`.
        compared["comparison"] = _without(comparison, ("policy", "bundle"))
    text = json.dumps(
        compared,
        sort_keys=True,
        ensure_ascii=False,
    )
    digest = hashlib.sha256(text.encode())
    return digest.hexdigest()


def _without(
    content: Mapping[str, Any],
    names: tuple[str, ...],
) -> dict[str, Any]:
    kept = dict(content)
    for name in names:
        kept.pop(name, None)
    return kept
