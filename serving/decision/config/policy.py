"""policy.toml: the settings and the hard rules of the policy, and their reader."""

from __future__ import annotations

import datetime
import operator
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from features.ledger import Terms
from features.types import Mask, Vector
from serving.decision.config.economics import (
    Economics,
    EconomicsError,
    LearntEconomics,
    numbers_of,
)
from serving.decision.config.placeholders import placeholders_of
from serving.decision.config.quick_init import quick_init
from serving.decision.config.run_bounds import NO_BOUNDS, RunBounds, read_run_bounds
from serving.decision.config.strict_toml import (
    NOT_NEGATIVE,
    SHARE,
    Interval,
    Section,
    read_toml,
)

Cause = Literal["risk", "behavior", "regulation"]
Comparison = Literal["at_least", "at_most", "above", "below"]
CAUSES: tuple[Cause, ...] = get_args(Cause)
COMPARISONS: tuple[Comparison, ...] = get_args(Comparison)
# Above it, those who are left alone would no longer be the exception.
_CONTROL_SHARE = Interval(0, 0.2)


@dataclass(frozen=True, slots=True)
class CutSettings:
    """How deep a cut goes."""

    depth: float  # how fast the tolerated loss falls above the cut-off; 0 = not at all
    headroom: float  # of the balance; left free on top of it, if a usual month needs no more
    largest_step: float  # of the limit before the first cut; one decision takes at most this
    floor: float  # CNY; no cut by the model goes below
    rounding: float  # CNY; new limits are whole multiples of it
    minimum_cut_share: float  # of the limit; no smaller cut is made
    minimum_cut_amount: float  # CNY; no smaller cut is made
    minimum_expected_loss: float  # CNY; accounts with less are kept
    again_after_months: int  # from a cut or referral; the model does neither again before
    again_if_worse: float  # log-odds; it does if they rose by so much


@dataclass(frozen=True, slots=True)
class Suspend:
    """When no new drawings are allowed."""

    probability: float  # suspended from this probability on


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the staircase on which a limit comes back."""

    margin: float  # log-odds below the cut-off from which it is given
    share: float  # of what was taken


@dataclass(frozen=True, slots=True)
class Restore:
    """When and how far a limit comes back."""

    after_months: int  # from the latest cut; nothing is given back before
    steps: tuple[Step, ...]  # margins and shares rise, and the last share is 1

    @property
    def first_margin(self) -> float:
        """The margin from which anything is given back, and a suspension is lifted."""
        return self.steps[0].margin


@dataclass(frozen=True, slots=True)
class ReviewSettings:
    """When a person decides."""

    band: float  # log-odds on either side of the cut-off
    high_impact_amount: float  # CNY; a person decides on larger cuts
    high_impact_share: float  # of the limit; a person decides on larger cuts by the model
    high_impact_incomes: float  # months of income; a person decides on larger cuts by the model
    minimum_months: float  # a person decides on cuts of shorter histories
    stale_months: float  # from as_of to the decision; a person decides on older data


@dataclass(frozen=True, slots=True)
class ControlArm:
    """Whom the model would cut, and the lender leaves alone to measure what a cut does."""

    share: float  # of the accounts; 0 = no control arm


@dataclass(frozen=True, slots=True)
class Dates:
    """The lender's clock and periods."""

    utc_offset_hours: float
    effective_after_days: float  # from the decision
    review_after_months: float  # until a cut account is decided again
    decide_within_days: float  # of a review, by a person
    notice_within_days: float  # of the decision; of a cut at the latest before it takes effect
    hearing_notice_within_days: float  # of a decision that is referred to a person


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of a feature with a number; false for an unknown value."""

    feature: str
    comparison: Comparison
    number: float

    def holds(self, value: float) -> bool:
        """Whether a value of the feature meets the condition; NaN does not."""
        return bool(_COMPARE[self.comparison](value, self.number))

    def holds_each(self, values: Vector) -> Mask:
        """:meth:`holds` of each value of an array, bool of its shape."""
        met: Mask = _COMPARE[self.comparison](values, self.number)
        return met


_SOME_SHARE = Interval(0, 1, excludes_low=True)
# Months from a cut to the next look at its account, at most: a slip of the pen beyond it would
# leave a cut in force for ever.
LONGEST_TO_NEXT_LOOK = 60
_COMPARE = {
    "at_least": operator.ge,
    "at_most": operator.le,
    "above": operator.gt,
    "below": operator.lt,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A hard rule.

    It has one effect: ``cap``, ``cap_of`` with ``times``, ``suspend`` or ``review``.
    """

    code: str
    cause: Cause
    when: tuple[Condition, ...]  # all of them have to hold
    en: str  # the reason's sentence; may contain {value}, {as_of}, and {cap} if the effect is a cap
    zh: str
    source: str | None = None  # the regulation, by name and article; a rule of `regulation` has one
    products: frozenset[str] | None = None  # None = all
    first_month: datetime.date | None = None  # first as_of it applies to; None = always
    cap: float | None = None  # CNY
    cap_of: str | None = None  # feature that the cap is a multiple of
    times: float = 1.0
    suspend: bool = False
    review: bool = False


@quick_init
@dataclass(frozen=True, slots=True)
class RuleHit:
    """A rule that applies to an account.

    ``value`` is that of the first condition's feature, ``cap`` CNY; None = the rule does not cap.
    """

    rule: Rule
    value: float
    cap: float | None
    as_of: datetime.date  # month of the last statement


@dataclass(frozen=True, slots=True)
class Policy:
    """The content of policy.toml, checked."""

    version: str
    economics: Economics
    cut: CutSettings
    suspend: Suspend
    restore: Restore
    review: ReviewSettings
    control: ControlArm
    dates: Dates
    terms: Terms
    rules: tuple[Rule, ...]  # in order of precedence
    run: RunBounds = NO_BOUNDS
    # Those computed so far, by product: a decision asks for its own several times.
    _cut_offs: dict[str, float] = field(init=False, default_factory=dict, compare=False, repr=False)

    def cut_off(self, product: str) -> float:
        """The probability above which a limit of the product is cut.

        There the expected loss on a unit of unused limit equals what keeping it earns, plus what
        cutting a good customer costs::

            cut_off * loss_given_default * credit_conversion = (1 - cut_off) * (margin + harm)

        It is 1 where no unused limit is drawn by the time of a default, or nothing of it is lost: a
        cut would avoid no loss, so the model cuts no limit of the product.

        Raises:
            EconomicsError: The product's economics are neither learnt nor stated.
        """
        known = self._cut_offs.get(product)
        if known is None:
            known = self._cut_offs[product] = self._compute_cut_off(product)
        return known

    def _compute_cut_off(self, product: str) -> float:
        own = self.economics.of(product)
        loss_of_cutting = own.margin + self.economics.harm
        if loss_of_cutting <= 0:
            expected = f"margin + harm of {product!r} above 0"
            raise EconomicsError(f"[economics]: expected {expected}, got {loss_of_cutting}")
        loss_of_keeping = self.economics.loss_given_default * own.credit_conversion
        return loss_of_cutting / (loss_of_cutting + loss_of_keeping)

    def cut_offs(self, products: Iterable[str]) -> dict[str, float]:
        """:meth:`cut_off` of each product, by name in alphabetical order."""
        return {product: self.cut_off(product) for product in sorted(set(products))}


def read_policy(text: str, learnt: LearntEconomics | None = None) -> Policy:
    """The policy that the text of a policy.toml states, with the economics that a fit learnt.

    Where margin or credit conversion are neither learnt nor stated, the policy is read all the
    same; to ask it about an account raises
    :class:`~serving.decision.config.economics.EconomicsError`.

    Raises :class:`~serving.decision.config.strict_toml.ConfigError` naming the key that is missing,
    unknown or out of range, the code that two rules have, or a text's unknown placeholder.
    """
    with read_toml(text, "policy.toml") as top:
        review = top.section("review").fill(ReviewSettings, {"high_impact_share": SHARE})
        return Policy(
            version=top.label("version"),
            economics=_economics(top.section("economics"), learnt or {}),
            cut=_cut(top.section("cut")),
            suspend=top.section("suspend").fill(Suspend, {"probability": SHARE}),
            restore=_restore(top.section("restore"), review.band),
            review=review,
            control=_control(top.section("control", optional=True)),
            dates=_dates(top.section("dates")),
            # Terms checks the ranges of its fields itself.
            terms=top.section("terms").fill(Terms, {}),
            rules=_rules(top.tables("rules", ())),
            run=read_run_bounds(top.section("run", optional=True)),
        )


def _economics(section: Section, learnt: LearntEconomics) -> Economics:
    # Read as present or absent: there is no default, because None means as learnt.
    margin = section.number("margin", SHARE) if "margin" in section else None
    stated = "credit_conversion" in section
    conversion = section.number("credit_conversion", SHARE) if stated else None
    harm = section.number("harm", SHARE)
    # The cut-off is a share of this sum.
    if harm <= 0 and margin == 0:
        raise section.error("", "margin + harm above 0", harm)
    return Economics(
        loss_given_default=section.number("loss_given_default", SHARE),
        harm=harm,
        margin=margin,
        credit_conversion=conversion,
        learnt=numbers_of(learnt),
    )


def _cut(section: Section) -> CutSettings:
    ranges = {
        "largest_step": Interval(0, 1, excludes_low=True),
        "minimum_cut_share": SHARE,
        "rounding": Interval(0, excludes_low=True),
    }
    return section.fill(CutSettings, ranges)


def _control(section: Section) -> ControlArm:
    # A lender without the table leaves nobody alone.
    return ControlArm(section.number("share", _CONTROL_SHARE, default=0.0))


def _dates(section: Section) -> Dates:
    dates = section.fill(Dates, {"review_after_months": Interval(0, LONGEST_TO_NEXT_LOOK)})
    # Whole days count: a date has no hours.
    last_day = int(dates.decide_within_days)
    if int(dates.hearing_notice_within_days) >= last_day:
        raise section.error(
            "hearing_notice_within_days",
            f"a day before that of decide_within_days ({last_day}), so that the customer can be "
            "heard",
            dates.hearing_notice_within_days,
        )
    return dates


def _restore(section: Section, band: float) -> Restore:
    steps: list[Step] = []
    after_months = section.whole("after_months", NOT_NEGATIVE)
    for table in section.tables("steps"):
        # Nearer to the cut-off than the band a person decides, so nothing comes back there.
        step = table.fill(Step, {"margin": Interval(band), "share": _SOME_SHARE})
        if steps and not (step.margin > steps[-1].margin and step.share > steps[-1].share):
            expected = f"a margin above {steps[-1].margin:g} and a share above {steps[-1].share:g}"
            raise table.error("", expected, [step.margin, step.share])
        steps.append(step)
    if not steps or steps[-1].share < 1:
        raise section.error("steps", "a last step that gives all of it (share = 1)", steps)
    return Restore(after_months, tuple(steps))


def _rules(sections: Sequence[Section]) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    places: dict[str, int] = {}
    for place, section in enumerate(sections):
        rule = _rule(section)
        # Of two rules with one code only the later cap would count, whichever is lower.
        earlier = places.setdefault(rule.code, place)
        if earlier != place:
            expected = f"a code that no other rule has (rules[{earlier}] has it)"
            raise section.error("code", expected, rule.code)
        rules.append(rule)
    return tuple(rules)


def _rule(section: Section) -> Rule:
    effect = _effect(section.section("effect"))
    caps = "cap" in effect or "cap_of" in effect
    allowed = {"value", "as_of", "cap"} if caps else {"value", "as_of"}
    cause = section.choice("cause", CAUSES)
    source = section.text("source") if "source" in section else None
    if cause == "regulation" and source is None:
        expected = "the regulation by name and article, because the cause is regulation"
        raise section.error("source", expected, source)
    return Rule(
        code=section.text("code"),
        cause=cause,
        when=_conditions(section),
        en=_sentence(section, "en", allowed),
        zh=_sentence(section, "zh", allowed),
        source=source,
        products=frozenset(section.texts("products")) if "products" in section else None,
        first_month=section.month("from") if "from" in section else None,
        **effect,
    )


def _sentence(rule: Section, key: str, allowed: AbstractSet[str]) -> str:
    template = rule.text(key)
    if unknown := placeholders_of(rule, key, template) - allowed:
        names = sorted("{" + name + "}" for name in unknown)
        among = " and ".join(sorted("{" + name + "}" for name in allowed))
        raise rule.error(key, f"no placeholders but {among}", names)
    return template


def _conditions(rule: Section) -> tuple[Condition, ...]:
    conditions = tuple(_condition(section) for section in rule.tables("when"))
    if not conditions:
        # A rule without a condition would apply to every account.
        raise rule.error("when", "at least one condition", [])
    return conditions


def _condition(section: Section) -> Condition:
    comparisons = [name for name in COMPARISONS if name in section]
    if len(comparisons) != 1:
        raise section.error(
            "",
            f"a feature and one of {list(COMPARISONS)}",
            section.keys,
        )
    comparison = comparisons[0]
    return Condition(
        section.text("feature"),
        comparison,
        section.number(comparison),
    )


def _effect(section: Section) -> dict[str, Any]:
    """The one effect of a rule, as fields of :class:`Rule`."""
    match section.keys:
        case ["cap"]:
            return {"cap": section.number("cap", NOT_NEGATIVE)}
        case ["cap_of", "times"]:
            times = section.number("times", NOT_NEGATIVE)
            return {"cap_of": section.text("cap_of"), "times": times}
        case ["suspend" | "review" as name]:
            # A rule without an effect would be stated as a reason of nothing.
            return {name: section.choice(name, (True,))}
    raise section.error("", "cap, cap_of and times, suspend, or review", section.keys)
