"""Fields of the frozen config dataclasses as text: ``--set name=value`` and parameters of runs."""

from __future__ import annotations

import datetime
import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

_MODEL_NAME = re.compile(r"\w([\w .-]{0,98}\w)?")
# Fields by the names that runs before a renaming keep them under.
FORMER_NAMES: Mapping[str, str] = {"without": "excluded_features"}


def override(
    configs: Sequence[Any],
    assignments: Sequence[str],
) -> list[Any]:
    """Return the configs with fields set by ``name=value`` assignments.

    Values are parsed as the type of the field: true or false, numbers, ISO dates, texts, paths
    (empty = None), and tuples of texts with semicolons between.  A name that several configs have
    is set in each of them; a former name (:data:`FORMER_NAMES`) sets the renamed field.

    Raises ValueError if no config has the field, or if the value cannot be parsed.

    >>> from training.data.config import DataConfig
    >>> override([DataConfig()], ["as_of_every=3"])[0].as_of_every
    3
    """
    changed = list(configs)
    for assignment in assignments:
        given, equals, text = assignment.partition("=")
        if not equals:
            raise ValueError(f"settings: expected name=value, got {assignment!r}")
        name = FORMER_NAMES.get(given, given)
        is_known = False
        for place, config in enumerate(changed):
            types = _types(config)
            if name in types:
                value = _parse(name, text, types[name])
                # replace() and not setattr(): the config checks its ranges again.
                changed[place] = replace(config, **{name: value})
                is_known = True
        if not is_known:
            raise _unknown_field(given, changed)
    return changed


def _unknown_field(name: str, configs: Sequence[Any]) -> ValueError:
    known: set[str] = set()
    for config in configs:
        known.update(_types(config))
    names = sorted(known)
    return ValueError(f"no setting is named {name!r}{suggest(name, names)}; there are {names}")


def as_assignments(configs: Sequence[Any]) -> list[str]:
    """Return ``name=value`` for every field that differs from its default.

    :func:`override` on the default configs is the inverse.

    >>> from training.data.config import DataConfig
    >>> as_assignments([DataConfig(as_of_every=3)])
    ['as_of_every=3']
    """
    # A dict, because a field of several configs is assigned once.
    assignments: dict[str, str] = {}
    for config in configs:
        default = type(config)()
        for name in _types(config):
            value = getattr(config, name)
            if value != getattr(default, name):
                assignments[name] = f"{name}={as_text(value)}"
    return list(assignments.values())


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
        # Not value < low or value > high, which NaN would pass.
        if not low <= value <= high:
            field = f"{type(config).__name__}.{name}"
            raise ValueError(f"{field}: expected {low} to {high}, got {value}")


def check_model_name(name: str, field: str) -> None:
    """Raise ValueError for a name that MLflow cannot register, or cannot find again.

    Before the work, because the registry would refuse it after the work.  ``field`` is the name of
    the setting.
    """
    if not _MODEL_NAME.fullmatch(name):
        raise ValueError(
            f"{field}: expected at most 100 letters, digits, '_', '-', '.' or blanks, "
            f"with a letter or digit at both ends, got {name!r}"
        )


def configure(configs: Sequence[Any], settings: Mapping[str, object]) -> list[Any]:
    """Return the configs with fields set by name, as :func:`override` does with text."""
    assignments = [f"{name}={as_text(value)}" for name, value in settings.items()]
    return override(configs, assignments)


def suggest(name: str, known: Sequence[str]) -> str:
    """Return " (did you mean ...?)" with the most similar known name, or "" if none is similar."""
    nearest = difflib.get_close_matches(name.lower(), known, n=1)
    if not nearest:
        return ""
    return f" (did you mean {nearest[0]!r}?)"


def _types(config: object) -> Mapping[str, Any]:
    if not is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"expected a config dataclass, got {type(config).__name__}")
    # Not field.type, which is text: annotations are not evaluated in these modules.
    hints = get_type_hints(type(config))
    names = [field.name for field in fields(config)]
    return {name: hints[name] for name in names}


def _parse(name: str, text: str, kind: Any) -> object:
    parse = _PARSERS.get(kind)
    if parse is None:
        raise ValueError(f"setting {name}: a field of type {kind} cannot be set as text")
    try:
        return parse(text)
    except (ValueError, KeyError):
        # A union such as Path | None has no name.
        expected = getattr(kind, "__name__", kind)
        raise ValueError(f"setting {name}: expected {expected}, got {text!r}") from None


def _parse_bool(text: str) -> bool:
    # Not bool(text): every text but the empty one is true.
    values = {"true": True, "false": False}
    return values[text.lower()]


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
