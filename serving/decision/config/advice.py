"""advice.toml: the levers, how much of each is tried, and their wording; read and checked."""

from __future__ import annotations

import math
import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from features.schema import LONGEST_WINDOW
from serving.decision.config.reasons import Text

LeverName = Literal["on_time", "extra", "spending", "no_cash", "no_new_credit", "repay_elsewhere"]
LEVERS: tuple[LeverName, ...] = get_args(LeverName)
NoteName = Literal[
    "not_cut", "by_rule", "proposed", "no_plan", "no_plan_as_settled", "too_narrow", "old_statements", "income_unknown",
    "debt_unknown", "beyond_payment",
]  # fmt: skip
NOTES: tuple[NoteName, ...] = get_args(NoteName)
# Lever -> variant -> its placeholders: paying on time a share of the balance, spending where the
# income is known, and nothing.
_VARIANTS: Mapping[LeverName, Mapping[str, set[str]]] = {
    "on_time": {"of_balance": {"share"}},
    "spending": {"of_income": {"amount", "share"}, "nothing": set()},
}
_WITH_AMOUNT = ("extra", "spending", "repay_elsewhere")
# Columns of the window that are 0 in a month in which nothing happened.
_SHOWN = {
    "late",
    "drew_cash",
    "credit_inquiries",
    "limit_requests",
    "above_90",
    "missed_minimum",
    "minimum_only",
}


class AdviceError(ValueError):
    """An advice file that cannot be used: which key, what was expected and what stands there."""


@dataclass(frozen=True, slots=True)
class Search:
    """How far a plan is followed, and what it may ask."""

    months: int
    margin: float
    expires_after_days: int
    living_share: float
    instalment_share: float
    rounding: float


@dataclass(frozen=True, slots=True)
class Lever:
    """One thing that a customer can do: what is tried of it, the effort of a unit, and its wording.

    ``variants`` are wordings for what is told otherwise: see ``_VARIANTS``.
    """

    name: LeverName
    grid: tuple[float, ...]
    weight: float
    text: Text
    variants: Mapping[str, Text]


@dataclass(frozen=True, slots=True)
class Ageing:
    """Something that only time takes away: the window's column that shows it, for how many months
    it counts, its wording.
    """

    column: str
    months: int
    text: Text


@dataclass(frozen=True, slots=True)
class AdviceRules:
    """advice.toml."""

    version: str
    search: Search
    levers: Mapping[LeverName, Lever]
    ageing: Mapping[str, Ageing]
    notes: Mapping[NoteName, Text]


def read_advice(text: str) -> AdviceRules:
    """The rules that a TOML text states; :class:`AdviceError` names the key that is missing,
    unknown or out of range.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise AdviceError(f"advice: not TOML: {error}") from error
    _keys("advice", raw, {"version", "search", "levers", "ageing", "notes"})
    _keys("advice.levers", raw["levers"], set(LEVERS))
    _keys("advice.notes", raw["notes"], set(NOTES))
    return AdviceRules(
        version=str(raw["version"]),
        search=_search(raw["search"]),
        levers={name: _lever(name, raw["levers"][name]) for name in LEVERS},
        ageing={
            name: _ageing(f"advice.ageing.{name}", table) for name, table in raw["ageing"].items()
        },
        notes={name: _note(name, raw["notes"][name]) for name in NOTES},
    )


def _keys(where: str, table: Mapping[str, object], expected: set[str]) -> None:
    if table.keys() != expected:
        missing, unknown = expected - table.keys(), table.keys() - expected
        raise AdviceError(f"{where}: missing {sorted(missing)}, unknown {sorted(unknown)}")


def _search(table: Mapping[str, Any]) -> Search:
    _keys("advice.search", table, {field.name for field in fields(Search)})
    ranges = {
        "months": (1, 24),
        "margin": (0, 10),
        "expires_after_days": (1, 366),
        "living_share": (0, 1),
        "instalment_share": (0, 1),
        "rounding": (0.01, 1e6),
    }
    for key, (low, high) in ranges.items():
        value = table[key]
        whole = key in ("months", "expires_after_days")
        if (
            isinstance(value, bool)
            or not isinstance(value, int if whole else int | float)
            or not low <= value <= high
        ):
            raise AdviceError(f"advice.search.{key}: expected {low} to {high}, got {value!r}")
    return Search(**table)


def _lever(name: LeverName, table: Mapping[str, Any]) -> Lever:
    where = f"advice.levers.{name}"
    variants = _VARIANTS.get(name, {})
    _keys(
        where,
        table,
        {"grid", "weight", "en", "zh"}
        | {f"{language}_{key}" for key in variants for language in ("en", "zh")},
    )
    grid, weight = table["grid"], table["weight"]
    numbers = [*grid, weight] if isinstance(grid, list) else []
    if (
        not numbers
        or not grid
        or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers)
    ):
        raise AdviceError(
            f"{where}: expected a grid of numbers and a weight, got {grid!r} and {weight!r}"
        )
    if not all(0 <= share <= 1 for share in grid) or not 0 <= weight < math.inf:
        raise AdviceError(
            f"{where}: expected a grid within 0 to 1 and a weight of at least 0, got {grid} and {weight}"
        )
    text = _text(where, table, {"amount"} if name in _WITH_AMOUNT else set())
    other = {
        key: _text(where, table, placeholders, f"_{key}") for key, placeholders in variants.items()
    }
    return Lever(name, tuple(float(share) for share in grid), float(weight), text, other)


def _ageing(where: str, table: Mapping[str, Any]) -> Ageing:
    _keys(where, table, {"column", "months", "en", "zh"})
    column, months = table["column"], table["months"]
    if column not in _SHOWN:
        raise AdviceError(f"{where}.column: expected one of {sorted(_SHOWN)}, got {column!r}")
    if isinstance(months, bool) or not isinstance(months, int) or not 1 <= months <= LONGEST_WINDOW:
        raise AdviceError(f"{where}.months: expected 1 to {LONGEST_WINDOW}, got {months!r}")
    return Ageing(column, months, _text(where, table, {"month", "until"}))


_OF_NOTES: Mapping[NoteName, set[str]] = {
    "beyond_payment": {"amount", "month"},
    "old_statements": {"month"},
    "too_narrow": {"month"},
}


def _note(name: NoteName, table: Mapping[str, Any]) -> Text:
    where = f"advice.notes.{name}"
    _keys(where, table, {"en", "zh"})
    return _text(where, table, _OF_NOTES.get(name, set()))


def _text(where: str, table: Mapping[str, Any], placeholders: set[str], suffix: str = "") -> Text:
    for key in (f"en{suffix}", f"zh{suffix}"):
        found = {
            name for _, name, _, _ in string.Formatter().parse(str(table[key])) if name is not None
        }
        if found != placeholders:
            raise AdviceError(
                f"{where}.{key}: expected the placeholders {sorted(placeholders)}, got {sorted(found)}"
            )
    return Text(str(table[f"en{suffix}"]), str(table[f"zh{suffix}"]))
