"""A reason as a sentence: the texts of reasons.toml with the values of an account in them.

The functions compute no values; they insert given values into the texts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from features.catalogue import BY_NAME, Feature, Unit
from serving.decision.config.policy import RuleHit
from serving.decision.config.reasons import Text, Wording
from serving.decision.config.template import template_in_both
from serving.decision.reasons.case import Case
from serving.decision.reasons.wording import month_in_both, number_in_both
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
    english, chinese = zip(*[write(text, case) for text in texts], strict=True)
    # Chinese has no space between sentences.
    return Text(en=" ".join(english), zh="".join(chinese))


def fill(text: Text, feature: Feature, evidence: Evidence) -> Text:
    """A text whose placeholders are about a feature of the catalogue."""
    return Text(*write(text, Case(feature, evidence)))


def join(one: Text, other: Text) -> Text:
    """Two sentences as one text; Chinese has no space between them."""
    return Text(f"{one.en} {other.en}", f"{one.zh}{other.zh}")


def say_rule(hit: RuleHit) -> Text:
    """The sentence of a rule that decided, and of the rule's source if it has one."""
    rule = hit.rule
    unit: Unit = BY_NAME[rule.when[0].feature].unit
    cap = math.nan if hit.cap is None else hit.cap
    words = {
        "value": number_in_both(hit.value, unit),
        "cap": number_in_both(cap, "CNY"),
        "as_of": month_in_both(hit.as_of),
    }
    template = template_in_both(rule.en, rule.zh)
    sentence = Text(*template.fill([words[name] for name in template.names]))
    if rule.source is None:
        return sentence
    return join(sentence, Text(f"This rule comes from {rule.source}.", f"依据：{rule.source}。"))
