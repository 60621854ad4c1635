"""What is in force for an account after its events."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from serving.audit_log.entry import Entry
from serving.audit_log.memory.events import Decided, after_outcome, product_of, read_prior
from serving.audit_log.rows import StoredRow
from serving.decision.policy.prior import Prior, after
from serving.web.models import read_json


@dataclass(frozen=True, slots=True)
class Memory:
    """What is in force for an account.

    ``prior`` is None if nothing is in force. ``newest_event`` is the ``seq`` of the newest event
    that the prior follows from, 0 = there is none. ``newest_decision`` is the id of the newest
    event that is a decision; None = there is none. ``under_review``: it refers the account to a
    person, who has not answered. ``product`` is that of this decision; None = no row says it.
    ``limits`` are those that the events announced, in CNY, each with its first day, in the order of
    the events; empty if they were not read.
    """

    prior: Prior | None = None
    newest_event: int = 0
    newest_decision: str | None = None
    under_review: bool = False
    product: str | None = None
    limits: tuple[tuple[datetime.date, float], ...] = field(default=(), compare=False)

    def limit_on(self, day: datetime.date) -> float | None:
        """The limit in force on a day since the newest decision, CNY; None if no row says it."""
        begun = [limit for first_day, limit in self.limits if first_day <= day]
        return begun[-1] if begun else None


NOTHING = Memory()


def recall(
    events: Sequence[StoredRow],
    reviewed: Mapping[str, Entry],
    with_limits: bool = False,
) -> Memory:
    """What is in force after the events of a :class:`Past`, at least one.

    ``reviewed`` are the decisions that the outcomes are about, by id; the one in ``events`` may be
    left out. ``with_limits``: whether the memory has its ``limits``, which are in the bodies.
    """
    if not with_limits and len(events) == 1 and (left := events[0].in_force) is not None:
        return _remembered(events[0], left)
    newest: Decided | None = None
    prior: Prior | None = None
    rows = [event.entry for event in events]
    limits: list[tuple[datetime.date, float]] = []
    for row in rows:
        if row.kind == "decision":
            newest = Decided.read(row)
            limits += _limits_before(newest)
            prior = after(newest.prior, newest.change)
        elif newest is not None and newest.row.entry_id == row.subject:
            prior = after_outcome(prior, row, newest, is_newest=True)
        else:
            prior = after_outcome(
                prior,
                row,
                Decided.read(reviewed[row.subject]),
                is_newest=False,
            )
        if prior is not None:
            limits.append((prior.in_force_from, prior.limit_in_force))
    if newest is None:
        return Memory(prior, rows[-1].seq)
    newest_id = newest.row.entry_id
    answered = any(row.kind == "resolution" and row.subject == newest_id for row in rows)
    return Memory(
        prior=prior,
        newest_event=rows[-1].seq,
        newest_decision=newest_id,
        under_review=newest.refers and not answered,
        product=product_of(newest.row.metadata),
        limits=tuple(limits),
    )


def _limits_before(decision: Decided) -> list[tuple[datetime.date, float]]:
    """The limits from before a decision, each with its first day, the present one last."""
    limit = float(decision.answer["credit_limit"])
    prior = decision.prior
    if prior is None:
        return [(datetime.date.min, limit)]
    # The decision may have been made before an earlier cut took effect. Of several cuts the prior
    # does not say what the limit was between them.
    is_only_cut = prior.first_cut_on == prior.last_cut_on and prior.restored_on is None
    before = prior.limit_before if is_only_cut else limit
    return [(datetime.date.min, before), (prior.in_force_from, limit)]


def _remembered(decision: StoredRow, in_force: bytes) -> Memory:
    """The memory after a decision that says what it left in force, without its content."""
    metadata = decision.metadata
    return Memory(
        prior=read_prior(read_json(in_force)),
        newest_event=decision.seq,
        newest_decision=decision.entry_id,
        under_review=metadata["action"] == "review",
        product=product_of(metadata),
    )
