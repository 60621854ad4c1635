"""``reasons.toml`` to the sentences of reasons and notices: read once, every text and placeholder
checked.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal

from serving.decision.config.policy import CAUSES, Cause

Language = Literal["en", "zh"]
WINDOWS = (3, 6, 12, 24)
_PLACEHOLDERS = frozenset(
    {"value", "reference", "label", *(f"last_{months}" for months in WINDOWS)}
)
_KEYS = ("en", "zh", "missing_en", "missing_zh")
_FALLBACK_KEYS = (*_KEYS, "plain_en", "plain_zh")
_DECIDED = frozenset({"decided_on", "effective_on", "review_on", "credit_limit", "new_limit"})
_PROPOSED = frozenset({"decided_on", "proposed_limit"})
# each part of a notice, and the placeholders that stand in it
_NOTICE: Mapping[str, AbstractSet[str]] = {
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
    """reasons.toml, read and checked.

    The order of ``groups`` breaks ties; ``notice`` has its parts by name.
    """

    version: str
    most: int
    minimum_share: float
    features_shown: int
    protected: frozenset[str]
    fallback: Sentence
    plain: Text  # where a comparison with the reference would contradict itself
    groups: Mapping[str, Group]
    notice: Mapping[str, Text]


def read_wording(text: str) -> Wording:
    """The wording that a TOML text states; :class:`WordingError` names the key that is missing,
    unknown or out of range.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WordingError(f"reasons: not TOML: {error}") from error
    expected = {"version", "selection", "protected", "fallback", "notice", "groups"}
    if raw.keys() != expected:
        raise WordingError(f"reasons: expected the keys {sorted(expected)}, got {sorted(raw)}")
    selection = raw["selection"]
    if selection.keys() != {"most", "minimum_share", "features_shown"}:
        raise WordingError(
            f"reasons.selection: expected most, minimum_share and features_shown, got {sorted(selection)}"
        )
    if not (
        1 <= selection["most"] <= 4
        and 0 <= selection["minimum_share"] < 1
        and selection["features_shown"] >= 1
    ):
        raise WordingError(
            f"reasons.selection: expected most 1-4, minimum_share 0-1, features_shown >= 1, got {selection}"
        )
    fallback = _sentence("reasons.fallback", raw["fallback"], _FALLBACK_KEYS)
    if missing := set(_FALLBACK_KEYS) - raw["fallback"].keys():
        raise WordingError(f"reasons.fallback: missing {sorted(missing)}")
    plain = Text(raw["fallback"]["plain_en"], raw["fallback"]["plain_zh"])
    groups = {
        name: _group(f"reasons.groups.{name}", table) for name, table in raw["groups"].items()
    }
    return Wording(
        version=str(raw["version"]),
        **selection,
        protected=frozenset(raw["protected"]["features"]),
        fallback=fallback,
        plain=plain,
        groups=groups,
        notice=_notice(raw["notice"]),
    )


def _group(where: str, table: Mapping[str, Any]) -> Group:
    if table.get("cause") not in CAUSES:
        raise WordingError(f"{where}.cause: expected one of {CAUSES}, got {table.get('cause')!r}")
    sentences = {
        name: _sentence(f"{where}.{name}", value)
        for name, value in table.items()
        if name != "cause"
    }
    return Group(table["cause"], sentences)


def _sentence(where: str, table: object, keys: tuple[str, ...] = _KEYS) -> Sentence:
    if not isinstance(table, dict) or not {"en", "zh"} <= table.keys() <= set(keys):
        raise WordingError(
            f"{where}: expected en, zh and perhaps missing_en, missing_zh, got {table!r}"
        )
    if ("missing_en" in table) != ("missing_zh" in table):
        raise WordingError(f"{where}: expected missing_en and missing_zh, or neither")
    for key, template in table.items():
        if unknown := _placeholders(f"{where}.{key}", template) - _PLACEHOLDERS:
            raise WordingError(
                f"{where}.{key}: unknown placeholders {sorted(unknown)}; known are {sorted(_PLACEHOLDERS)}"
            )
    missing = Text(table["missing_en"], table["missing_zh"]) if "missing_en" in table else None
    return Sentence(Text(table["en"], table["zh"]), missing)


def _notice(table: object) -> dict[str, Text]:
    """Each part of a notice by name; what must be told is told in both languages, or the file is
    refused.
    """
    if not isinstance(table, dict) or table.keys() != _NOTICE.keys():
        got = sorted(table) if isinstance(table, dict) else table
        raise WordingError(f"reasons.notice: expected the parts {sorted(_NOTICE)}, got {got!r}")
    return {
        name: _part(f"reasons.notice.{name}", table[name], placeholders)
        for name, placeholders in _NOTICE.items()
    }


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
    """What stands between braces in a template; a format of its own is refused, for numbers come as
    text.
    """
    if not isinstance(template, str) or not template.strip():
        raise WordingError(f"{where}: expected a text, got {template!r}")
    try:
        fields = [field for field in string.Formatter().parse(template) if field[1] is not None]
    except ValueError as error:
        raise WordingError(f"{where}: expected placeholders as {{name}}: {error}") from error
    if any(specification or conversion for _, _, specification, conversion in fields):
        raise WordingError(
            f"{where}: expected placeholders as {{name}}, got one with a format in {template!r}"
        )
    return {str(name) for _, name, _, _ in fields}
