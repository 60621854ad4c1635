"""The strict reader of every TOML file of the project.

Each key is read once and checked; a key that no reader takes is an error.  A lax reader would
ignore a misspelt optional key and decide with the default.
"""

from __future__ import annotations

import datetime
import difflib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Item = TypeVar("Item")
Record = TypeVar("Record", bound="DataclassInstance")


class ConfigError(ValueError):
    """A TOML file that cannot be used.

    The message names the file, the section and the key, what was expected and what came.
    """


@dataclass(frozen=True, slots=True)
class Interval:
    """Finite numbers from ``low`` to ``high``; an end may be excluded.

    >>> str(Interval(0, 1)), str(Interval(0, excludes_low=True)), 0 in Interval(0, 1)
    ('from 0 to 1', 'above 0', True)
    """

    low: float = -math.inf
    high: float = math.inf
    excludes_low: bool = False
    excludes_high: bool = False

    def __contains__(self, number: float) -> bool:
        # Every comparison with NaN is false, so NaN is in no interval.
        above = self.low < number if self.excludes_low else self.low <= number
        below = number < self.high if self.excludes_high else number <= self.high
        return above and below and abs(number) < math.inf

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"above {self.low:g}" if self.excludes_low else f"of at least {self.low:g}"
        until = "below " if self.excludes_high else ""
        return f"from {self.low:g} to {until}{self.high:g}"


ANY_NUMBER = Interval()
NOT_NEGATIVE = Interval(0)
SHARE = Interval(0, 1)
# Below a missing key, only a very similar key is taken for its misspelling: `min_slope` and
# `max_slope`, which are 0.78 alike, are both keys.
_MISSPELT = 0.8


def read_toml(text: str, file: str) -> Section:
    """The top level of a TOML text; ``file`` is the name that error messages state."""
    try:
        return Section(tomllib.loads(text), file=file)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: expected TOML: {error}") from None


class Section:
    """A table of a TOML file, whose keys are read once each.

    Every method reads a key that has to be there, unless it takes a default and is given one.
    Raises ConfigError where the key is missing or its value is not what the method returns.

    As a context manager it is closed at the end, which refuses the keys that were not read, in this
    table and in the tables below it.

    >>> with Section({"rate": 0.5, "sauce": "x"}, "currency", "map.toml") as section:
    ...     rate = section.number("rate")
    Traceback (most recent call last):
    ...
    serving.decision...ConfigError: map.toml: [currency]: unknown key 'sauce', expected ['rate']
    """

    def __init__(
        self,
        content: Mapping[str, object],
        name: str = "",
        file: str = "",
    ) -> None:
        self._left = dict(content)
        self._name, self._file = name, file
        self._known: list[str] = []
        self._below: list[Section] = []

    def __enter__(self) -> Section:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # An error inside the block says more than the keys that were not read because of it.
        if error is None:
            self.close()

    def __contains__(self, key: str) -> bool:
        self._known.append(key)
        return key in self._left

    @property
    def keys(self) -> list[str]:
        """The keys that are not read yet, sorted."""
        return sorted(self._left)

    def close(self) -> None:
        """Refuse the keys that were not read, here and in the tables below."""
        for key in self._left:
            raise self._unknown(key, self._known)
        for section in self._below:
            section.close()

    def error(
        self,
        key: str,
        expected: str,
        got: object,
    ) -> ConfigError:
        """The error of a value that is not what was expected; ``key`` "" = the section itself."""
        return ConfigError(f"{self._place(key)}expected {expected}, got {got!r}")

    def text(self, key: str, default: str | None = None) -> str:
        """A text; one without a default is not blank."""
        value = self._take(key, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self.error(key, "a text", value)
        return value

    def label(self, key: str) -> str:
        """A text, or a number or date as text: ``version = 3`` is the label "3"."""
        value = self._take(key, None)
        if isinstance(value, int | float | datetime.date) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, "a text, a number or a date", value)
        return value

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of texts."""
        return self._list(key, default, str, "texts")

    def choice(self, key: str, among: Sequence[Item]) -> Item:
        """One of the values ``among``."""
        value = self._take(key, None)
        for item in among:
            if type(value) is type(item) and value == item:
                return item
        raise self.error(key, f"one of {list(among)}", value)

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self._take(key, None)
        if not isinstance(value, bool):
            raise self.error(key, "true or false", value)
        return value

    def number(
        self,
        key: str,
        within: Interval = ANY_NUMBER,
        default: float | None = None,
    ) -> float:
        """A finite number within an interval."""
        return self._number(
            key,
            self._take(key, default),
            within,
        )

    def optional_number(self, key: str) -> float | None:
        """A finite number, or None where the key is absent."""
        return self.number(key) if key in self else None

    def numbers(self, key: str, within: Interval = ANY_NUMBER) -> tuple[float, ...]:
        """A list of finite numbers within an interval, not empty."""
        value = self._take(key, None)
        if not isinstance(value, list) or not value:
            raise self.error(key, "a list of numbers", value)
        return tuple(self._number(key, item, within) for item in value)

    def whole(
        self,
        key: str,
        within: Interval,
        default: int | None = None,
    ) -> int:
        """A whole number within an interval."""
        value = self._take(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value not in within:
            raise self.error(key, f"a whole number {within}", value)
        return value

    def wholes(self, key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A list of whole numbers."""
        return self._list(key, default, int, "whole numbers")

    def month(self, key: str) -> datetime.date:
        """The first day of a month that is written ``2005-09``."""
        value = self._take(key, None)
        try:
            return datetime.date.fromisoformat(f"{value}-01")
        except ValueError:
            raise self.error(key, "a month such as '2005-09'", value) from None

    def number_map(self, key: str) -> dict[str, float] | None:
        """A table of finite numbers, or None where the key is absent."""
        if key not in self:
            return None
        table = self._table(key)
        return {
            name: self._number(
                f"{key}.{name}",
                value,
                ANY_NUMBER,
            )
            for name, value in table.items()
        }

    def text_map(self, key: str, among: Sequence[str] = ()) -> dict[str, str] | None:
        """A table of texts, or None where the key is absent; ``among`` empty = any text."""
        if key not in self:
            return None
        texts = {}
        for name, value in self._table(key).items():
            if not isinstance(value, str) or (among and value not in among):
                expected = f"one of {list(among)}" if among else "a text"
                raise self.error(f"{key}.{name}", expected, value)
            texts[name] = value
        return texts

    def fill(
        self,
        kind: type[Record],
        within: Mapping[str, Interval],
        otherwise: Interval = NOT_NEGATIVE,
    ) -> Record:
        """A dataclass of numbers, all of this section's keys by name; int fields are whole.

        ``within`` has the intervals of some fields by name; the others lie within ``otherwise``.  A
        ValueError of the dataclass itself becomes a ConfigError that names the section.
        """
        names = [field.name for field in fields(kind)]
        for key in self._left:
            if key not in names:
                raise self._unknown(key, names)
        types = get_type_hints(kind)
        values: dict[str, float] = {}
        for name in names:
            interval = within.get(name, otherwise)
            read = self.whole if types[name] is int else self.number
            values[name] = read(name, interval)
        try:
            return kind(**values)
        except ValueError as error:
            raise ConfigError(f"{self._place('')}{error}") from error

    def section(self, key: str, *, optional: bool = False) -> Section:
        """The table below by that key; an empty one where it is optional and absent."""
        content = self._table(key) if key in self or not optional else {}
        return self._add(key, content)

    def sections(self, among: Sequence[str] | None = None) -> dict[str, Section]:
        """The tables below by every key that is not read yet, each one of ``among`` if given."""
        for key in self._left:
            if among is not None and key not in among:
                raise self._unknown(key, among)
        return {key: self.section(key) for key in list(self._left)}

    def tables(self, key: str, default: tuple[object, ...] | None = None) -> list[Section]:
        """The tables of a list; a table's name is the key with its place: ``rules[0]``."""
        value = self._take(key, default)
        if not isinstance(value, list | tuple):
            raise self.error(key, "a list of tables", value)
        for table in value:
            if not isinstance(table, dict):
                raise self.error(key, "a list of tables", table)
        sections = []
        for place, table in enumerate(value):
            sections.append(self._add(f"{key}[{place}]", table))
        return sections

    def _add(self, key: str, content: Mapping[str, object]) -> Section:
        name = f"{self._name}.{key}" if self._name else key
        section = Section(content, name, self._file)
        self._below.append(section)
        return section

    def _place(self, key: str) -> str:
        """Where a key is, as a message begins: ``policy.toml: [cut] floor:``, with a space."""
        section = f"[{self._name}]" if self._name else ""
        parts = (self._file, f"{section} {key}".strip())
        return "".join(f"{part}: " for part in parts if part)

    def _unknown(self, key: str, known: Sequence[str]) -> ConfigError:
        nearest = difflib.get_close_matches(key, known, 1)
        expected = sorted(set(known))
        meant = f"did you mean {nearest[0]!r}?" if nearest else f"expected {expected}"
        return ConfigError(f"{self._place('')}unknown key {key!r}, {meant}")

    def _missing(self, key: str) -> ConfigError:
        unread = [name for name in self._left if name not in self._known]
        nearest = difflib.get_close_matches(key, unread, 1, _MISSPELT)
        misspelt = f"; is {nearest[0]!r} a misspelling of it?" if nearest else ""
        return ConfigError(f"{self._place('')}missing key {key!r}{misspelt}")

    def _take(self, key: str, default: object) -> object:
        if key not in self and default is None:
            raise self._missing(key)
        return self._left.pop(key, default)

    def _list(
        self,
        key: str,
        default: tuple[Item, ...] | None,
        kind: type[Item],
        kinds: str,
    ) -> tuple[Item, ...]:
        value = self._take(key, default)
        if not isinstance(value, list | tuple):
            raise self.error(key, f"a list of {kinds}", value)
        # Exactly the type: True is an int.
        if not all(type(item) is kind for item in value):
            raise self.error(key, f"a list of {kinds}", value)
        return tuple(value)

    def _table(self, key: str) -> dict[str, object]:
        value = self._take(key, None)
        if not isinstance(value, dict):
            raise self.error(key, "a table", value)
        return value

    def _number(
        self,
        key: str,
        value: object,
        within: Interval,
    ) -> float:
        expected = "a finite number" if within == ANY_NUMBER else f"a number {within}"
        # A bool is an int.
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.error(key, expected, value)
        if value not in within:
            raise self.error(key, expected, value)
        try:
            return float(value)
        except OverflowError:  # a whole number of more than 308 digits
            raise self.error(key, expected, value) from None
