"""Replay: decides again with the same request and bundle; the answer must have the same bytes."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from serving.api.answers import Basis, answer_in_full, answer_requests
from serving.api.shadow.shadow import OF
from serving.audit_log.entry import Entry
from serving.decision.bundle import Bundle, BundleError
from serving.decision.golden import load
from serving.decision.ids import UNKEYED
from serving.operations.errors import NothingDone
from serving.reviews.recorded import REFUSALS, Find, Recorded, read_recorded

Result = Literal["same", "different", "no_bundle", "erased"]
MAX_NAMED = 20  # decisions that differ
_TEXTS: dict[Result, str] = {
    "same": "the same bytes",
    "different": "other bytes",
    "no_bundle": "not replayed, because the bundle is missing",
    "erased": "not replayed, because they were erased",
}


@dataclass(slots=True)
class Replay:
    """How many decisions had which result."""

    counts: Counter[Result] = field(default_factory=Counter)
    different: list[str] = field(default_factory=list)  # ids of the first that differ
    bundles: dict[str, str] = field(default_factory=dict)  # missing digests, and why

    def succeeded(self, allow_erased: bool) -> bool:
        """Whether there were decisions, none differs, and none was left out.

        Erased decisions can never be replayed: ``allow_erased`` says that they are expected.
        """
        good = self.counts["same"] + (self.counts["erased"] if allow_erased else 0)
        return 0 < good == self.counts.total()


class Bundles:
    """Bundles by digest, each loaded when it is first needed."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders
        self._loaded: dict[str, Bundle | str] = {}

    def get(self, digest: str) -> Bundle | str:
        """The bundle, or why it is missing."""
        # Failures are remembered too: a damaged bundle is read once, not for every decision.
        if digest not in self._loaded:
            self._loaded[digest] = self._load(digest)
        return self._loaded[digest]

    def _load(self, digest: str) -> Bundle | str:
        folder = self._folders.get(digest)
        if folder is None:
            return "not given and not stored"
        try:
            bundle = load(folder)
        except BundleError as error:
            return str(error)
        if bundle.digest != digest:
            return f"{folder} holds another bundle, {bundle.digest}"
        return bundle


def replay(
    entries: Iterable[Entry],
    bundles: Bundles,
    id_key: bytes,
    find: Find | None = None,
) -> Replay:
    """Decide again on every decision and shadow among these entries, one after the other.

    ``id_key`` keys the decisions' ids: that of the secrets.  ``find`` gives the entry with an id:
    the earlier decision that a decision was made with; None = no decision was made with one.
    """
    done = Replay()
    for entry in entries:
        if entry.kind not in ("decision", "shadow"):
            continue
        result = _replay_one(entry, bundles, done, id_key, find)
        done.counts[result] += 1
        if result == "different" and len(done.different) < MAX_NAMED:
            done.different.append(entry.entry_id)
    return done


def recompute(
    decision: Entry,
    bundle: Bundle,
    id_key: bytes,
    find: Find | None = None,
) -> bytes | None:
    """The answer to a decision's request today; None if the request is refused today.

    ``id_key`` keys the decision's id; a row of an earlier version has an id without a key, and so
    has its answer.  ``find`` is as for :func:`replay`.

    Raises:
        ValueError: the decision was erased.
    """
    metadata = decision.metadata
    try:
        recorded = read_recorded(decision, find)
        for key in (id_key, UNKEYED):
            basis = Basis(bundle, recorded.decided_at, key, recorded.earlier)
            options = [recorded.request], metadata["advice"], basis
            # Rows without the full vector have no such field.
            if metadata.get("detail", False):
                [answered] = answer_in_full(*options)
            else:
                [answered] = answer_requests(metadata["door"], *options)
            if answered.decision.decision_id == decision.entry_id:
                break
    except REFUSALS:
        # Refused today and answered then: the decision counts as different.
        return None
    return answered.content


def replay_text(done: Replay) -> str:
    """The result in words.

    >>> print(replay_text(Replay(Counter(same=2, different=1), ["d-7"])))
    decisions  3
      the same bytes: 2
      other bytes: 1
    differs    d-7
    """
    lines = [f"decisions  {sum(done.counts.values())}"]
    for result, text in _TEXTS.items():
        if done.counts[result]:
            lines.append(f"  {text}: {done.counts[result]}")
    lines += [f"differs    {decision_id}" for decision_id in done.different]
    if done.counts["different"] > len(done.different):
        lines.append(f"           and {done.counts['different'] - len(done.different)} more")
    lines += [f"no bundle  {digest}: {why}" for digest, why in done.bundles.items()]
    return "\n".join(lines)


def period(
    since: datetime.date | None, until: datetime.date | None
) -> tuple[str | None, str | None]:
    """Two days (UTC, both included) as the first time, and the time after the last.

    >>> period(datetime.date(2026, 1, 1), datetime.date(2026, 12, 31))
    ('2026-01-01', '2027-01-01')

    Raises:
        NothingDone: the first day is after the last.
    """
    first = None if since is None else since.isoformat()
    # No day comes after the last one of the calendar.
    if until is None or until == datetime.date.max:
        return first, None
    if since is not None and since > until:
        raise NothingDone(
            f"expected --since on or before --until, got {since} and {until}: no day lies between "
            "them"
        )
    return first, (until + datetime.timedelta(days=1)).isoformat()


def _replay_one(
    decision: Entry,
    bundles: Bundles,
    done: Replay,
    id_key: bytes,
    find: Find | None,
) -> Result:
    if decision.erased:
        return "erased"
    digest = decision.metadata["model"]["bundle"]
    bundle = bundles.get(digest)
    if isinstance(bundle, str):
        done.bundles[digest] = bundle
        return "no_bundle"
    if decision.kind == "shadow":
        again = _recompute_shadow(decision, bundle, id_key, find)
    elif decision.request_body is None:
        return "different"
    else:
        again = recompute(decision, bundle, id_key, find)
    return "same" if again == decision.response_body else "different"


def _recompute_shadow(
    shadow: Entry,
    bundle: Bundle,
    id_key: bytes,
    find: Find | None,
) -> bytes | None:
    """The challenger's answer today, from the request of the decision that was answered."""
    decision = None if find is None else find(shadow.metadata[OF])
    if decision is None:
        return None
    try:
        return answer_plainly(read_recorded(decision, find), bundle, id_key)
    except REFUSALS:
        return None


def answer_plainly(recorded: Recorded, bundle: Bundle, id_key: bytes) -> bytes:
    """The answer of a bundle to a recorded request, without advice and without the full vector.

    Raises one of :data:`serving.reviews.recorded.REFUSALS` if the request is refused today.
    """
    basis = Basis(
        bundle,
        recorded.decided_at,
        id_key,
        recorded.earlier,
    )
    [answered] = answer_requests(
        "decisions",
        [recorded.request],
        False,
        basis,
    )
    return answered.content
