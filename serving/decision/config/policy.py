"""policy.toml: what it may say, and its reading.

Every number that decides stands in that file, commented.
"""

from __future__ import annotations

import datetime
import math
import operator
import tomllib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from features.ledger import Terms

Cause = Literal["risk", "behavior", "regulation"]
Comparison = Literal["at_least", "at_most", "above", "below"]
CAUSES: tuple[Cause, ...] = get_args(Cause)
COMPARISONS: tuple[Comparison, ...] = get_args(Comparison)


class PolicyError(ValueError):
    """A policy file that cannot be used: which key, what was expected and what stands there."""


@dataclass(frozen=True, slots=True)
class Economics:
    """What a default loses and a limit earns; shares of exposure and of limit."""

    loss_given_default: float
    margin: float
    harm: float
    credit_conversion: float


@dataclass(frozen=True, slots=True)
class CutSettings:
    """How deep a cut goes: shares, and CNY."""

    tolerated_share: float
    headroom: float
    floor: float
    rounding: float
    minimum_cut_share: float
    minimum_cut_amount: float
    minimum_expected_loss: float


@dataclass(frozen=True, slots=True)
class Suspend:
    """When no new drawings are allowed."""

    probability: float


@dataclass(frozen=True, slots=True)
class ReviewSettings:
    """What a person decides."""

    band: float
    high_impact_amount: float
    minimum_months: float
    stale_months: float


@dataclass(frozen=True, slots=True)
class Dates:
    """The lender's clock and its terms."""

    utc_offset_hours: float
    effective_after_days: float
    review_after_months: float
    decide_within_days: float
    notice_within_days: float


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of a feature with a number; an unknown value does not hold."""

    feature: str
    comparison: Comparison
    number: float

    def holds(self, value: float) -> bool:
        """Whether a value of the feature meets the condition."""
        return bool(_COMPARE[self.comparison](value, self.number))

    def holds_in(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of some values meet it; bool of their shape."""
        held: NDArray[np.bool_] = _COMPARE[self.comparison](values, self.number)
        return held


_COMPARE = {
    "at_least": operator.ge,
    "at_most": operator.le,
    "above": operator.gt,
    "below": operator.lt,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A hard rule; exactly one of the effects is set."""

    code: str
    cause: Cause
    when: tuple[Condition, ...]
    en: str
    zh: str
    products: frozenset[str] | None = None
    first_month: datetime.date | None = None
    cap: float | None = None
    cap_of: str | None = None
    times: float = 1.0
    suspend: bool = False
    review: bool = False


@dataclass(frozen=True, slots=True)
class RuleHit:
    """A rule that applies to an account: ``value`` of its first condition's feature, ``cap`` in CNY
    where it caps.
    """

    rule: Rule
    value: float
    cap: float | None


@dataclass(frozen=True, slots=True)
class Policy:
    """policy.toml, read and checked."""

    version: str
    economics: Economics
    cut: CutSettings
    suspend: Suspend
    review: ReviewSettings
    dates: Dates
    terms: Terms
    rules: tuple[Rule, ...]

    @property
    def cut_off(self) -> float:
        """The probability from which a limit is cut."""
        kept = self.economics.margin + self.economics.harm
        return kept / (kept + self.economics.loss_given_default)


def read_policy(text: str) -> Policy:
    """The policy that a TOML text states; :class:`PolicyError` names the key that is missing,
    unknown or out of range.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"policy: not TOML: {error}") from error
    sections = {
        "economics": Economics,
        "cut": CutSettings,
        "suspend": Suspend,
        "review": ReviewSettings,
        "dates": Dates,
        "terms": Terms,
    }
    _keys("policy", raw, {"version", *sections}, {"rules"})
    parts: dict[str, Any] = {
        name: _numbers(name, kind, raw[name]) for name, kind in sections.items()
    }
    rules = tuple(
        _rule(f"policy.rules[{i}]", table) for i, table in enumerate(raw.get("rules", ()))
    )
    policy = Policy(version=str(raw["version"]), rules=rules, **parts)
    for key, value in (
        ("margin + harm", policy.economics.margin + policy.economics.harm),
        ("rounding", policy.cut.rounding),
    ):
        if value <= 0:
            raise PolicyError(f"policy: expected {key} above 0, got {value}")
    return policy


def _keys(
    where: str,
    table: Mapping[str, object],
    required: AbstractSet[str],
    optional: AbstractSet[str] = frozenset(),
) -> None:
    missing, unknown = required - table.keys(), table.keys() - required - optional
    if missing or unknown:
        raise PolicyError(f"{where}: missing {sorted(missing)}, unknown {sorted(unknown)}")


def _numbers(name: str, kind: type, table: Mapping[str, object]) -> object:
    names = {field.name for field in fields(kind)}
    _keys(f"policy.{name}", table, names)
    for key, value in table.items():
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 <= value < math.inf
        ):
            raise PolicyError(
                f"policy.{name}.{key}: expected a number of at least 0, got {value!r}"
            )
        if (kind is Economics or key.endswith("share") or key == "probability") and not value <= 1:
            raise PolicyError(f"policy.{name}.{key}: expected a share of at most 1, got {value!r}")
    try:
        return kind(**table)
    except ValueError as error:  # the terms' own ranges
        raise PolicyError(f"policy.{name}: {error}") from error


def _rule(where: str, table: Mapping[str, Any]) -> Rule:
    _keys(where, table, {"code", "cause", "when", "effect", "en", "zh"}, {"products", "from"})
    if table["cause"] not in CAUSES:
        raise PolicyError(f"{where}.cause: expected one of {CAUSES}, got {table['cause']!r}")
    if not table["when"]:
        raise PolicyError(f"{where}.when: expected at least one condition")
    effect = dict(table["effect"])
    if set(effect) not in ({"cap"}, {"cap_of", "times"}, {"suspend"}, {"review"}):
        raise PolicyError(
            f"{where}.effect: expected cap, cap_of and times, suspend, or review; got {sorted(effect)}"
        )
    first_month = _month(f"{where}.from", table["from"]) if "from" in table else None
    products = frozenset(table["products"]) if "products" in table else None
    when = tuple(
        _condition(f"{where}.when[{i}]", condition) for i, condition in enumerate(table["when"])
    )
    words: dict[str, Any] = {key: str(table[key]) for key in ("code", "en", "zh")}
    return Rule(
        cause=table["cause"],
        when=when,
        products=products,
        first_month=first_month,
        **words,
        **effect,
    )


def _month(where: str, value: object) -> datetime.date:
    try:
        return datetime.date.fromisoformat(f"{value}-01")
    except ValueError:
        raise PolicyError(f'{where}: expected a month such as "2025-10", got {value!r}') from None


def _condition(where: str, table: Mapping[str, Any]) -> Condition:
    named = [key for key in COMPARISONS if key in table]
    if len(named) != 1 or set(table) != {"feature", named[0]}:
        raise PolicyError(
            f"{where}: expected a feature and one of {COMPARISONS}, got {sorted(table)}"
        )
    return Condition(str(table["feature"]), named[0], float(table[named[0]]))
