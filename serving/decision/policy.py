"""Probability and exposure to action, new limit and dates.

Conventions
-----------
``probability``   calibrated probability of 60 days past due or worse within six months, in (0, 1)
``cut_off``       the probability at which the expected loss of a unit of limit equals what keeping it earns and what cutting
                  a good customer costs: ``cut_off * lgd = (1 - cut_off) * (margin + harm)``
``exposure(L)``   balance + credit_conversion * (limit L - balance)
Expected loss at limit L is ``probability * lgd * exposure(L)``.  Above the cut-off the new limit is the largest on the
rounding grid whose expected loss is at most ``tolerated_share`` of what an account at the cut-off with the present limit
carries; never below the balance with head-room, never below the floor, never above the present limit.

Hard rules come first.  No number stands in this file: all are in policy.toml.
"""

from __future__ import annotations

import datetime
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

Action = Literal["keep", "reduce", "suspend", "review"]
Cause = Literal["risk", "behavior", "regulation"]
CAUSES = ("risk", "behavior", "regulation")


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
class Cut:
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
class Review:
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


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of a feature with a number; an unknown value does not hold."""

    feature: str
    comparison: Literal["at_least", "at_most", "above", "below"]
    number: float

    def holds(self, value: float) -> bool:
        """Whether a value of the feature meets the condition."""
        match self.comparison:
            case "at_least":
                return value >= self.number
            case "at_most":
                return value <= self.number
            case "above":
                return value > self.number
            case "below":
                return value < self.number


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
class Policy:
    """policy.toml, read and checked."""

    version: str
    economics: Economics
    cut: Cut
    suspend: Suspend
    review: Review
    dates: Dates
    rules: tuple[Rule, ...]

    @property
    def cut_off(self) -> float:
        """The probability from which a limit is cut."""
        kept = self.economics.margin + self.economics.harm
        return kept / (kept + self.economics.loss_given_default)


@dataclass(frozen=True, slots=True)
class Account:
    """What the policy sees of an account: its features by name (NaN = unknown), product, as_of and probability."""

    product: str
    as_of: datetime.date
    probability: float
    features: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RuleHit:
    """A rule that applies to an account: ``value`` of its first condition's feature, ``cap`` in CNY where it caps."""

    rule: Rule
    value: float
    cap: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the policy says.

    ``new_limit`` is in force from ``effective_on``; under ``review`` the limit stays and ``proposed_limit`` is what a person
    is asked to confirm (null otherwise).  ``hits`` are the rules that decided; ``by_model``: the model decided, alone or
    with them.  ``review_on``: when the account is looked at again, or the day by which a person decides.
    """

    action: Action
    new_limit: float
    proposed_limit: float | None
    effective_on: datetime.date | None
    review_on: datetime.date | None
    hits: tuple[RuleHit, ...]
    by_model: bool
    review_because: tuple[str, ...]


def apply(account: Account, policy: Policy, decided_at: datetime.datetime) -> Outcome:
    """The outcome for one account.  ``decided_at`` is aware of its time zone."""
    limit, balance = account.features["limit_now"], account.features["balance_now"]
    today = local_date(decided_at, policy)
    hits = tuple(hit for rule in policy.rules if (hit := _hit(rule, account)) is not None)
    in_band = abs(logit(account.probability) - logit(policy.cut_off)) < policy.review.band
    model_limit = limit_by_model(account, policy, in_band)
    capped = {hit.rule.code: _capped(hit, limit, balance, policy) for hit in hits if hit.cap is not None}
    rule_limit = min(capped.values(), default=limit)
    suspending = tuple(hit for hit in hits if hit.rule.suspend)
    model_suspends = account.probability >= policy.suspend.probability and limit > max(balance, 0.0)

    by_model = model_suspends or model_limit < rule_limit or (in_band and model_limit < limit)
    suspended = model_suspends or bool(suspending)
    new_limit = min(limit, max(balance, 0.0)) if suspended else min(model_limit, rule_limit)
    deciding = suspending if suspending else tuple(hit for hit in hits if capped.get(hit.rule.code, limit) < limit)
    by_model = by_model and not suspending

    review_hits = tuple(hit for hit in hits if hit.rule.review)
    because = tuple(hit.rule.code for hit in review_hits)
    if by_model:
        because += _review_because(account, policy, in_band, limit - new_limit, today)
    if because:
        return Outcome("review", limit, new_limit, None, _due(today, policy), deciding + review_hits, by_model, because)
    if new_limit >= limit and not suspended:
        return Outcome("keep", limit, None, None, None, (), False, ())
    effective_on = today + datetime.timedelta(days=policy.dates.effective_after_days)
    review_on = _add_months(today, int(policy.dates.review_after_months))
    return Outcome("suspend" if suspended else "reduce", new_limit, None, effective_on, review_on, deciding, by_model, ())


def hand_over(outcome: Outcome, because: tuple[str, ...], limit: float, policy: Policy, decided_at: datetime.datetime) -> Outcome:
    """The same outcome as a proposal to a person, for these reasons."""
    proposed = outcome.new_limit if outcome.proposed_limit is None else outcome.proposed_limit
    due = _due(local_date(decided_at, policy), policy)
    reasons = outcome.review_because + because
    return Outcome("review", limit, proposed, None, due, outcome.hits, outcome.by_model, reasons)


def limit_by_model(account: Account, policy: Policy, in_band: bool) -> float:
    """The limit that the probability allows, CNY: the present one where no cut is due or it would be too small to make.

    Inside the band on either side of the cut-off it is the cut that a person is asked about.
    """
    limit, balance = account.features["limit_now"], max(account.features["balance_now"], 0.0)
    economics, cut = policy.economics, policy.cut
    exposure = balance + economics.credit_conversion * max(limit - balance, 0.0)
    expected_loss = account.probability * economics.loss_given_default * exposure
    if (account.probability <= policy.cut_off and not in_band) or expected_loss < cut.minimum_expected_loss:
        return limit
    tolerated_exposure = cut.tolerated_share * policy.cut_off * exposure / account.probability
    spare = max(tolerated_exposure - balance, 0.0)
    room = spare / economics.credit_conversion if economics.credit_conversion > 0 else limit
    least = max(_grid_up(balance * (1.0 + cut.headroom), cut.rounding), cut.floor)
    new_limit = min(max(_grid_down(balance + room, cut.rounding), least), limit)
    small = limit - new_limit < max(cut.minimum_cut_share * limit, cut.minimum_cut_amount)
    return limit if small else new_limit


def local_date(decided_at: datetime.datetime, policy: Policy) -> datetime.date:
    """The day on the lender's clock.  ValueError for a time without a zone."""
    if decided_at.tzinfo is None:
        raise ValueError(f"decided_at: expected a time with a zone, got {decided_at.isoformat()} without one")
    shifted = decided_at.astimezone(datetime.UTC) + datetime.timedelta(hours=policy.dates.utc_offset_hours)
    return shifted.date()


def logit(probability: float) -> float:
    """log(p / (1 - p)) of a probability inside (0, 1)."""
    return math.log(probability) - math.log1p(-probability)


def read_policy(text: str) -> Policy:
    """The policy that a TOML text states; :class:`PolicyError` names the key that is missing, unknown or out of range."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"policy: not TOML: {error}") from error
    sections = {"economics": Economics, "cut": Cut, "suspend": Suspend, "review": Review, "dates": Dates}
    _keys("policy", raw, {"version", *sections}, {"rules"})
    parts: dict[str, Any] = {name: _numbers(name, kind, raw[name]) for name, kind in sections.items()}
    rules = tuple(_rule(f"policy.rules[{i}]", table) for i, table in enumerate(raw.get("rules", ())))
    policy = Policy(version=str(raw["version"]), rules=rules, **parts)
    for key, value in (("margin + harm", policy.economics.margin + policy.economics.harm), ("rounding", policy.cut.rounding)):
        if value <= 0:
            raise PolicyError(f"policy: expected {key} above 0, got {value}")
    return policy


def _review_because(
    account: Account, policy: Policy, in_band: bool, reduction: float, today: datetime.date
) -> tuple[str, ...]:
    if reduction <= 0:
        return ()
    age = (today.year - account.as_of.year) * 12 + today.month - account.as_of.month
    grounds = {
        "near_cut_off": in_band,
        "high_impact": reduction > policy.review.high_impact_amount,
        "short_history": account.features["months_observed"] < policy.review.minimum_months,
        "stale_data": age > policy.review.stale_months,
    }
    return tuple(name for name, holds in grounds.items() if holds)


def _hit(rule: Rule, account: Account) -> RuleHit | None:
    if rule.products is not None and account.product not in rule.products:
        return None
    if rule.first_month is not None and account.as_of < rule.first_month:
        return None
    if not all(condition.holds(account.features[condition.feature]) for condition in rule.when):
        return None
    cap = rule.cap
    if rule.cap_of is not None:
        cap = rule.times * account.features[rule.cap_of]
        if math.isnan(cap):
            return None
    return RuleHit(rule, account.features[rule.when[0].feature], cap)


def _capped(hit: RuleHit, limit: float, balance: float, policy: Policy) -> float:
    """A cap on the grid; what is drawn already stays drawn."""
    cap = limit if hit.cap is None else hit.cap
    drawn = _grid_up(max(balance, 0.0), policy.cut.rounding)
    return min(limit, max(_grid_down(cap, policy.cut.rounding), drawn))


def _due(today: datetime.date, policy: Policy) -> datetime.date:
    return today + datetime.timedelta(days=policy.dates.decide_within_days)


def _add_months(day: datetime.date, months: int) -> datetime.date:
    """The same day of a later month, or that month's last day."""
    index = day.year * 12 + day.month - 1 + months
    first = datetime.date(index // 12, index % 12 + 1, 1)
    following = datetime.date((index + 1) // 12, (index + 1) % 12 + 1, 1)
    return min(first + datetime.timedelta(days=day.day - 1), following - datetime.timedelta(days=1))


def _grid_down(amount: float, rounding: float) -> float:
    return math.floor(amount / rounding + 1e-9) * rounding


def _grid_up(amount: float, rounding: float) -> float:
    return math.ceil(amount / rounding - 1e-9) * rounding


def _keys(where: str, table: Mapping[str, object], required: set[str], optional: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    missing, unknown = required - table.keys(), table.keys() - required - optional
    if missing or unknown:
        raise PolicyError(f"{where}: missing {sorted(missing)}, unknown {sorted(unknown)}")


def _numbers(name: str, kind: type, table: Mapping[str, object]) -> object:
    names = {field.name for field in fields(kind)}
    _keys(f"policy.{name}", table, names)
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise PolicyError(f"policy.{name}.{key}: expected a number of at least 0, got {value!r}")
        if (kind is Economics or key.endswith("share") or key == "probability") and not value <= 1:
            raise PolicyError(f"policy.{name}.{key}: expected a share of at most 1, got {value!r}")
    return kind(**table)


def _rule(where: str, table: Mapping[str, Any]) -> Rule:
    _keys(where, table, {"code", "cause", "when", "effect", "en", "zh"}, {"products", "from"})
    if table["cause"] not in CAUSES:
        raise PolicyError(f"{where}.cause: expected one of {CAUSES}, got {table['cause']!r}")
    if not table["when"]:
        raise PolicyError(f"{where}.when: expected at least one condition")
    effect = dict(table["effect"])
    if set(effect) not in ({"cap"}, {"cap_of", "times"}, {"suspend"}, {"review"}):
        raise PolicyError(f"{where}.effect: expected cap, cap_of and times, suspend, or review; got {sorted(effect)}")
    first_month = datetime.date.fromisoformat(f"{table['from']}-01") if "from" in table else None
    products = frozenset(table["products"]) if "products" in table else None
    when = tuple(_condition(f"{where}.when[{i}]", condition) for i, condition in enumerate(table["when"]))
    words = {key: str(table[key]) for key in ("code", "en", "zh")}
    return Rule(cause=table["cause"], when=when, products=products, first_month=first_month, **words, **effect)


def _condition(where: str, table: Mapping[str, Any]) -> Condition:
    comparisons = ("at_least", "at_most", "above", "below")
    named = [key for key in comparisons if key in table]
    if len(named) != 1 or set(table) != {"feature", named[0]}:
        raise PolicyError(f"{where}: expected a feature and one of {comparisons}, got {sorted(table)}")
    return Condition(str(table["feature"]), named[0], float(table[named[0]]))  # type: ignore[arg-type]
