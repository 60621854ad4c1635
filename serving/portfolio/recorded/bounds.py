"""Whether a run stays within the bounds of the policy."""

from __future__ import annotations

from collections.abc import Iterator

from serving.decision.config.run_bounds import RunBounds
from serving.portfolio.totals import Total, Totals

_CUTS = ("reduce", "suspend")


def exceeded(totals: Totals, bounds: RunBounds) -> Iterator[str]:
    """A sentence for each bound that is exceeded: expected and got."""
    cuts = [total for total in totals if total.action in _CUTS]
    cut_share = _share(_accounts(cuts), totals.accounts)
    if bounds.most_cut_share is not None and cut_share > bounds.most_cut_share:
        yield (
            f"most_cut_share: expected at most {bounds.most_cut_share:.2%} of the accounts cut or "
            f"suspended, got {cut_share:.2%}"
        )
    limits = sum(total.limit_before for total in totals)
    taken = _share(sum(total.taken_from_good for total in totals), limits)
    if bounds.most_taken_from_good is not None and taken > bounds.most_taken_from_good:
        yield (
            f"most_taken_from_good: expected at most {bounds.most_taken_from_good:.2%} of all "
            f"limits taken from customers who would have paid, got {taken:.2%}"
        )
    reviews = _accounts([total for total in totals if total.action == "review"])
    if bounds.most_reviews is not None and reviews > bounds.most_reviews:
        yield (
            f"most_reviews: expected at most {bounds.most_reviews:,.0f} accounts referred to a "
            f"person, got {reviews:,}"
        )


def _accounts(totals: list[Total]) -> int:
    return sum(total.accounts for total in totals)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
