"""What a backfill changes: decisions and money by product and action, and by the part at fault."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from serving.operations.decide_again.attribution import (
    STEPS,
    Step,
    changed_by,
    money,
    parts_of,
)
from serving.operations.decide_again.backfill import Compared, Result

MAX_NAMED = 20  # decisions that are left out
# What changed, beside money; the whole content differs wherever a version changes a number.
_COUNTED = (
    "action",
    "new_limit",
    "limit_if_confirmed",
    "log_odds",
    "first_reason",
    "notice",
)
_CAUSES: tuple[Step, ...] = STEPS[1:]
_NOTHING = Decimal(0)
# By result.
_TEXTS: dict[Result, str] = {
    "attributed": "compared, each change attributed",
    "unattributed": "compared, not attributed",
    "refused": "left out, because the request is refused now",
    "erased": "left out, because they were erased",
}


def _no_parts() -> dict[Step, Decimal]:
    return dict.fromkeys(_CAUSES, _NOTHING)


@dataclass(slots=True)
class Money:
    """The sum of a limit over decisions, CNY, exact.

    ``parts`` are by step, and add up to ``change`` together with ``unattributed``.
    """

    before: Decimal = _NOTHING
    after: Decimal = _NOTHING
    parts: dict[Step, Decimal] = field(default_factory=_no_parts)
    unattributed: Decimal = _NOTHING

    @property
    def change(self) -> Decimal:
        """After minus before."""
        return self.after - self.before

    def add(self, one: Compared, name: str) -> None:
        """Count the amount with this name of a comparison with states."""
        first, last = one.states[0], one.states[-1]
        before = money(getattr(first, name))
        after = money(getattr(last, name))
        self.before += before
        self.after += after
        parts = parts_of(one.states, name)
        if not parts:
            self.unattributed += after - before
        for step, part in parts.items():
            self.parts[step] += part


@dataclass(slots=True)
class Group:
    """Decisions on a product that went from one action to another.

    ``in_force`` is of the limit in force, ``if_confirmed`` of the limit if persons confirm what is
    proposed.
    """

    decisions: int = 0
    in_force: Money = field(default_factory=Money)
    if_confirmed: Money = field(default_factory=Money)


@dataclass(slots=True)
class Summary:
    """Comparisons, counted; its size does not grow with their number.

    ``groups`` are by product, action before and action after, ``changes`` by field and step.
    """

    counts: Counter[Result] = field(default_factory=Counter)
    groups: defaultdict[tuple[str, str, str], Group] = field(
        default_factory=lambda: defaultdict(Group)
    )
    changes: Counter[tuple[str, Step]] = field(default_factory=Counter)
    left_out: list[tuple[str, str]] = field(default_factory=list)  # the first: id, and why
    why_not: dict[str, str] = field(default_factory=dict)  # old bundle -> why not attributed

    def add(self, one: Compared) -> None:
        """Count a comparison."""
        self.counts[one.result] += 1
        ends = one.ends
        if ends is None:
            self._leave_out(one)
            return
        if one.why is not None:
            self.why_not[one.old_bundle] = one.why
        first, last = ends
        key = (one.product, first.action, last.action)
        group = self.groups[key]
        group.decisions += 1
        group.in_force.add(one, "new_limit")
        group.if_confirmed.add(one, "limit_if_confirmed")
        for name, steps in changed_by(one.states).items():
            for step in steps:
                self.changes[name, step] += 1

    def _leave_out(self, one: Compared) -> None:
        if len(self.left_out) < MAX_NAMED:
            why = one.why or one.result
            self.left_out.append((one.decision_id, why))

    def is_whole(self, allow_erased: bool) -> bool:
        """Whether there were decisions, and each was compared and attributed."""
        good = self.counts["attributed"]
        if allow_erased:
            good += self.counts["erased"]
        return 0 < good == self.counts.total()


def summary_text(summary: Summary) -> str:
    """The summary in words.

    >>> print(summary_text(Summary(Counter(attributed=2, erased=1), left_out=[("d-7", "erased")])))
    decisions     3
      compared, each change attributed: 2
      left out, because they were erased: 1
    left out      d-7: erased
    """
    lines = [
        *_count_lines(summary),
        *_group_lines(summary),
        *_change_lines(summary),
        *_left_out_lines(summary),
    ]
    return "\n".join(lines)


def _count_lines(summary: Summary) -> Iterator[str]:
    yield f"decisions     {summary.counts.total():,}"
    for result, text in _TEXTS.items():
        count = summary.counts[result]
        if count:
            yield f"  {text}: {count:,}"


def _group_lines(summary: Summary) -> Iterator[str]:
    for key in sorted(summary.groups):
        product, before, after = key
        group = summary.groups[key]
        yield f"{product}: {before} -> {after}: {group.decisions:,} decisions"
        yield f"  limits        {_money_text(group.in_force)}"
        if group.if_confirmed != group.in_force:
            yield f"  if confirmed  {_money_text(group.if_confirmed)}"


def _change_lines(summary: Summary) -> Iterator[str]:
    for name in _COUNTED:
        told = []
        for step in _CAUSES:
            count = summary.changes[name, step]
            if count:
                told.append(f"{step} {count:,}")
        if told:
            yield f"changed {name}: {', '.join(told)}"


def _left_out_lines(summary: Summary) -> Iterator[str]:
    for decision_id, why in summary.left_out:
        yield f"left out      {decision_id}: {why}"
    left_out = summary.counts["refused"] + summary.counts["erased"]
    more = left_out - len(summary.left_out)
    if more:
        yield f"              and {more:,} more"
    for digest, why in summary.why_not.items():
        yield f"unattributed  {digest}: {why}"


def _money_text(of: Money) -> str:
    text = f"{of.before:,.2f} -> {of.after:,.2f} CNY"
    parts = []
    for step, part in of.parts.items():
        if part:
            parts.append(f"{step} {part:+,.2f}")
    if of.unattributed:
        parts.append(f"unattributed {of.unattributed:+,.2f}")
    if not parts:
        return text
    return f"{text}: {of.change:+,.2f} = {', '.join(parts)}"
