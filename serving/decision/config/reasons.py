"""reasons.toml: the texts of reasons and notices, and how many reasons are stated; their reader."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal, get_args

from features.catalogue import BY_NAME, MODEL_FEATURES
from features.catalogue.amounts import AMOUNTS, MONTHS_AGO
from features.schema import PRODUCTS
from serving.decision.config.placeholders import placeholders_of
from serving.decision.config.policy import CAUSES, Cause
from serving.decision.config.quick_init import quick_init
from serving.decision.config.strict_toml import NOT_NEGATIVE, Interval, Section, read_toml

Language = Literal["en", "zh"]
# The cases in which a feature has another sentence than its usual one, the first that applies:
# ``no_income`` and ``unknown`` for an unknown value; ``partly`` where some of the months lack an
# income; for a change ``same``, ``fell`` and ``from_nothing``; for others ``unpaid`` (nothing was
# paid on the last bill), ``part_paid`` (less than its minimum was), ``nothing`` (0), ``once`` (1),
# ``gaps`` (months without a bill), ``one_month`` (all of it in one month), ``little`` (a small
# share) and ``every`` (all months that the sentence covers).
Variant = Literal[
    "no_income",
    "unknown",
    "partly",
    "same",
    "fell",
    "from_nothing",
    "unpaid",
    "part_paid",
    "nothing",
    "once",
    "gaps",
    "little_one_month",
    "one_month",
    "little",
    "every",
]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
# The sentences about the comparison accounts: their median is above 0, reads as 0, or is below 0.
Comparing = Literal["others", "others_nothing", "others_fell"]
COMPARING: tuple[Comparing, ...] = get_args(Comparing)
# Sentences that follow a known value where it is not what a customer would think: months are
# measured against a limit from before a cut; the income fell lower before it rose again; the latest
# income, or the debt elsewhere, is that of an earlier statement.
Further = Literal["cut", "low", "carried", "older_debt"]
FURTHER: tuple[Further, ...] = get_args(Further)
_OF_INCOME: tuple[Further, ...] = ("low", "carried")
WINDOWS = (3, 6, 12, 24)  # months that a sentence may cover, as {last_3} or {bills_3}
_IN_SENTENCES = frozenset(
    {
        "value",
        "reference",
        "none",
        "bill_month",
        "before_6",
        "due_missing",
        "points",
        "reference_points",
        "your_limit",
        "as_of",
        *(f"last_{months}" for months in WINDOWS),
        *(f"bills_{months}" for months in WINDOWS),
        *BY_NAME,
        *(f"none_{name}" for name in MODEL_FEATURES),
        *(amount.name for amount in AMOUNTS),
    }
)
_DECIDED = frozenset({"account", "decided_on", "effective_on", "review_on"})
_LIMITS = frozenset({"credit_limit", "new_limit"})
_PROPOSED = frozenset({"decided_on", "proposed_limit"})
_RETURNED = frozenset({"account", "decided_on", "effective_on"})
_LOOKED = frozenset({"account", "decided_on", "credit_limit"})
# The parts of a notice, each with the placeholders that it has to contain.  Where the products say
# what a suspension stops, any may have {new_use} too.
_NOTICE: Mapping[str, AbstractSet[str]] = {
    "account": frozenset({"product", "account_tail"}),
    "reduce": _DECIDED | _LIMITS,
    "suspend": _DECIDED | {"credit_limit"},
    "suspend_and_reduce": _DECIDED | _LIMITS,
    "review": frozenset({"account", "review_on", "credit_limit", "proposal"}),
    "propose_reduce": _PROPOSED,
    "propose_suspend": frozenset({"decided_on"}),
    "propose_suspend_and_reduce": _PROPOSED,
    "propose_allow": frozenset({"decided_on"}),
    "propose_raise": _PROPOSED,
    "propose_allow_and_raise": _PROPOSED,
    "propose_nothing": frozenset(),
    "close": frozenset(),
    "raise": _RETURNED | _LIMITS,
    "allow": _RETURNED | {"credit_limit"},
    "allow_and_raise": _RETURNED | _LIMITS,
    "whole_limit": frozenset(),
    "still_reduced": _LOOKED,
    "still_suspended": _LOOKED,
    "limit_before": frozenset({"limit_before"}),
    "next_look": frozenset({"review_on"}),
    "reasons_for_less": frozenset({"reasons"}),
    "reasons": frozenset({"reasons"}),
    "further_reasons": frozenset({"reasons"}),
    "also_known": frozenset({"fact"}),
    "rights": frozenset(),
    "rights_after_return": frozenset(),
    "hearing": frozenset(),
}
# Parts that a file may lack: others are used instead, or nothing is said.
_OPTIONAL: Mapping[str, AbstractSet[str]] = {
    "reason": frozenset({"reasons"}),
    "further_reason": frozenset({"reasons"}),
    "also_counted": frozenset({"fact"}),
    "overdue": frozenset(),
    "why_less": frozenset(),
    "in_steps": frozenset(),
}
# The texts about the change since the earlier decision, each with its placeholders.
_SINCE_LAST: Mapping[str, AbstractSet[str]] = {
    "model": frozenset(),
    "policy": frozenset(),
    "rose_mostly": frozenset({"earlier_on", "points"}),
    "rose_in_part": frozenset({"earlier_on", "points"}),
    "assessed_anew": frozenset({"earlier_on"}),
}
# 12 CFR 1002.9, comment 9(b)(2)-1: more than four reasons are unlikely to help the customer.
_MOST_REASONS = 4
# A reason pushed toward the cut, and so did the feature that it names.
_POSITIVE = Interval(0, excludes_low=True)
_POSITIVE_SHARE = Interval(0, 1, excludes_low=True)
_BELOW_ONE = Interval(0, 1, excludes_high=True)


@quick_init
@dataclass(frozen=True, slots=True)
class Text:
    """A text in English and Chinese; it may have placeholders."""

    en: str
    zh: str

    def by_language(self) -> tuple[tuple[str, Language], tuple[str, Language]]:
        """The text in each language, with that language."""
        return (self.en, "en"), (self.zh, "zh")


@dataclass(frozen=True, slots=True)
class Sentence:
    """The sentences of a feature.

    ``usual`` is used where no variant applies.  ``further`` follow where they apply.
    ``comparing`` comes last; it may lack a case, and then nothing is said about the comparison
    accounts.  Neither follows an unknown value.  A value below ``least`` is too small to be named;
    None = every value may be.
    """

    usual: Text
    variants: Mapping[Variant, Text]
    further: Mapping[Further, Text]
    comparing: Mapping[Comparing, Text]
    least: float | None


@dataclass(frozen=True, slots=True)
class Group:
    """A reason group: its cause, its name, and the sentences of its features by name."""

    cause: Cause
    name: Text  # as in "changes in ..."
    sentences: Mapping[str, Sentence]


@dataclass(frozen=True, slots=True)
class NeverSilent:
    """A fact that is stated with every cut by the model toward which it pushed."""

    feature: str
    at_least: float  # in the feature's unit
    ago: str | None = None  # the amount that says how many months ago it was
    within: float = math.inf  # months; what was longer ago may be silent
    beside: bool = False  # told only where its group is stated without it


@dataclass(frozen=True, slots=True)
class IncomeFall:
    """A fall of the income that a customer is told of, whether or not it pushed."""

    at_most: float  # the present income to the highest of 13 statements
    beside: frozenset[str]  # features whose sentences it may follow
    text: Text
    further: Mapping[Further, Text]  # ``low`` and ``carried``, where the file has them


@dataclass(frozen=True, slots=True)
class Wording:
    """The content of reasons.toml, checked."""

    version: str
    most: int  # reasons stated, at most
    minimum_contribution: float  # log-odds; smaller groups are not stated
    minimum_share: float  # of all that pushes toward the cut; smaller groups are not stated
    named_share: float  # of its group's contribution; a sentence names no smaller feature
    named_better: float  # share of the comparison accounts that are better in the feature named
    named_within: float  # log-odds; of features so near, the one with most accounts better is named
    equal_within: float  # log-odds; groups so near to the first are its equals
    features_shown: int  # of a group, at most
    never_silent: tuple[NeverSilent, ...]  # stated where they pushed, however little
    income_fall: IncomeFall | None  # None = no fall of the income is told for its own sake
    protected: frozenset[str]  # features that a machine may not state as a reason
    unmapped: Text  # for what has no sentence; a person decides where it is a principal reason
    comparison: Text  # what the comparison accounts are; has {size}
    comparison_name: Text  # what sentences call them
    products: Mapping[str, Text]  # what an account of a product is called
    # What a suspension of an account of a product stops; empty where no text says so by product.
    new_use: Mapping[str, Text]
    groups: Mapping[str, Group]  # ties in the ranking go by this order
    notice: Mapping[str, Text]  # by part
    since_last: Mapping[str, Text]  # by part


def read_wording(text: str) -> Wording:
    """The wording that the text of a reasons.toml states.

    Raises :class:`~serving.decision.config.strict_toml.ConfigError` naming the key that is missing,
    unknown, out of range, or has other placeholders than its text may have.
    """
    with read_toml(text, "reasons.toml") as top:
        selection, products = top.section("selection"), top.section("products")
        of_products = {name: products.section(name) for name in PRODUCTS}
        new_use = _new_use(of_products)
        comparison, groups = top.section("comparison"), top.section("groups").sections()
        return Wording(
            version=top.label("version"),
            most=selection.whole("most", Interval(1, _MOST_REASONS)),
            minimum_contribution=selection.number("minimum_contribution", _POSITIVE),
            minimum_share=selection.number("minimum_share", _BELOW_ONE),
            named_share=selection.number("named_share", _POSITIVE_SHARE),
            named_better=selection.number("named_better", _POSITIVE_SHARE),
            named_within=selection.number("named_within", NOT_NEGATIVE),
            equal_within=selection.number("equal_within", NOT_NEGATIVE),
            features_shown=selection.whole("features_shown", Interval(1)),
            never_silent=_never_silent(selection.tables("never_silent", ())),
            income_fall=_income_fall(top.section("income_fall")) if "income_fall" in top else None,
            protected=frozenset(top.section("protected").texts("features")),
            comparison=read_text(comparison, frozenset({"size"})),
            comparison_name=read_text(comparison, frozenset(), "_name"),
            unmapped=read_text(top.section("unmapped"), frozenset()),
            products={name: read_text(of_products[name], frozenset()) for name in PRODUCTS},
            new_use=new_use,
            groups={name: _group(section) for name, section in groups.items()},
            notice=_notice(top.section("notice"), names_use=bool(new_use)),
            since_last=_parts(top.section("since_last"), _SINCE_LAST),
        )


def _never_silent(sections: Sequence[Section]) -> tuple[NeverSilent, ...]:
    # A misspelt feature would silence the fact without a word.
    return tuple(_fact(table) for table in sections)


def _fact(table: Section) -> NeverSilent:
    feature = table.choice("feature", MODEL_FEATURES)
    at_least = table.number("at_least")
    is_beside = table.flag("beside") if "beside" in table else False
    if "ago" not in table:
        return NeverSilent(feature, at_least, beside=is_beside)
    ago = table.choice("ago", sorted(MONTHS_AGO))
    return NeverSilent(
        feature=feature,
        at_least=at_least,
        ago=ago,
        within=table.number("within"),
        beside=is_beside,
    )


def _income_fall(section: Section) -> IncomeFall:
    # A misspelt feature would leave the fall out of its reason without a word.
    features = section.texts("beside")
    if unknown := set(features) - set(MODEL_FEATURES):
        raise section.error("beside", "features of the model", sorted(unknown))
    return IncomeFall(
        section.number("at_most", _BELOW_ONE),
        frozenset(features),
        _text(section),
        {name: _text(section, name) for name in _OF_INCOME if _has(section, name)},
    )


def read_text(
    section: Section,
    required: AbstractSet[str],
    suffix: str = "",
    optional: AbstractSet[str] = frozenset(),
) -> Text:
    """The texts ``en`` and ``zh`` of a section, or the keys with a suffix such as ``en_nothing``.

    Both have to contain the ``required`` placeholders, and no other that is not ``optional``.
    """
    texts = []
    for key in (f"en{suffix}", f"zh{suffix}"):
        template = section.text(key)
        found = placeholders_of(section, key, template)
        if not required <= found <= required | optional:
            raise section.error(
                key,
                f"the placeholders {sorted(required)}",
                sorted(found),
            )
        texts.append(template)
    return Text(*texts)


def _new_use(products: Mapping[str, Section]) -> dict[str, Text]:
    """What a suspension stops, for every product or for none."""
    if not any(_has(section, "use", is_suffix=True) for section in products.values()):
        return {}
    return {name: read_text(section, frozenset(), "_use") for name, section in products.items()}


def _group(section: Section) -> Group:
    cause = section.choice("cause", CAUSES)
    name = read_text(section, frozenset(), "_name")
    sentences = {}
    for feature, table in section.sections().items():
        sentences[feature] = Sentence(
            usual=_text(table),
            variants={name: _text(table, name) for name in VARIANTS if _has(table, name)},
            further={name: _text(table, name) for name in FURTHER if _has(table, name)},
            comparing={name: _text(table, name) for name in COMPARING if _has(table, name)},
            least=table.number("least", _POSITIVE) if "least" in table else None,
        )
    return Group(cause, name, sentences)


def _has(section: Section, kind: str, *, is_suffix: bool = False) -> bool:
    """Whether a text of this kind is there in either language; the reader then needs both."""
    keys = (f"en_{kind}", f"zh_{kind}") if is_suffix else (f"{kind}_en", f"{kind}_zh")
    in_english, in_chinese = (key in section for key in keys)
    return in_english or in_chinese


def _text(section: Section, variant: str = "") -> Text:
    prefix = f"{variant}_" if variant else ""
    texts = []
    for key in (f"{prefix}en", f"{prefix}zh"):
        template = section.text(key)
        if unknown := placeholders_of(section, key, template) - _IN_SENTENCES:
            raise section.error(
                key,
                "placeholders that the top of the file lists",
                sorted(unknown),
            )
        texts.append(template)
    return Text(*texts)


def _notice(section: Section, *, names_use: bool) -> dict[str, Text]:
    present = {name: names for name, names in _OPTIONAL.items() if name in section}
    optional = {"new_use"} if names_use else set()
    required = {**_NOTICE, **present}
    return _parts(section, required, optional)


def _parts(
    section: Section,
    required: Mapping[str, AbstractSet[str]],
    optional: AbstractSet[str] = frozenset(),
) -> dict[str, Text]:
    """The texts of a section by name, each with the placeholders that it has to contain."""
    texts = {}
    for name, placeholders in required.items():
        texts[name] = read_text(section.section(name), placeholders, optional=optional)
    return texts
