"""A data folder: read it, check it, and know its digest."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from features.schema import StatementError, check
from training.data.config import OWN_LABEL, DataError


@dataclass(frozen=True, slots=True)
class Source:
    """A data folder, read: the statements in canonical form, its labels where it brings them, and
    its digest.
    """

    statements: pl.DataFrame
    labels: pl.DataFrame | None
    label_definition: str
    digest: str

    @property
    def last_month(self) -> str:
        """The month of the last statements, such as "2026-09"."""
        last = self.statements["month"].max()
        if not isinstance(last, datetime.date):
            raise DataError(f"statements: expected months, got {last!r}")
        return f"{last:%Y-%m}"


def load(folder: Path) -> Source:
    """The data that ``simulate`` or ``ingest`` wrote into ``folder``.

    Raises :class:`DataError` for files that are missing, empty or no Parquet, StatementError for
    statements that break the schema; both name the file.
    """
    files = sorted((folder / "statements").glob("*.parquet"))
    if not files:
        where = (
            f"expected Parquet files in {folder / 'statements'}, found none"
            if folder.is_dir()
            else "there is no such folder"
        )
        raise DataError(
            f"{folder}: {where}; `python -m training simulate` and `ingest` write such a folder"
        )
    statements = pl.concat([_read(file) for file in files])
    try:
        statements = check(statements, window=False)
    except StatementError as error:
        raise StatementError(f"{folder / 'statements'}: {error}", error.violations) from None
    labels_file = folder / "labels.parquet"
    labels = _labels(labels_file) if labels_file.exists() else None
    definition = OWN_LABEL if labels is None else _definition(folder)
    return Source(
        statements,
        labels,
        definition,
        digest([*files, *([labels_file] if labels is not None else [])]),
    )


def digest(files: Sequence[Path]) -> str:
    """sha256 over the files' bytes in order."""
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def _read(file: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{file}: expected a Parquet file: {str(error).splitlines()[0]}") from error


def _labels(file: Path) -> pl.DataFrame:
    labels = _read(file)
    expected = {"account_id": pl.String(), "as_of": pl.Date(), "label": pl.Int8()}
    if dict(labels.schema) != expected:
        raise DataError(f"{file}: expected the columns {expected}, got {dict(labels.schema)}")
    return labels


def _definition(folder: Path) -> str:
    file = folder / "ingest.json"
    if not file.exists():
        raise DataError(
            f"{file}: expected the label's definition beside labels.parquet, found no such file"
        )
    return str(json.loads(file.read_text())["label"]["definition"])
