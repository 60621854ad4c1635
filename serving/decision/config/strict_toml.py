"""One table of a TOML file, read strictly: each key is taken once and checked; a key that nobody
takes is an error.

Strict, because a misspelt optional key would otherwise be left out without a word.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

Item = TypeVar("Item")


class SectionError(ValueError):
    """A key that is missing, unknown or of the wrong type: which, in which section, what was
    expected and what came.
    """


class Section:
    """A table's keys.  Every method takes a key that must be there unless it has a default, or
    raises SectionError.

    >>> section = Section({"rate": 0.5, "sauce": "x"}, "currency")
    >>> section.number("rate")
    0.5
    >>> section.close()
    Traceback (most recent call last):
    ...
    serving.decision.config.strict_toml.SectionError: [currency]: unknown key(s) ['sauce']
    """

    def __init__(self, content: Mapping[str, object], name: str = "") -> None:
        self._left, self._name = dict(content), name

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def close(self) -> None:
        """Raise where a key is left that nobody took."""
        if self._left:
            raise SectionError(f"{self._where}: unknown key(s) {sorted(self._left)}")

    def error(self, key: str, expected: str, got: object) -> SectionError:
        """The error of a value that is not what was expected."""
        return SectionError(f"{self._where} {key}: expected {expected}, got {got!r}")

    def text(self, key: str, default: str | None = None) -> str:
        """A text; one without a default is not blank."""
        value = self._take(key, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self.error(key, "a text", value)
        return value

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(self._list(key, default, str, "texts"))

    def wholes(self, key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A list of whole numbers."""
        return tuple(self._list(key, default, int, "whole numbers"))

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        return self._finite(key, self._take(key, default))

    def number_or_none(self, key: str) -> float | None:
        """A finite number, or None where the key is absent."""
        return self.number(key) if key in self else None

    def whole(self, key: str, default: int) -> int:
        """A whole number from 0 to 100."""
        value = self._take(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 100:
            raise self.error(key, "a whole number from 0 to 100", value)
        return value

    def choice(self, key: str, among: Sequence[str]) -> str:
        """One of the texts ``among``."""
        value = self._take(key, None)
        if not isinstance(value, str) or value not in among:
            raise self.error(key, f"one of {list(among)}", value)
        return value

    def month(self, key: str) -> datetime.date:
        """The first day of a month that is written ``2005-09``."""
        value = self._take(key, None)
        try:
            return datetime.date.fromisoformat(f"{value}-01")
        except ValueError:
            raise self.error(key, "a month such as '2005-09'", value) from None

    def numbers_by_cell(self, key: str) -> dict[str, float] | None:
        """A table of finite numbers, or None where the key is absent."""
        if key not in self:
            return None
        return {
            cell: self._finite(f"{key}.{cell}", value) for cell, value in self._table(key).items()
        }

    def texts_by_cell(self, key: str, among: Sequence[str] = ()) -> dict[str, str] | None:
        """A table of texts, all ``among`` those where some are given, or None where the key is
        absent.
        """
        if key not in self:
            return None
        words = {}
        for cell, value in self._table(key).items():
            if not isinstance(value, str) or (among and value not in among):
                raise self.error(
                    f"{key}.{cell}", f"one of {list(among)}" if among else "a text", value
                )
            words[cell] = value
        return words

    def section(self, key: str, *, optional: bool = False) -> Section:
        """The section below; an empty one where it is optional and absent."""
        if key not in self and not optional:
            raise SectionError(f"expected the section [{self._below(key)}], found none")
        return Section(self._table(key) if key in self else {}, self._below(key))

    def sections(self, key: str, among: Sequence[str]) -> Iterator[tuple[str, Section]]:
        """The sections below the section ``key``, none where that is absent; each is closed when
        the next is asked for.
        """
        below = self.section(key, optional=True)
        for name in list(below._left):
            if name not in among:
                raise SectionError(
                    f"[{below._name}]: unknown section {name!r}; expected some of {list(among)}"
                )
            section = below.section(name)
            yield name, section
            section.close()

    @property
    def _where(self) -> str:
        return f"[{self._name}]" if self._name else "top level"

    def _below(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key

    def _take(self, key: str, default: object) -> object:
        if key not in self and default is None:
            raise SectionError(f"{self._where}: expected the key {key!r}, found none")
        return self._left.pop(key, default)

    def _list(
        self, key: str, default: tuple[Item, ...] | None, kind: type[Item], kinds: str
    ) -> list[Item]:
        value = self._take(key, default)
        if not isinstance(value, (list, tuple)) or not all(type(item) is kind for item in value):
            raise self.error(key, f"a list of {kinds}", value)
        return list(value)

    def _table(self, key: str) -> dict[str, object]:
        value = self._take(key, None)
        if not isinstance(value, dict):
            raise self.error(key, "a table", value)
        return value

    def _finite(self, key: str, value: object) -> float:
        if (
            not isinstance(value, (int, float))
            or isinstance(value, bool)
            or not math.isfinite(value)
        ):
            raise self.error(key, "a finite number", value)
        return float(value)
