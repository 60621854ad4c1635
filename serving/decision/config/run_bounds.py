"""What a run over a whole portfolio may do at most before a person has looked at it."""

from __future__ import annotations

from dataclasses import dataclass

from serving.decision.config.strict_toml import SHARE, Interval, Section


@dataclass(frozen=True, slots=True)
class RunBounds:
    """The bounds of a run; None = no bound.

    Attributes:
        most_cut_share: Of the accounts whose limit is reduced, or that are suspended, in all.
        most_taken_from_good: Of the limits that are taken from customers who would have paid, in
            all limits; a cut counts with the probability that its customer would.
        most_reviews: Accounts that are referred to a person.
    """

    most_cut_share: float | None = None
    most_taken_from_good: float | None = None
    most_reviews: float | None = None


NO_BOUNDS = RunBounds()


def read_run_bounds(section: Section) -> RunBounds:
    """The bounds of a table ``[run]``; what it leaves out has no bound.

    Raises :class:`~serving.decision.config.strict_toml.ConfigError` for a key that is unknown or
    out of range.
    """

    def bound(name: str, allowed: Interval) -> float | None:
        return section.number(name, allowed) if name in section else None

    return RunBounds(
        most_cut_share=bound("most_cut_share", SHARE),
        most_taken_from_good=bound("most_taken_from_good", SHARE),
        most_reviews=bound("most_reviews", Interval(0)),
    )
