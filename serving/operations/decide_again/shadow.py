"""Shadow rows beside the decisions that were answered, with the attribution of a backfill."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from serving.api.shadow.shadow import OF
from serving.audit_log.entry import Entry
from serving.decision.bundle import Bundle
from serving.operations.decide_again.attribution import state_of
from serving.operations.decide_again.backfill import (
    Backfill,
    Compared,
    compare_answers,
    compare_erased,
)
from serving.operations.decide_again.replay import Bundles
from serving.reviews.recorded import Find
from serving.reviews.workflow import decision_in


def compare_shadows(
    entries: Iterable[Entry],
    bundles: Bundles,
    id_key: bytes,
    find: Find,
) -> Iterator[Compared]:
    """The comparison of each decision with the challenger's, in order of the shadow rows.

    Nothing is attributed where the challenger's bundle is missing, or decides otherwise now than
    was recorded: only the two answers are compared then.
    """
    backfills: dict[str, Backfill | str] = {}
    for shadow in entries:
        if shadow.kind != "shadow":
            continue
        decision = find(shadow.metadata[OF])
        if decision is None:
            raise ValueError(
                f"expected the decision of shadow {shadow.entry_id}: it is not in the audit log"
            )
        digest = shadow.metadata["model"]["bundle"]
        if digest not in backfills:
            backfills[digest] = _backfill(bundles.get(digest), bundles, id_key, find)
        yield _compare(decision, shadow, backfills[digest])


def _backfill(
    new: Bundle | str,
    bundles: Bundles,
    id_key: bytes,
    find: Find,
) -> Backfill | str:
    """The backfill under a challenger's bundle; a text says why it is missing."""
    return new if isinstance(new, str) else Backfill(new, bundles, id_key, find)


def _compare(
    decision: Entry,
    shadow: Entry,
    backfill: Backfill | str,
) -> Compared:
    if shadow.erased:
        # So was the decision: both are of one person.
        return compare_erased(decision)
    recorded = state_of(decision_in(shadow))
    if isinstance(backfill, str):
        return compare_answers(decision, recorded, f"the challenger's bundle: {backfill}")
    compared = backfill.compare(decision)
    if compared.ends is None or compared.ends[1] != recorded:
        why = "the challenger decides otherwise now than was recorded"
        return compare_answers(decision, recorded, why)
    return compared
