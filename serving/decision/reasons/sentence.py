"""A reason as a sentence: the texts of reasons.toml with the values of an account in them.

The functions compute no values; they insert given values into the texts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from features.catalogue import BY_NAME, Feature, Unit
from serving.decision.config.policy import RuleHit
from serving.decision.config.reasons import Language, Text, Wording
from serving.decision.config.template import template_of
from serving.decision.reasons.case import Case
from serving.decision.reasons.wording import number
from serving.decision.reasons.words import write

if TYPE_CHECKING:  # ranking imports this module
    from serving.decision.reasons.ranking import Evidence


def say(
    group: str,
    feature: str,
    evidence: Evidence,
    wording: Wording,
) -> Text:
    """The sentence of a group whose named feature is ``feature``.

    A second sentence states the median of the comparison accounts, where the first one can be
    compared.  A feature without a sentence gets the text of [unmapped]; a person decides then.
    """
    sentences = wording.groups[group].sentences if group in wording.groups else {}
    sentence = sentences.get(feature)
    declared = BY_NAME.get(feature)
    if sentence is None or declared is None:
        return wording.unmapped
    case = Case(declared, evidence)
    texts = case.texts(sentence, wording.unmapped)
    # Chinese has no space between sentences.
    return Text(
        en=" ".join([write(text.en, case, "en") for text in texts]),
        zh="".join([write(text.zh, case, "zh") for text in texts]),
    )


def fill(text: Text, feature: Feature, evidence: Evidence) -> Text:
    """A text whose placeholders are about a feature of the catalogue."""
    case = Case(feature, evidence)
    return Text(write(text.en, case, "en"), write(text.zh, case, "zh"))


def join(one: Text, other: Text) -> Text:
    """Two sentences as one text; Chinese has no space between them."""
    return Text(f"{one.en} {other.en}", f"{one.zh}{other.zh}")


def say_rule(hit: RuleHit) -> Text:
    """The sentence of a rule that decided, and of the rule's source if it has one."""
    unit: Unit = BY_NAME[hit.rule.when[0].feature].unit
    cap = math.nan if hit.cap is None else hit.cap

    def fill(template: str, language: Language) -> str:
        words = {
            "value": number(hit.value, unit, language),
            "cap": number(cap, "CNY", language),
        }
        return template_of(template).fill(words)

    rule = hit.rule
    sentence = Text(fill(rule.en, "en"), fill(rule.zh, "zh"))
    if rule.source is None:
        return sentence
    return join(sentence, Text(f"This rule comes from {rule.source}.", f"依据：{rule.source}。"))
