"""``--set name=value``: any field of a frozen config dataclass, from the command line."""

from __future__ import annotations

import datetime
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_type_hints


def override(configs: Sequence[Any], assignments: Sequence[str]) -> list[Any]:
    """The configs with the fields that ``name=value`` assignments name set, read as the field's
    type.

    A name that none of the configs has, or a value that is not of its type, raises ValueError
    saying what was expected.

    >>> from training.data.config import DataConfig
    >>> override([DataConfig()], ["as_of_every=3"])[0].as_of_every
    3
    """
    changed = list(configs)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ValueError(f"--set: expected name=value, got {assignment!r}")
        places = [place for place, config in enumerate(changed) if name in _types(config)]
        if not places:
            known = sorted({field for config in changed for field in _types(config)})
            raise ValueError(
                f"--set: no field is named {name!r}{suggest(name, known)}; there are {known}"
            )
        for place in places:
            changed[place] = replace(
                changed[place], **{name: _value(name, text, _types(changed[place])[name])}
            )
    return changed


def as_assignments(configs: Sequence[Any]) -> list[str]:
    """The ``name=value`` of every field that is not at its default: :func:`override` makes the
    configs of the defaults again.

    >>> from training.data.config import DataConfig
    >>> assigned([DataConfig(as_of_every=3)])
    ['as_of_every=3']
    """
    named = {
        name: getattr(config, name)
        for config in configs
        for name in _types(config)
        if getattr(config, name) != getattr(type(config)(), name)
    }
    return [f"{name}={value}" for name, value in named.items()]


def check_ranges(config: object, **ranges: tuple[float, float]) -> None:
    """Nothing where each named field lies in its range, both ends included; ValueError naming the
    first that does not.
    """
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if not low <= value <= high:
            raise ValueError(
                f"{type(config).__name__}.{name}: expected {low} to {high}, got {value}"
            )


def suggest(name: str, known: Sequence[str]) -> str:
    """The nearest of the names that there are, as a question; nothing where none is near."""
    nearest = difflib.get_close_matches(name.lower(), known, n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""


def _types(config: object) -> Mapping[str, Any]:
    if not is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"expected a config dataclass, got {type(config).__name__}")
    hints = get_type_hints(type(config))
    return {field.name: hints[field.name] for field in fields(config)}


def _value(name: str, text: str, kind: object) -> object:
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind is datetime.date:
            return datetime.date.fromisoformat(text)
        if kind is float:
            return _finite(text)
        if kind in (int, str):
            return kind(text)
    except (ValueError, KeyError):
        raise ValueError(
            f"--set {name}: expected {getattr(kind, '__name__', kind)}, got {text!r}"
        ) from None
    raise ValueError(f"--set {name}: a field of type {kind} cannot be set from the command line")


def _finite(text: str) -> float:
    """A number: NaN would pass every comparison that a stage makes, and stop nothing."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value
