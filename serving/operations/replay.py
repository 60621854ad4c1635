"""Replay: what was decided is decided again, from what was asked and by the bundle that decided,
and must be the same bytes.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from features.schema import StatementError
from serving.api.answers import answer_requests
from serving.audit_log.entry import Entry
from serving.decision.advice.constraints import ConstraintError
from serving.decision.bundle import Bundle, BundleError
from serving.decision.golden import load
from serving.decision.result import ProductError
from serving.schemas.advice_request import AdviceRequest
from serving.schemas.decision import Request
from serving.storage.timestamps import decode_time

Fate = Literal["same", "different", "no_bundle", "erased"]
MOST_NAMED = 20
_REFUSALS = (StatementError, ProductError, ConstraintError, ValidationError)


@dataclass(slots=True)
class Replay:
    """How many decisions came out how; ``different`` and ``bundles`` name the first that differ,
    and what is not there.
    """

    counts: Counter[Fate] = field(default_factory=Counter)
    different: list[str] = field(default_factory=list)
    bundles: dict[str, str] = field(default_factory=dict)


class Bundles:
    """Bundles by digest, loaded when they are first asked for."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders
        self._loaded: dict[str, Bundle | str] = {}

    def of(self, digest: str) -> Bundle | str:
        """The bundle, or why there is none."""
        if digest not in self._loaded:
            self._loaded[digest] = self._load(digest)
        return self._loaded[digest]

    def _load(self, digest: str) -> Bundle | str:
        if digest not in self._folders:
            return "not given and not stored"
        try:
            bundle = load(self._folders[digest])
        except BundleError as error:
            return str(error)
        return (
            bundle
            if bundle.digest == digest
            else f"{self._folders[digest]} holds another bundle, {bundle.digest}"
        )


def replay(decisions: Iterable[Entry], bundles: Bundles) -> Replay:
    """What came of deciding again, one decision after the other; rows of other kinds are passed
    over.
    """
    done = Replay()
    for row in decisions:
        if row.kind != "decision":
            continue
        fate = _fate(row, bundles, done)
        done.counts[fate] += 1
        if fate == "different" and len(done.different) < MOST_NAMED:
            done.different.append(row.entry_id)
    return done


def recomputed(row: Entry, bundle: Bundle) -> bytes | None:
    """The bytes of the answer to what a decision's row says was asked; None where it is refused
    today.

    Raises ValueError for a row that holds nothing to ask.
    """
    if row.request_body is None:
        raise ValueError(f"recomputed: expected a decision that was not erased, got {row.entry_id}")
    door, decided_at = row.metadata["door"], decode_time(row.metadata["decided_at"])
    model = AdviceRequest if door == "advice" else Request
    try:
        request = model.model_validate_json(row.request_body)
        [answered] = answer_requests(door, [request], row.metadata["advice"], bundle, decided_at)
    except _REFUSALS:
        return None
    return answered.content


def replay_text(done: Replay) -> str:
    """What came of it, in words.

    >>> print(replay_text(Replay(Counter(same=2, different=1), ["d-7"])))
    decisions  3
      the same bytes: 2
      other bytes: 1
    differs    d-7
    """
    said: dict[Fate, str] = {
        "same": "the same bytes",
        "different": "other bytes",
        "no_bundle": "not decided again, for want of the bundle",
        "erased": "not decided again, for they were erased",
    }
    lines = [f"decisions  {sum(done.counts.values())}"]
    lines += [
        f"  {words}: {done.counts[fate]}" for fate, words in said.items() if done.counts[fate]
    ]
    lines += [f"differs    {decision_id}" for decision_id in done.different]
    if done.counts["different"] > len(done.different):
        lines.append(f"           and {done.counts['different'] - len(done.different)} more")
    return "\n".join(
        lines + [f"no bundle  {digest}: {why}" for digest, why in done.bundles.items()]
    )


def _fate(row: Entry, bundles: Bundles, done: Replay) -> Fate:
    if row.erased:
        return "erased"
    digest = row.metadata["model"]["bundle"]
    bundle = bundles.of(digest)
    if isinstance(bundle, str):
        done.bundles[digest] = bundle
        return "no_bundle"
    return (
        "same"
        if row.request_body is not None and recomputed(row, bundle) == row.response_body
        else "different"
    )


def period(
    since: datetime.date | None, until: datetime.date | None
) -> tuple[str | None, str | None]:
    """The times from which and up to before which rows count: days in UTC, both of them included.

    >>> period(datetime.date(2026, 1, 1), datetime.date(2026, 12, 31))
    ('2026-01-01', '2027-01-01')
    """
    after = None if until is None else until + datetime.timedelta(days=1)
    return (
        None if since is None else since.isoformat(),
        None if after is None else after.isoformat(),
    )
