"""advice.toml: the levers of a plan, how much of each is tried, and their texts; their reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from features.schema import LONGEST_WINDOW
from serving.decision.config.reasons import Text, read_text
from serving.decision.config.strict_toml import NOT_NEGATIVE, SHARE, Interval, Section, read_toml

LeverName = Literal["on_time", "extra", "spending", "no_cash", "no_new_credit", "repay_elsewhere"]
LEVERS: tuple[LeverName, ...] = get_args(LeverName)
NoteName = Literal[
    "not_cut",
    "by_rule",
    "asked_by_rule",
    "proposed",
    "no_plan",
    "no_plan_as_settled",
    "too_narrow",
    "no_sound_plan",
    "only_harmful",
    "others_harmful",
    "partly_back",
    "application_later",
    "application_lost",
    "old_statements",
    "income_unknown",
    "debt_unknown",
    "beyond_payment",
]
NOTES: tuple[NoteName, ...] = get_args(NoteName)
# Placeholders of a lever's text, of its variants, and of a note; none where not listed.
_LEVER_PLACEHOLDERS: Mapping[LeverName, set[str]] = {
    "extra": {"amount"},
    "spending": {"amount"},
    "repay_elsewhere": {"amount"},
}
# A file of before it came has [notes.only_harmful] for it.
_LATER_NOTE: NoteName = "others_harmful"
_VARIANT_PLACEHOLDERS: Mapping[LeverName, Mapping[str, set[str]]] = {
    "on_time": {
        "of_balance": {"share"},
        "of_amount": {"amount"},
        "of_both": {"amount", "share"},
    },
    "spending": {"of_income": {"amount", "share"}, "nothing": set()},
}
_NOTE_PLACEHOLDERS: Mapping[NoteName, set[str]] = {
    "by_rule": {"day"},
    "asked_by_rule": {"day"},
    "no_plan": {"month"},
    "no_plan_as_settled": {"month"},
    "no_sound_plan": {"month"},
    "old_statements": {"month"},
    "too_narrow": {"month"},
    "partly_back": {"amount", "month"},
    "application_later": {"amount", "month"},
    "application_lost": {"amount", "month"},
}
ArrearsName = Literal["under_60", "under_30"]
# Days past due under which a step brings an account, the smaller payment first.
ARREARS: Mapping[ArrearsName, int] = {"under_60": 60, "under_30": 30}
# Columns of the window that are 0 in a month in which nothing happened.
_EVENTS = (
    "above_90",
    "credit_inquiries",
    "drew_cash",
    "late",
    "limit_requests",
    "minimum_only",
    "missed_minimum",
)


@dataclass(frozen=True, slots=True)
class Search:
    """How far ahead a plan is followed, and how much it may ask for."""

    months: int  # ahead
    margin: float  # log-odds beyond the staircase's last step that a promise has to reach
    expires_after_days: int
    living_share: float  # of the monthly income; not available for payments
    instalment_share: float  # of the debt elsewhere; falls due each month
    rounding: float  # CNY; amounts are whole multiples of it


_SEARCH_RANGES = {
    "months": Interval(1, 24),
    "margin": Interval(0, 10),
    "expires_after_days": Interval(1, 366),
    "living_share": SHARE,
    "instalment_share": SHARE,
    "rounding": Interval(0.01, 1e6),
}


@dataclass(frozen=True, slots=True)
class Lever:
    """One thing that a customer can do."""

    name: LeverName
    grid: tuple[float, ...]  # shares that are tried
    weight: float  # effort of a unit
    text: Text
    # Other texts, by the case in which they are used.  Of on_time "average" too, a part of them.
    variants: Mapping[str, Text]


@dataclass(frozen=True, slots=True)
class Ageing:
    """An event that stops counting with time."""

    column: str  # of the window; above 0 in the months in which it happened
    months: int  # for which it counts
    text: Text


@dataclass(frozen=True, slots=True)
class ArrearsRules:
    """The texts of the steps out of arrears."""

    texts: Mapping[ArrearsName, Text]


@dataclass(frozen=True, slots=True)
class HardshipRules:
    """From which burden on a plan says who helps, and who that is."""

    share: float  # of the monthly income
    text: Text
    contact: Text
    debt_advice: Text


@dataclass(frozen=True, slots=True)
class AdviceRules:
    """The content of advice.toml, checked."""

    version: str
    search: Search
    levers: Mapping[LeverName, Lever]
    suspended: Text | None  # a step about the use of a suspended account; None = as of any other
    arrears: ArrearsRules
    hardship: HardshipRules
    ageing: Mapping[str, Ageing]
    notes: Mapping[NoteName, Text]


def read_advice(text: str) -> AdviceRules:
    """The rules that the text of an advice.toml states.

    Raises :class:`~serving.decision.config.strict_toml.ConfigError` naming the key that is missing,
    unknown, out of range, or has other placeholders than its text must have.
    """
    with read_toml(text, "advice.toml") as top:
        levers, notes = top.section("levers"), top.section("notes")
        ageing = top.section("ageing").sections()
        return AdviceRules(
            version=top.label("version"),
            search=top.section("search").fill(Search, _SEARCH_RANGES),
            levers={name: _lever(name, levers.section(name)) for name in LEVERS},
            suspended=read_text(top.section("suspended"), {"step"}) if "suspended" in top else None,
            arrears=_arrears(top.section("arrears")),
            hardship=_hardship(top.section("hardship")),
            ageing={name: _ageing(section) for name, section in ageing.items()},
            notes={
                name: _note(name, notes.section(name))
                for name in NOTES
                if name != _LATER_NOTE or name in notes
            },
        )


def _lever(name: LeverName, section: Section) -> Lever:
    variants = _VARIANT_PLACEHOLDERS.get(name, {})
    optional: set[str] = set()
    average = {}
    if "en_average" in section:
        average["average"] = read_text(section, {"months"}, "_average")
        optional = {"average"}
    return Lever(
        name,
        grid=section.numbers("grid", SHARE),
        weight=section.number("weight", NOT_NEGATIVE),
        text=read_text(section, _LEVER_PLACEHOLDERS.get(name, set())),
        variants={
            variant: read_text(section, placeholders, f"_{variant}", optional)
            for variant, placeholders in variants.items()
        }
        | average,
    )


def _ageing(section: Section) -> Ageing:
    return Ageing(
        column=section.choice("column", _EVENTS),
        months=section.whole("months", Interval(1, LONGEST_WINDOW)),
        text=read_text(section, {"month", "until"}),
    )


def _arrears(section: Section) -> ArrearsRules:
    texts = {}
    for name in ARREARS:
        table = section.section(name)
        texts[name] = read_text(table, {"amount", "month", "due"}, optional={"day"})
    return ArrearsRules(texts)


def _hardship(section: Section) -> HardshipRules:
    return HardshipRules(
        share=section.number("share", SHARE),
        text=_dated(section, {"amount", "share"}),
        contact=read_text(section, set(), "_contact"),
        debt_advice=read_text(section, set(), "_debt_advice"),
    )


def _dated(section: Section, placeholders: set[str]) -> Text:
    """A text with the last day of a payment, or its month as in files of before."""
    dates = {"day", "month"}
    text = read_text(section, placeholders, optional=dates)
    for key, template in (("en", text.en), ("zh", text.zh)):
        if not any(f"{{{date}}}" in template for date in dates):
            raise section.error(key, "the placeholder 'day'", template)
    return text


def _note(name: NoteName, section: Section) -> Text:
    if name == "beyond_payment":
        return _dated(section, {"amount"})
    return read_text(section, _NOTE_PLACEHOLDERS.get(name, set()))
