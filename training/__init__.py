"""Everything before the request: data, fitting, measuring, tracking.

The commands are functions here, for a notebook: ``from training import fit, compare, promote`` (:mod:`training.verbs`).  They
are looked up when they are asked for, so that importing a part imports no other; no module has the name of one, or it would
stand in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.verbs import compare, examine, fit, ingest, monitor, peers, policy, promote, report, rollback, simulate, tune

__all__ = [
    "compare",
    "examine",
    "fit",
    "ingest",
    "monitor",
    "peers",
    "policy",
    "promote",
    "report",
    "rollback",
    "simulate",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from training import verbs

    return verbs.VERBS[name]
