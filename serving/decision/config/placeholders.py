"""The placeholders of a text in a TOML file, checked when the file is read.

A wrong placeholder would otherwise raise only when the text is filled in: for the first customer
whom it concerns.
"""

from __future__ import annotations

import string

from serving.decision.config.strict_toml import Section


def placeholders_of(
    section: Section,
    key: str,
    template: str,
) -> set[str]:
    """The names between braces; a format is refused, because numbers are filled in as text."""
    expected = "placeholders as {name}"
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise section.error(
            key,
            f"{expected}: {error}",
            template,
        ) from error
    names = set()
    for _, name, specification, conversion in parts:
        if specification or conversion:
            raise section.error(key, expected, template)
        if name is not None:
            names.add(name)
    return names
