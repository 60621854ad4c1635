"""reasons.toml: how reasons are selected and worded, and notices put; numbers and dates as a customer reads them.

Wording never computes: it puts values that are there into sentences that are there.
"""

from __future__ import annotations

import datetime
import math
import re
import string
import tomllib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal

from features.catalogue import BY_NAME, Unit
from serving.decision.policy_file import CAUSES, Cause, RuleHit

Language = Literal["en", "zh"]
_WINDOWS = (3, 6, 12, 24)
_PLACEHOLDERS = frozenset({"value", "reference", "label", *(f"last_{months}" for months in _WINDOWS)})
_KEYS = ("en", "zh", "missing_en", "missing_zh")
_ONE_OF_MANY = re.compile(r"(?<![\d.,])1 (day|month|time)s\b")
_FALLBACK_KEYS = (*_KEYS, "plain_en", "plain_zh")
_DECIDED = frozenset({"decided_on", "effective_on", "review_on", "credit_limit", "new_limit"})
_PROPOSED = frozenset({"decided_on", "proposed_limit"})
_NOTICE: Mapping[str, AbstractSet[str]] = {  # each part of a notice, and the placeholders that stand in it
    "reduce": _DECIDED,
    "suspend": _DECIDED,
    "review": frozenset({"review_on", "credit_limit", "proposal"}),
    "propose_reduce": _PROPOSED,
    "propose_suspend": _PROPOSED,
    "propose_nothing": frozenset(),
    "reasons": frozenset({"reasons"}),
    "rights": frozenset(),
    "hearing": frozenset(),
}
# Not strftime's: its names of months are those of the machine's locale.
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


class WordingError(ValueError):
    """A reasons file that cannot be used: which key, what was expected and what stands there."""


@dataclass(frozen=True, slots=True)
class Text:
    """The same words in English and Chinese: a sentence, or a notice of several."""

    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """How a feature is said: when its value is known, and when it is not (null = by the fallback)."""

    known: Text
    missing: Text | None


@dataclass(frozen=True, slots=True)
class Group:
    """A reason group: its cause, and the sentences of its features by name."""

    cause: Cause
    sentences: Mapping[str, Sentence]


@dataclass(frozen=True, slots=True)
class Wording:
    """reasons.toml, read and checked.  The order of ``groups`` breaks ties; ``notice`` has its parts by name."""

    version: str
    most: int
    minimum_share: float
    features_shown: int
    protected: frozenset[str]
    fallback: Sentence
    plain: Text  # where a comparison with the reference would contradict itself
    groups: Mapping[str, Group]
    notice: Mapping[str, Text]


def say(
    group: str, feature: str, values: Mapping[str, float], reference: Mapping[str, float], worse: bool, wording: Wording
) -> Text:
    """The sentence for a group whose leading feature this is; ``worse``: than the reference's median."""
    sentences = wording.groups[group].sentences if group in wording.groups else {}
    sentence = sentences.get(feature, wording.fallback)
    template = sentence.known if worse or "{reference}" not in sentence.known.en else wording.plain
    if math.isnan(values[feature]):
        fallback = wording.fallback.missing or wording.fallback.known
        template = sentence.missing or fallback
    return Text(*(_fill(template, language, feature, values, reference) for language in ("en", "zh")))


def say_rule(hit: RuleHit) -> Text:
    """The sentence of a rule that decided."""
    unit: Unit = BY_NAME[hit.rule.when[0].feature].unit
    cap = math.nan if hit.cap is None else hit.cap

    def fill(template: str, language: Language) -> str:
        return template.format(value=number(hit.value, unit, language), cap=number(cap, "CNY", language))

    return Text(fill(hit.rule.en, "en"), fill(hit.rule.zh, "zh"))


def number(value: float, unit: Unit, language: Language) -> str:
    """A value as a customer reads it.

    >>> number(0.934, "share", "en"), number(12300.0, "CNY", "zh"), number(3.0, "months", "en")
    ('93 %', '12,300元', '3')

    Less than a whole yuan is told in cents, for nothing is something else.

    >>> number(0.4, "CNY", "en"), number(0.0, "CNY", "en")
    ('CNY 0.40', 'CNY 0')
    """
    if math.isnan(value):
        return "not known" if language == "en" else "未知"
    if unit == "share":
        return f"{value * 100:.0f} %" if language == "en" else f"{value * 100:.0f}%"
    if unit == "CNY":
        amount = f"{value:,.2f}" if 0 < abs(value) < 1 else f"{value:,.0f}"
        return f"CNY {amount}" if language == "en" else f"{amount}元"
    if unit == "times":
        return f"{value:.1f}"
    if unit == "yes_no":
        words = ("no", "yes") if language == "en" else ("否", "是")
        return words[int(value > 0)]
    return f"{value:.0f}" if value == round(value) else f"{value:.1f}"


def day(date: datetime.date, language: Language) -> str:
    """A date as a customer reads it.

    >>> day(datetime.date(2026, 11, 7), "en"), day(datetime.date(2026, 11, 7), "zh")
    ('7 November 2026', '2026年11月7日')
    """
    if language == "en":
        return f"{date.day} {_MONTHS[date.month - 1]} {date.year}"
    return f"{date.year}年{date.month}月{date.day}日"


def read_wording(text: str) -> Wording:
    """The wording that a TOML text states; :class:`WordingError` names the key that is missing, unknown or out of range."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WordingError(f"reasons: not TOML: {error}") from error
    expected = {"version", "selection", "protected", "fallback", "notice", "groups"}
    if raw.keys() != expected:
        raise WordingError(f"reasons: expected the keys {sorted(expected)}, got {sorted(raw)}")
    selection = raw["selection"]
    if selection.keys() != {"most", "minimum_share", "features_shown"}:
        raise WordingError(f"reasons.selection: expected most, minimum_share and features_shown, got {sorted(selection)}")
    if not (1 <= selection["most"] <= 4 and 0 <= selection["minimum_share"] < 1 and selection["features_shown"] >= 1):
        raise WordingError(f"reasons.selection: expected most 1-4, minimum_share 0-1, features_shown >= 1, got {selection}")
    fallback = _sentence("reasons.fallback", raw["fallback"], _FALLBACK_KEYS)
    if missing := set(_FALLBACK_KEYS) - raw["fallback"].keys():
        raise WordingError(f"reasons.fallback: missing {sorted(missing)}")
    plain = Text(raw["fallback"]["plain_en"], raw["fallback"]["plain_zh"])
    groups = {name: _group(f"reasons.groups.{name}", table) for name, table in raw["groups"].items()}
    return Wording(
        version=str(raw["version"]),
        **selection,
        protected=frozenset(raw["protected"]["features"]),
        fallback=fallback,
        plain=plain,
        groups=groups,
        notice=_notice(raw["notice"]),
    )


def _fill(template: Text, language: Language, feature: str, values: Mapping[str, float], reference: Mapping[str, float]) -> str:
    declared = BY_NAME.get(feature)
    unit: Unit = declared.unit if declared else "count"
    words = {
        "value": number(values[feature], unit, language),
        "reference": number(reference.get(feature, math.nan), unit, language),
        "label": getattr(declared, language, feature),
    }
    observed = values.get("months_observed", math.nan)
    # A history of 4 months has no "last 12 months".
    words |= {f"last_{months}": f"{min(months, observed) if observed == observed else months:.0f}" for months in _WINDOWS}
    said = str(getattr(template, language)).format(**words)
    return _ONE_OF_MANY.sub(r"1 \1", said) if language == "en" else said


def _group(where: str, table: Mapping[str, Any]) -> Group:
    if table.get("cause") not in CAUSES:
        raise WordingError(f"{where}.cause: expected one of {CAUSES}, got {table.get('cause')!r}")
    sentences = {name: _sentence(f"{where}.{name}", value) for name, value in table.items() if name != "cause"}
    return Group(table["cause"], sentences)


def _sentence(where: str, table: object, keys: tuple[str, ...] = _KEYS) -> Sentence:
    if not isinstance(table, dict) or not {"en", "zh"} <= table.keys() <= set(keys):
        raise WordingError(f"{where}: expected en, zh and perhaps missing_en, missing_zh, got {table!r}")
    if ("missing_en" in table) != ("missing_zh" in table):
        raise WordingError(f"{where}: expected missing_en and missing_zh, or neither")
    for key, template in table.items():
        if unknown := _placeholders(f"{where}.{key}", template) - _PLACEHOLDERS:
            raise WordingError(f"{where}.{key}: unknown placeholders {sorted(unknown)}; known are {sorted(_PLACEHOLDERS)}")
    missing = Text(table["missing_en"], table["missing_zh"]) if "missing_en" in table else None
    return Sentence(Text(table["en"], table["zh"]), missing)


def _notice(table: object) -> dict[str, Text]:
    """Each part of a notice by name; what must be told is told in both languages, or the file is refused."""
    if not isinstance(table, dict) or table.keys() != _NOTICE.keys():
        got = sorted(table) if isinstance(table, dict) else table
        raise WordingError(f"reasons.notice: expected the parts {sorted(_NOTICE)}, got {got!r}")
    return {name: _part(f"reasons.notice.{name}", table[name], placeholders) for name, placeholders in _NOTICE.items()}


def _part(where: str, table: object, placeholders: AbstractSet[str]) -> Text:
    if not isinstance(table, dict) or table.keys() != {"en", "zh"}:
        raise WordingError(f"{where}: expected en and zh, got {table!r}")
    for key, template in table.items():
        found = _placeholders(f"{where}.{key}", template)
        if found != placeholders:
            missing, unknown = sorted(placeholders - found), sorted(found - placeholders)
            raise WordingError(f"{where}.{key}: missing placeholders {missing}, unknown {unknown}")
    return Text(table["en"], table["zh"])


def _placeholders(where: str, template: object) -> set[str]:
    """What stands between braces in a template; a format of its own is refused, for numbers come as text."""
    if not isinstance(template, str) or not template.strip():
        raise WordingError(f"{where}: expected a text, got {template!r}")
    try:
        fields = [field for field in string.Formatter().parse(template) if field[1] is not None]
    except ValueError as error:
        raise WordingError(f"{where}: expected placeholders as {{name}}: {error}") from error
    if any(specification or conversion for _, _, specification, conversion in fields):
        raise WordingError(f"{where}: expected placeholders as {{name}}, got one with a format in {template!r}")
    return {str(name) for _, name, _, _ in fields}
