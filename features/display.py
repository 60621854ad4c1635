"""A short ``repr`` and an HTML table for dataclasses that hold whole data sets.

The ``repr`` of a dataclass is that of all its fields: a bundle's was 66.8 MB in a notebook's cell.
"""

from __future__ import annotations

import html
import reprlib
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

MAX_LENGTH = 4000  # characters of a repr
_MOST_OF_A_FIELD = 240
_Class = TypeVar("_Class", bound=type)


class _Short(reprlib.Repr):
    """Cuts long values; an array or a table is its type and shape."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 4
        self.maxstring = self.maxother = 60

    def repr1(self, x: Any, level: int) -> str:
        name = type(x).__name__
        shape = getattr(x, "shape", None)
        if isinstance(shape, tuple):
            return f"{name}{shape}"
        # Not its whole text, which would be made first and cut then.
        if is_dataclass(x) and not isinstance(x, type):
            return f"{name}(...)"
        return super().repr1(x, level)


_SHORT = _Short()


def notebook_display(cls: _Class) -> _Class:
    """Give a dataclass a ``repr`` of at most 4,000 characters, and a table in a notebook.

    >>> from dataclasses import dataclass
    >>> @notebook_display
    ... @dataclass
    ... class Names:
    ...     first: str
    ...     all: list[int]
    >>> Names("x" * 100, list(range(1000)))
    Names(first='xxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxx', all=[0, 1, 2, 3, ...])
    """
    cls.__repr__ = _repr  # type: ignore[assignment]
    cls._repr_html_ = _repr_html  # type: ignore[attr-defined]
    return cls


def _repr(self: Any) -> str:
    names = [field.name for field in fields(self)]
    longest_name = max(map(len, names))
    fair_share = MAX_LENGTH // len(names)
    most = min(_MOST_OF_A_FIELD, fair_share - longest_name - 3)
    shown = []
    for name in names:
        value = getattr(self, name)
        shown.append(f"{name}={_short(value, most)}")
    inside = ", ".join(shown)
    return f"{type(self).__name__}({inside})"


def _short(value: object, most: int) -> str:
    text = _SHORT.repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _repr_html(self: Any) -> str:
    rows = []
    for field in fields(self):
        value = getattr(self, field.name)
        own = getattr(value, "_repr_html_", None)
        if own is None:
            text = _short(value, _MOST_OF_A_FIELD)
            cell = html.escape(text)
        else:
            cell = own()  # of a Polars table: its first rows
        name = html.escape(field.name)
        rows.append(f"<tr><th>{name}</th><td>{cell}</td></tr>")
    caption = f"<caption>{type(self).__name__}</caption>"
    body = "".join(rows)
    return f"<table>{caption}{body}</table>"
