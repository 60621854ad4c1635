"""A text with placeholders, taken apart once.

``str.format`` takes its text apart at every call, and looks each value up by the name between the
braces.  The texts of a decision are the same for every account, so their pieces and the names of
their placeholders are found once, when a text is first used.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

_MOST_TEXTS = 8192  # of a process: a bundle has about 800


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


@lru_cache(maxsize=_MOST_TEXTS)
def template_of(text: str) -> Template:
    """The template of a text whose placeholders are names between braces, without formats.

    >>> template_of("From {before} to {now}.").fill({"before": "1", "now": "2"})
    'From 1 to 2.'
    """
    pieces: list[str] = []
    names: list[str] = []
    for literal, name, _, _ in string.Formatter().parse(text):
        pieces.append(literal.replace("%", "%%"))
        if name is not None:
            names.append(name)
            pieces.append("%s")
    return Template("".join(pieces), tuple(names))
