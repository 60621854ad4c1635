"""A simulation as tables, block by block, and as a folder of Parquet files."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.schema import COLUMNS, NAMES, PRODUCTS
from features.types import Mask
from training.cluster import check_seen, map_in_order
from training.data.simulate.config import SimulationConfig, calendar_month
from training.data.simulate.population import AGE_BANDS, GENDERS, REGIONS
from training.data.simulate.state import Numbers, Traits
from training.data.simulate.step import Columns, begin, step
from training.tracking.progress import CountProgress

SUMMARY = "simulation.json"
_MEASURED = tuple(name for name in NAMES if name not in ("account_id", "month", "product"))
_DTYPE_OF_KIND = {"amount": np.float64, "whole_number": np.int32}
_DTYPES = {
    column.name: _DTYPE_OF_KIND[column.kind] for column in COLUMNS if column.name in _MEASURED
}


class Block(NamedTuple):
    """The tables of some accounts.

    ``accounts`` has ``account_id``, ``opened`` (date), ``age_band``, ``gender`` and ``region``; it
    is used to measure fairness only.
    """

    statements: pl.DataFrame  # in the form of features.schema, sorted
    accounts: pl.DataFrame


def simulate(config: SimulationConfig) -> Iterator[Block]:
    """Yield the simulated accounts, ``config.partition_accounts`` at a time.

    The history of an account depends on its number and on the config's other fields, not on the
    partition.  Accounts that open after the last month are in neither table.

    >>> block = next(simulate(SimulationConfig(accounts=3, months=2)))
    >>> block.statements.select("account_id", "month", "product").row(0)
    ('sim-0000001', datetime.date(2023, 10, 1), 'cash_loan')
    """
    for first, count in _spans(config):
        yield _simulate_block(config, first, count)


def _spans(config: SimulationConfig) -> Iterator[tuple[int, int]]:
    """The number of the first account of each block, and how many it has."""
    for first in range(0, config.accounts, config.partition_accounts):
        remaining = config.accounts - first
        yield first, min(config.partition_accounts, remaining)


def write(
    config: SimulationConfig,
    folder: Path,
    progress: CountProgress | None = None,
) -> dict[str, Any]:
    """Simulate into ``folder``; return the content of its ``simulation.json``: config and counts.

    The files are ``statements/part-00000.parquet`` and so on, and the same under ``accounts/``, one
    for each block.  They are written next to the folder and moved into place at the end, so an
    interrupted run leaves nothing; an earlier simulation in the folder is overwritten.

    ``progress`` is called with (accounts done, accounts in all) after each block.
    Raises FileExistsError if the folder holds other files, ValueError if no account opens within
    the months.
    """
    _check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        _make_folders(partial, folder)
        summary = _write_blocks(config, partial, progress)
        _remove_unfinished(partial)
        (partial / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except BaseException:  # KeyboardInterrupt too: an interrupted run leaves nothing
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return summary


def _make_folders(partial: Path, folder: Path) -> None:
    """Make the folders of the blocks; OSError names ``folder``, which was asked for."""
    try:
        for name in Block._fields:
            (partial / name).mkdir(parents=True)
    except OSError as error:
        error.filename = str(folder)
        raise


def _remove_unfinished(partial: Path) -> None:
    """Remove what workers left that were killed while they wrote."""
    for file in partial.iterdir():
        if file.is_file():
            file.unlink()


def as_table(
    names: pl.Series,
    cash_loan: Mask,
    months: Sequence[tuple[int, Columns]],
    config: SimulationConfig,
) -> pl.DataFrame:
    """Return statements of :func:`training.data.simulate.step` as a table.

    One row for each account and month in which it is open, in the form of :mod:`features.schema`,
    sorted if ``names`` are.  ``names`` and ``cash_loan`` have one entry an account; ``months`` are
    (month number, statements) in order of time.
    """
    columns = {}
    for name in _MEASURED:
        by_month = [statement[name] for _, statement in months]
        columns[name] = np.column_stack(by_month).astype(_DTYPES[name])
    opened = [statement["open"] for _, statement in months]
    is_open = np.column_stack(opened).astype(np.bool_)
    dates = [calendar_month(number, config) for number, _ in months]
    return _statements(
        names,
        cash_loan,
        months=pl.Series(dates, dtype=pl.Date),
        columns=columns,
        is_open=is_open,
    )


def account_names(accounts: Numbers) -> pl.Series:
    """Return the ids of accounts by their numbers.

    >>> account_names(np.array([0, 41])).to_list()
    ['sim-0000001', 'sim-0000042']
    """
    numbers = pl.Series(accounts + 1).cast(pl.String)
    # Filled with zeros, so that ids sort as numbers do.
    digits = numbers.str.zfill(7)
    return ("sim-" + digits).alias("account_id")


def _write_blocks(
    config: SimulationConfig,
    partial: Path,
    progress: CountProgress | None,
) -> dict[str, Any]:
    rows = dict.fromkeys(Block._fields, 0)
    files = done = 0
    firsts, counts = zip(*_spans(config), strict=True)
    written = map_in_order(
        _write_block,
        repeat(config),
        firsts,
        counts,
        repeat(partial.absolute()),
    )
    for first, count, rows_of_block in zip(firsts, counts, written, strict=True):
        done += count
        # A block without open accounts has no file: an empty part would only be read in vain.
        if rows_of_block["statements"]:
            for name in Block._fields:
                part = partial / name / f"part-{files:05d}.parquet"
                _file_of_block(partial, name, first).rename(part)
                rows[name] += rows_of_block[name]
            files += 1
        if progress is not None:
            progress(done, config.accounts)
    if not files:
        raise ValueError(
            f"expected accounts that open within {config.months} month(s), "
            f"got none of {config.accounts}"
        )
    fields = {}
    for name, value in dataclasses.asdict(config).items():
        is_json = isinstance(value, (int, float, str))
        fields[name] = value if is_json else str(value)
    return {
        "config": fields,
        "rows": rows,
        "files": files,
    }


def _write_block(config: SimulationConfig, first: int, count: int, partial: Path) -> dict[str, int]:
    """Write the tables of a block that has open accounts; return the rows of each."""
    check_seen(partial)
    block = _simulate_block(config, first, count)
    rows = {name: table.height for name, table in block._asdict().items()}
    if rows["statements"]:
        for name, table in block._asdict().items():
            # Whole files only: a worker that was taken for dead may write the same one.
            own = partial / f"{name}-{first}.{uuid.uuid4().hex}"
            table.write_parquet(own, compression="lz4")
            own.rename(_file_of_block(partial, name, first))
    return rows


def _file_of_block(partial: Path, name: str, first: int) -> Path:
    return partial / f"{name}-{first}"


def _check_replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    if folder.is_dir():
        is_empty = not any(folder.iterdir())
        if is_empty or (folder / SUMMARY).exists():
            return
    raise FileExistsError(
        f"{folder}: expected no such folder, an empty one, or an earlier simulation; "
        "it holds other files"
    )


def _simulate_block(
    config: SimulationConfig,
    first: int,
    count: int,
) -> Block:
    state = begin(config, first, count)
    # Filled in place: a list of months would need all of them a second time to be stacked.
    shape = (count, config.months)
    columns = {name: np.empty(shape, dtype=_DTYPES[name]) for name in _MEASURED}
    is_open = np.empty(shape, dtype=np.bool_)
    for month_number in range(config.months):
        state, statement = step(state, month_number, config)
        is_open[:, month_number] = statement["open"]
        for name in _MEASURED:
            columns[name][:, month_number] = statement[name]
    names = account_names(state.accounts)
    dates = [calendar_month(number, config) for number in range(config.months)]
    months = pl.Series(dates, dtype=pl.Date)
    return Block(
        statements=_statements(names, state.traits.cash_loan, months, columns, is_open),
        accounts=_accounts(config, names, state.traits, is_open),
    )


def _statements(
    names: pl.Series,
    cash_loan: Mask,
    months: pl.Series,
    columns: dict[str, NDArray[Any]],
    is_open: Mask,
) -> pl.DataFrame:
    """Return the statement table of arrays (accounts, months).  Empties ``columns``."""
    account, month = np.nonzero(is_open)
    products = pl.Series(PRODUCTS, dtype=pl.Enum(PRODUCTS))
    product = cash_loan[account].astype(np.uint32)  # PRODUCTS are pay_later, cash_loan
    series = {
        "account_id": names.gather(account),
        "month": months.gather(month),
        "product": products.gather(product),
    }
    for column in COLUMNS:
        if column.name not in columns:
            continue
        # Popped, so that only one column is in memory twice at a time.
        values = pl.Series(columns.pop(column.name)[is_open], dtype=column.dtype)
        if column.kind == "amount":
            values = values.fill_nan(None)
        series[column.name] = values
    return pl.DataFrame(series)


def _accounts(
    config: SimulationConfig,
    names: pl.Series,
    traits: Traits,
    is_open: Mask,
) -> pl.DataFrame:
    months = traits.opened_month.tolist()
    days = traits.opened_day.tolist()
    opened = []
    for month_number, day in zip(months, days, strict=True):
        month = calendar_month(month_number, config)
        opened.append(month.replace(day=day))
    frame = pl.DataFrame(
        {
            "account_id": names,
            "opened": pl.Series(opened, dtype=pl.Date),
            "age_band": pl.Series(AGE_BANDS).gather(traits.age_band),
            "gender": pl.Series(GENDERS).gather(traits.gender),
            "region": pl.Series(REGIONS).gather(traits.region),
        }
    )
    # Those with a statement: an account that opens after the last month is in no table.
    has_statement = np.any(is_open, axis=1)
    return frame.filter(pl.Series(has_statement))
