"""A text with placeholders, taken apart once.

``str.format`` takes its text apart at every call, and looks each value up by the name between the
braces.  The texts of a decision are the same for every account, so their pieces and the names of
their placeholders are found once, when a text is first used.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import TypeAlias

_MOST_TEXTS = 8192  # of a process: a bundle has about 800
# Words in English and in Chinese.
InBoth: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Template:
    """A text taken apart.

    ``pattern`` is the text with ``%s`` for each placeholder, for the operator ``%``, and ``names``
    are the placeholders in their order.
    """

    pattern: str
    names: tuple[str, ...]

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with these values, as ``str.format`` fills it.

        Raises:
            KeyError: A placeholder has no value.
        """
        return self.pattern % tuple(map(values.__getitem__, self.names))

    def put(self, parts: Mapping[str, Template]) -> Template:
        """The template with other templates in the places of some of its placeholders.

        >>> reasons = template_of("Your score: {score}.")
        >>> template_of("We say {what} for 100%.").put({"what": reasons}).fill({"score": "1"})
        'We say Your score: 1. for 100%.'
        """
        patterns: list[str] = []
        names: list[str] = []
        for name in self.names:
            part = parts.get(name)
            patterns.append("%s" if part is None else part.pattern)
            names += [name] if part is None else part.names
        # The patterns are put in as they are; of this one each "%%" stays one.
        pattern = self.pattern.replace("%%", "%%%%") % tuple(patterns)
        return Template(pattern, tuple(names))


def literal(text: str) -> Template:
    """The template of a text that has no placeholder, whatever braces are in it."""
    return Template(text.replace("%", "%%"), ())


def placeholder(name: str) -> Template:
    """The template that is one placeholder."""
    return Template("%s", (name,))


def join(templates: Iterable[Template], between: str) -> Template:
    """Templates one after the other, with a text between them."""
    several = list(templates)
    pattern = literal(between).pattern.join([template.pattern for template in several])
    return Template(pattern, tuple(name for template in several for name in template.names))


@lru_cache(maxsize=_MOST_TEXTS)
def template_of(text: str) -> Template:
    """The template of a text whose placeholders are names between braces, without formats.

    >>> template_of("From {before} to {now}.").fill({"before": "1", "now": "2"})
    'From 1 to 2.'
    """
    pieces: list[str] = []
    names: list[str] = []
    for text_before, name, _, _ in string.Formatter().parse(text):
        pieces.append(text_before.replace("%", "%%"))
        if name is not None:
            names.append(name)
            pieces.append("%s")
    return Template("".join(pieces), tuple(names))


class TemplateInBoth:
    """The templates of a text in both languages, which are filled from the same words.

    Attributes:
        names: The placeholders of either, each once.
    """

    __slots__ = ("_chinese", "_english", "_take_chinese", "_take_english", "names")

    def __init__(self, english: Template, chinese: Template) -> None:
        self.names = tuple(dict.fromkeys(english.names + chinese.names))
        self._english, self._chinese = english.pattern, chinese.pattern
        self._take_english = _taker(english.names, self.names)
        self._take_chinese = _taker(chinese.names, self.names)

    def fill(self, words: Sequence[InBoth]) -> InBoth:
        """The text in both languages with the words of ``names``, in their order.

        >>> template = template_in_both("{n} of your {name}", "{name}{n}")
        >>> template.names, template.fill([("CNY 5", "5元"), ("debt", "负债")])
        (('n', 'name'), ('CNY 5 of your debt', '负债5元'))
        """
        if not words:
            return self._english % (), self._chinese % ()
        # Both at once, and no loop in Python: a decision fills some ten of these.
        english, chinese = zip(*words, strict=True)
        return self._english % self._take_english(english), self._chinese % self._take_chinese(
            chinese
        )


def _taker(names: Sequence[str], given: Sequence[str]) -> Callable[[Sequence[str]], object]:
    """What takes the words of ``names`` from those that are ``given``, for the operator ``%``."""
    if tuple(names) == tuple(given):
        return tuple
    places = [given.index(name) for name in names]
    # Of one place it takes the word itself, which ``%`` takes too.
    return itemgetter(*places) if places else lambda _: ()


@lru_cache(maxsize=_MOST_TEXTS)
def template_in_both(english: str, chinese: str) -> TemplateInBoth:
    """The templates of a text in English and Chinese, as :func:`template_of` makes each."""
    return TemplateInBoth(template_of(english), template_of(chinese))
