"""A data folder with a share of the accounts of another one, for data larger than memory.

An account is in a sample by its id and the seed alone: it does not matter which other accounts
there are, and a larger share has all accounts of a smaller one.  Files are read one at a time, on a
cluster each by a worker (:mod:`training.cluster`).
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from training.cluster import check_seen, map_in_order
from training.data.config import DataError
from training.data.dataset import combine_digests, digest, file_digest, find_parts, read_part
from training.data.splits import draw
from training.tracking.progress import CountProgress

SUMMARY = "sample.json"
_LABELS = "labels.parquet"
_DESCRIPTIONS = ("ingest.json", "simulation.json")


class _Part(NamedTuple):
    """What was taken of a file; ``digest`` is that of the whole file."""

    digest: bytes
    accounts: list[str]
    statements: int


def sample(
    data: Path,
    out: Path,
    share: float,
    seed: int = 0,
    progress: CountProgress | None = None,
) -> dict[str, Any]:
    """Write the accounts of a data folder whose draw is below ``share``, with all their statements.

    Returns the content of ``sample.json``: share and seed, the number of ``accounts`` and
    ``statements``, the digest ``of`` the whole data, and the ``digest`` of the sample, which a fit
    records.  The folder is written next to ``out`` and moved there at the end.

    Args:
        data: The folder that ``simulate`` or ``ingest`` wrote.
        out: A new folder.
        share: Of the accounts, above 0 and at most 1.
        seed: Another one takes other accounts.
        progress: Called with (files done, files in all).

    Raises:
        FileExistsError: ``out`` exists.
        DataError: The data cannot be read, or no account is in the sample.
        ValueError: The share is out of its range.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share: expected a number above 0 and at most 1, got {share}")
    if out.exists():
        raise FileExistsError(f"{out}: expected a new folder, it exists")
    parts = find_parts(data)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        taken = _take_statements(parts, partial, (share, seed), progress)
        digests = [part.digest for part in taken]
        digests += _take_rest(data, partial, share, seed)
        accounts = len(set().union(*(part.accounts for part in taken)))
        if accounts == 0:
            raise DataError(f"{data}: expected accounts in a share of {share}, got none")
        summary = {
            "of": combine_digests(digests),
            "share": share,
            "seed": seed,
            "accounts": accounts,
            "statements": sum(part.statements for part in taken),
            "digest": _digest_of(partial),
        }
        (partial / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
        partial.rename(out)
    except BaseException:  # KeyboardInterrupt too: an interrupted command leaves nothing
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return summary


def sample_facts(folder: Path, digest: str) -> dict[str, str]:
    """Return which sample a data folder is, for the run of a fit; empty where it is none.

    Raises DataError if its files, which have this digest, were changed since it was taken.
    """
    file = folder / SUMMARY
    if not file.exists():
        return {}
    summary = json.loads(file.read_text("utf-8"))
    if summary["digest"] != digest:
        raise DataError(
            f"{folder}: expected the sample of digest {summary['digest']}, got {digest}"
        )
    return {f"data.sample.{name}": str(summary[name]) for name in ("of", "share", "seed")}


def _take_statements(
    parts: list[Path],
    partial: Path,
    chosen: tuple[float, int],
    progress: CountProgress | None,
) -> list[_Part]:
    folder = partial.absolute() / "statements"
    folder.mkdir(parents=True)
    files = [part.absolute() for part in parts]
    taken = []
    for part in map_in_order(_take_part, files, repeat(folder), repeat(chosen)):
        taken.append(part)
        if progress is not None:
            progress(len(taken), len(files))
    # Whole files have a name that data folders read; a worker that was killed leaves others.
    for left in folder.iterdir():
        if left.suffix != ".parquet":
            left.unlink()
    return taken


def _take_part(file: Path, folder: Path, chosen: tuple[float, int]) -> _Part:
    check_seen(file, folder)
    rows = _take_rows(read_part(file), *chosen)
    if not rows.is_empty():
        own = folder / f"{file.stem}.{uuid.uuid4().hex}"
        rows.write_parquet(own)
        own.rename(folder / file.name)
    accounts = rows["account_id"].unique(maintain_order=True).to_list()
    return _Part(file_digest(file), accounts, rows.height)


def _take_rest(data: Path, partial: Path, share: float, seed: int) -> list[bytes]:
    """Take the labels and what is known of the accounts; the digest of the labels, if any."""
    for name in _DESCRIPTIONS:
        if (data / name).exists():
            shutil.copy(data / name, partial / name)
    for file in sorted((data / "accounts").glob("*.parquet")):
        (partial / "accounts").mkdir(exist_ok=True)
        _take_rows(read_part(file), share, seed).write_parquet(partial / "accounts" / file.name)
    labels = data / _LABELS
    if not labels.exists():
        return []
    _take_rows(read_part(labels), share, seed).write_parquet(partial / _LABELS)
    return [file_digest(labels)]


def _take_rows(table: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """Return the rows of the accounts whose draw is below the share."""
    names = table["account_id"].unique(maintain_order=True)
    draws = draw(names, b"sample" + seed.to_bytes(8, "big"))
    return table.filter(
        pl.col("account_id").is_in(names.filter(pl.Series(draws < share)).implode())
    )


def _digest_of(folder: Path) -> str:
    """Return the digest that :func:`training.data.dataset.load` gives."""
    files = sorted((folder / "statements").glob("*.parquet"))
    labels = folder / _LABELS
    return digest([*files, labels] if labels.exists() else files)
