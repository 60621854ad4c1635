"""Data folders: their statements and labels, checked, and their digest."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from features.display import notebook_display
from features.schema import StatementError, check, conform, round_amounts
from training.data.config import OWN_LABEL, DataError
from training.data.label_file import check_labels, select_known


@notebook_display
@dataclass(frozen=True, slots=True)
class Source:
    """The content of a data folder."""

    statements: pl.DataFrame  # in canonical form: see features.schema
    labels: pl.DataFrame | None  # account_id, as_of, label; None if the data have none
    label_definition: str
    digest: str  # of the files that were read
    unknown_labels: int = 0  # left out: their account has no statement of their month

    @property
    def last_month(self) -> str:
        """The month of the last statements, such as "2026-09"."""
        return f"{_last_month(self.statements):%Y-%m}"


def load(folder: Path) -> Source:
    """Read the data that ``simulate`` or ``ingest`` wrote into ``folder``.

    Raises :class:`DataError` for files that are missing, empty or not Parquet and for labels that
    cannot be used (:func:`training.data.label_file.check_labels`), and StatementError for
    statements that break the schema.  Both name the file.
    """
    files = find_parts(folder)
    statements = _read_parts(files)
    # Without the checks of one window: a history is longer than a request's.
    try:
        statements = check(statements, window=False)
    except StatementError as error:
        raise StatementError(f"{folder / 'statements'}: {error}", error.violations) from None
    labels_file = folder / "labels.parquet"
    if not labels_file.exists():
        return Source(statements, None, OWN_LABEL, digest(files))
    labels = check_labels(read_part(labels_file), labels_file, _last_month(statements))
    known = select_known(labels, statements, labels_file)
    return Source(
        statements=statements,
        labels=known,
        label_definition=_read_definition(folder),
        digest=digest([*files, labels_file]),
        unknown_labels=labels.height - known.height,
    )


def find_parts(folder: Path) -> list[Path]:
    """Return the files of statements in order; :class:`DataError` if there are none."""
    files = sorted((folder / "statements").glob("*.parquet"))
    if not files:
        problem = "there is no such folder"
        if folder.is_dir():
            problem = f"expected Parquet files in {folder / 'statements'}, found none"
        raise DataError(
            f"{folder}: {problem}; `python -m training simulate` and `ingest` write such a folder"
        )
    return files


def digest(files: Sequence[Path]) -> str:
    """Return the sha256 over the sha256 of each file, in order."""
    return combine_digests(file_digest(file) for file in files)


def file_digest(file: Path) -> bytes:
    """Return the sha256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def combine_digests(digests: Iterable[bytes]) -> str:
    """Return the sha256 over the sha256 of some files, in order."""
    # Over the digests and not the bytes, so that no content can move from one file to the next.
    total = hashlib.sha256()
    for one in digests:
        total.update(one)
    return total.hexdigest()


def _read_parts(files: Sequence[Path]) -> pl.DataFrame:
    """Return the statements of all parts in the types of the schema, amounts in whole fen.

    Each part is brought to the schema by itself: parts of several programs differ in the order of
    columns, in the width of whole numbers, or in a column that is null in one of them.
    """
    parts = []
    for file in files:
        part = read_part(file)
        # Programs that write in parallel leave parts without rows.
        if part.is_empty() and len(files) > 1:
            continue
        try:
            parts.append(round_amounts(conform(part)))
        except StatementError as error:
            raise StatementError(f"{file}: {error}", error.violations) from None
    if not parts:
        raise DataError(f"{files[0].parent}: expected statements, got {len(files)} empty parts")
    return pl.concat(parts)


def read_part(file: Path) -> pl.DataFrame:
    """Return the content of a Parquet file; :class:`DataError` if it is none."""
    try:
        # A path is no pattern: in the name "book[1]" the brackets are characters.
        return pl.read_parquet(file, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{file}: expected a Parquet file: {reason}") from error


def _last_month(statements: pl.DataFrame) -> datetime.date:
    last = statements["month"].max()
    if not isinstance(last, datetime.date):
        raise DataError(f"statements: expected months, got {last!r}")
    return last


def _read_definition(folder: Path) -> str:
    file = folder / "ingest.json"
    if not file.exists():
        raise DataError(
            f"{file}: expected the definition of the labels in labels.parquet, found no such file"
        )
    try:
        definition = json.loads(file.read_text("utf-8"))["label"]["definition"]
    except (ValueError, KeyError, TypeError) as error:
        # Ingested without [label], and labels.parquet made by hand.
        raise DataError(
            f"{file}: expected the definition of the labels in labels.parquet under "
            f'"label", "definition", got none ({type(error).__name__}: {error})'
        ) from error
    return str(definition)
