"""Fields of the frozen config dataclasses as text: ``--set name=value`` and parameters of runs."""

from __future__ import annotations

import datetime
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

# Fields by the names that runs before a renaming keep them under.
FORMER_NAMES: Mapping[str, str] = {"without": "excluded_features"}


def override(configs: Sequence[Any], assignments: Sequence[str]) -> list[Any]:
    """Return the configs with fields set by ``name=value`` assignments.

    Values are parsed as the type of the field: true or false, numbers, ISO dates, texts, paths
    (empty = None), and tuples of texts with semicolons between.  A name that several configs have
    is set in each of them; a former name (:data:`FORMER_NAMES`) sets the field it became.

    Raises ValueError if no config has the field, or if the value cannot be parsed.

    >>> from training.data.config import DataConfig
    >>> override([DataConfig()], ["as_of_every=3"])[0].as_of_every
    3
    """
    changed = list(configs)
    for assignment in assignments:
        given, equals, text = assignment.partition("=")
        if not equals:
            raise ValueError(f"--set: expected name=value, got {assignment!r}")
        name = FORMER_NAMES.get(given, given)
        places = [place for place, config in enumerate(changed) if name in _types(config)]
        if not places:
            known = sorted({field for config in changed for field in _types(config)})
            raise ValueError(
                f"--set: no field is named {given!r}{suggest(given, known)}; there are {known}"
            )
        for place in places:
            value = _parse(name, text, _types(changed[place])[name])
            changed[place] = replace(changed[place], **{name: value})
    return changed


def as_assignments(configs: Sequence[Any]) -> list[str]:
    """Return ``name=value`` for every field that differs from its default.

    :func:`override` on the default configs is the inverse.

    >>> from training.data.config import DataConfig
    >>> as_assignments([DataConfig(as_of_every=3)])
    ['as_of_every=3']
    """
    values: dict[str, object] = {}
    for config in configs:
        default = type(config)()
        for name in _types(config):
            value = getattr(config, name)
            if value != getattr(default, name):
                values[name] = value
    return [f"{name}={as_text(value)}" for name, value in values.items()]


def as_text(value: object) -> str:
    """Return a field's value as the text that :func:`override` parses.

    >>> as_text(("income", "spend_3")), as_text(None), as_text(0.5)
    ('income;spend_3', '', '0.5')
    """
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ";".join(map(str, value))
    return str(value)


def check_ranges(config: object, **ranges: tuple[float, float]) -> None:
    """Raise ValueError for the first field outside its range; both ends are allowed."""
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if not low <= value <= high:
            raise ValueError(
                f"{type(config).__name__}.{name}: expected {low} to {high}, got {value}"
            )


def suggest(name: str, known: Sequence[str]) -> str:
    """Return " (did you mean ...?)" with the most similar known name, or "" if none is similar."""
    nearest = difflib.get_close_matches(name.lower(), known, n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""


def _types(config: object) -> Mapping[str, Any]:
    if not is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"expected a config dataclass, got {type(config).__name__}")
    hints = get_type_hints(type(config))
    return {field.name: hints[field.name] for field in fields(config)}


def _parse(name: str, text: str, kind: Any) -> object:
    parse = _PARSERS.get(kind)
    if parse is None:
        raise ValueError(
            f"--set {name}: a field of type {kind} cannot be set from the command line"
        )
    try:
        return parse(text)
    except (ValueError, KeyError):
        expected = getattr(kind, "__name__", kind)
        raise ValueError(f"--set {name}: expected {expected}, got {text!r}") from None


def _parse_bool(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _parse_float(text: str) -> float:
    """Parse a finite number.  NaN would pass every comparison of a stage and stop nothing."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


def _parse_path(text: str) -> Path | None:
    return Path(text) if text else None


def _parse_texts(text: str) -> tuple[str, ...]:
    parts = (part.strip() for part in text.split(";"))
    return tuple(part for part in parts if part)


_PARSERS: Mapping[Any, Callable[[str], object]] = {
    bool: _parse_bool,
    int: int,
    float: _parse_float,
    str: str,
    datetime.date: datetime.date.fromisoformat,
    Path | None: _parse_path,
    tuple[str, ...]: _parse_texts,
}
