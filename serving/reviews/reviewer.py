"""Who answers a review: the owner of an API key, and never the owner who asked for the review."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.audit_log.entry import Entry
from serving.auth.caller import Caller
from serving.reviews.errors import forbidden
from serving.reviews.workflow import Review

_ACTOR = "by"  # in the readable metadata of a row: who took the step


def actor_metadata(caller: Caller) -> dict[str, Any]:
    """Return who takes a step, as metadata of its row; empty if nobody is authenticated."""
    if caller.actor is None:
        return {}
    return {_ACTOR: caller.actor}


def reviewer_name(caller: Caller, stated: str) -> str:
    """Return the reviewer to record: the key's owner, or the `stated` name without a key."""
    # Without a key the service answers this machine only, and cannot tell persons apart.
    if caller.owner is None:
        return stated
    return caller.owner


def check_may_answer(review: Review, rows: Sequence[Entry], caller: Caller) -> None:
    """Raise ApiError (403) if the caller may not take or resolve a review.

    `rows` are those about the decision. A key without an owner may not, because the person would be
    unknown; nor may who asked for the review. Without any key everybody on this machine may.
    """
    if caller.actor is None:
        return
    if caller.owner is None:
        raise forbidden(
            "expected a key with an owner, who is recorded as the reviewer: "
            "an operator makes one with `python -m serving keys new --owner NAME`"
        )
    if review.asked_by != "customer":
        return
    asker = _asker(review, rows)
    if is_same_person(asker, caller.actor):
        raise forbidden("the owner of this key asked for the review: another person has to answer")


def is_same_person(one: str | None, other: str | None) -> bool:
    """Return whether two names are of one person; capital letters make no difference.

    A spelling must not make two persons of one, nor keep one from going on with the own work.
    """
    if one is None or other is None:
        return one is other
    return one.casefold() == other.casefold()


def _asker(review: Review, rows: Sequence[Entry]) -> str:
    opened = next(row for row in rows if row.entry_id == review.review_id)
    # Rows of earlier versions name the key only.
    of_key = f"key {opened.caller}"
    return str(opened.metadata.get(_ACTOR, of_key))
