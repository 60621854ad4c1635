"""Backfill: recorded decisions, each compared with the decision under another bundle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pydantic_core import from_json

from serving.audit_log.entry import Entry
from serving.decision.bundle import Bundle, BundleError
from serving.operations.decide_again.attribution import (
    STEPS,
    State,
    States,
    UnderBundles,
    follow_steps,
    state_of,
)
from serving.operations.decide_again.mixing import bundles_between
from serving.operations.decide_again.replay import Bundles
from serving.reviews.recorded import REFUSALS, Find, read_recorded
from serving.reviews.workflow import decision_in

Result: TypeAlias = Literal["attributed", "unattributed", "refused", "erased"]


@dataclass(frozen=True, slots=True)
class Compared:
    """A recorded decision beside the one under another bundle.

    Attributes:
        person: The data subject's random id.
        old_bundle: The digest of the bundle that decided then.
        result: ``attributed``, or ``unattributed`` where only the first and the last state are
            known, or ``refused`` and ``erased``, which have no states.
        why: Why it is not attributed, or refused; None = it is attributed, or erased.
        states: In order of :data:`serving.operations.decide_again.attribution.STEPS`; empty
            without.
    """

    decision_id: str
    tenant: str
    person: str | None
    decided_at: str
    product: str
    old_bundle: str
    result: Result
    why: str | None
    states: States

    @property
    def ends(self) -> tuple[State, State] | None:
        """The first state and the last; None where there are none."""
        if not self.states:
            return None
        first, last = self.states[0], self.states[-1]
        # Both are always known: only states between them may be None.
        return (first, last) if first and last else None


@dataclass(slots=True)
class Backfill:
    """Compares decisions with those under one new bundle.

    ``stored`` are the bundles that decided then, ``id_key`` is the key of the secrets, and ``find``
    gives the entry with an id.  ``accounts`` are the only ones to compare; empty = all.
    """

    new: Bundle
    stored: Bundles
    id_key: bytes
    find: Find
    accounts: frozenset[str] = frozenset()
    # Those of ``accounts`` on which there is a decision.
    found: set[str] = field(default_factory=set)
    # By digest of the old bundle, with why decisions of it cannot be attributed.
    _pairs: dict[str, tuple[UnderBundles, str | None]] = field(default_factory=dict)

    def compare_all(self, entries: Iterable[Entry]) -> Iterator[Compared]:
        """The comparison of each decision among these entries, in their order.

        The account of an erased decision is not known: with ``accounts`` it is left out.
        """
        for entry in entries:
            if entry.kind == "decision" and self._is_wanted(entry):
                yield self.compare(entry)

    def compare(self, decision: Entry) -> Compared:
        """The comparison of one decision."""
        if decision.request_body is None:
            return compare_erased(decision)
        bundles, why_not = self._bundles(decision.metadata["model"]["bundle"])
        try:
            recorded = read_recorded(decision, self.find)
            states = follow_steps(
                decision,
                recorded,
                bundles,
                self.id_key,
            )
        except REFUSALS as error:
            # The class and not the message: that may hold values of the customer.
            return _compared(decision, "refused", type(error).__name__)
        result: Result = "attributed" if why_not is None else "unattributed"
        return _compared(
            decision,
            result,
            why_not,
            states,
        )

    def _is_wanted(self, decision: Entry) -> bool:
        if not self.accounts:
            return True
        if decision.request_body is None:
            return False
        account = from_json(decision.request_body)["account_id"]
        if account in self.accounts:
            self.found.add(account)
        return account in self.accounts

    def _bundles(self, digest: str) -> tuple[UnderBundles, str | None]:
        if digest not in self._pairs:
            self._pairs[digest] = self._pair(digest)
        return self._pairs[digest]

    def _pair(self, digest: str) -> tuple[UnderBundles, str | None]:
        old = self.new if digest == self.new.digest else self.stored.get(digest)
        if isinstance(old, str):
            return UnderBundles(None, None, self.new), f"bundle {digest}: {old}"
        try:
            between = bundles_between(old, self.new)
        except BundleError as error:
            return UnderBundles(old, None, self.new), str(error)
        return UnderBundles(old, between, self.new), None


def compare_erased(decision: Entry) -> Compared:
    """The comparison of an erased decision, with nothing to compare."""
    return _compared(decision, "erased", None)


def compare_answers(decision: Entry, last: State, why: str) -> Compared:
    """A decision beside another answer to its request, of which nothing is attributed."""
    first = state_of(decision_in(decision))
    unknown = [None] * (len(STEPS) - 2)
    return _compared(
        decision,
        "unattributed",
        why,
        (first, *unknown, last),
    )


def _compared(
    decision: Entry,
    result: Result,
    why: str | None,
    states: States = (),
) -> Compared:
    metadata = decision.metadata
    return Compared(
        decision_id=decision.entry_id,
        tenant=decision.tenant,
        person=decision.data_subject,
        decided_at=metadata["decided_at"],
        product=metadata["product"],
        old_bundle=metadata["model"]["bundle"],
        result=result,
        why=why,
        states=states,
    )
