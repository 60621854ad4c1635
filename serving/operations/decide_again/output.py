"""Comparisons as JSON lines, or as Parquet with the same fields."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from serving.operations.decide_again.attribution import FIELDS, STEPS, changed_by
from serving.operations.decide_again.backfill import Compared
from serving.operations.errors import NothingDone
from serving.operations.new_file import private_file, write_private

SUFFIXES = (".jsonl", ".parquet")
# Fields of a comparison that are the same under both bundles.
_NAMES = (
    "decision_id",
    "tenant",
    "person",
    "decided_at",
    "product",
    "old_bundle",
    "result",
    "why",
)
_TEXT_FIELDS = (
    "action",
    "first_reason",
    "notice",
    "content",
)


def check_suffix(path: Path) -> None:
    """Raise :class:`NothingDone` for a file that is neither JSON lines nor Parquet."""
    if path.suffix not in SUFFIXES:
        raise NothingDone(f"--out: expected a name that ends with .jsonl or .parquet, got {path}")


def line(one: Compared) -> str:
    """A comparison as JSON on one line; each field of its states has its value after each step.

    ``changed_by`` has the steps that changed each field.
    """
    content: dict[str, Any] = {}
    for name in _NAMES:
        content[name] = getattr(one, name)
    steps = changed_by(one.states)
    content["changed_by"] = {}
    for name in FIELDS:
        content["changed_by"][name] = steps.get(name, [])
        content[name] = _after_each_step(one, name)
    return json.dumps(
        content,
        ensure_ascii=False,
        allow_nan=False,
    )


def write_comparisons(path: Path, lines: Iterator[str], overwrite: bool) -> int:
    """Write lines to a JSON-lines or Parquet file, whole or not at all; returns their number.

    Without a line nothing is written.

    Raises:
        StorageError: ``path`` exists and ``overwrite`` is false, or its folder does not exist.
    """
    if path.suffix == ".jsonl":
        return write_private(path, lines, overwrite)
    with private_file(path, overwrite) as unfinished:
        # The comparisons of a year do not fit into memory, and Parquet is written in columns.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            rows = Path(folder) / "rows.jsonl"
            count = write_private(rows, lines)
            if count:
                pl.scan_ndjson(rows, schema=_schema()).sink_parquet(unfinished)
        if not count:
            raise NothingDone("there is no decision to compare: nothing was written")
    return count


def _after_each_step(one: Compared, name: str) -> dict[str, Any] | None:
    if not one.states:
        return None
    values: dict[str, Any] = {}
    for step, state in zip(STEPS, one.states, strict=True):
        # Of a state that is not known, no field is.
        values[step] = getattr(state, name, None)
    return values


def _schema() -> pl.Schema:
    schema: dict[str, Any] = dict.fromkeys(_NAMES, pl.String)
    steps = dict.fromkeys(FIELDS, pl.List(pl.String))
    schema["changed_by"] = pl.Struct(steps)
    kinds: dict[str, Any] = dict.fromkeys(FIELDS, pl.Float64)
    kinds["suspended"] = pl.Boolean
    for name in _TEXT_FIELDS:
        kinds[name] = pl.String
    for name, kind in kinds.items():
        schema[name] = pl.Struct(dict.fromkeys(STEPS, kind))
    return pl.Schema(schema)
