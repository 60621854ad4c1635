"""What is asked of a run over a portfolio."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from serving.portfolio.partitions import ROWS_AT_ONCE
from serving.storage.settings import StorageSettings

MANIFEST = "_run.json"  # in the folder of the decisions


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of a run, besides its id.

    Attributes:
        statements: A Parquet file, or a folder of such files.
        decisions: The folder that the decisions are written to.
        bundle: The folder of the bundle.
        decided_at: The time of the decisions, with a time zone; None = that of the unfinished run
            in ``decisions``, or now.
        last_month: Later statements are left out; None = none are.
        workers: Processes of this machine that decide.
        scheduler: The address of a Dask scheduler whose workers decide instead, or "local" for a
            Dask cluster of ``workers`` processes of this machine; None = no Dask.
        with_all_answers: As :class:`serving.portfolio.block.Basis` has it.
        with_contributions: Likewise.
        rejects: Where accounts with faults are listed that are set aside; None = they are refused.
        rows_at_once: About so many statements are in the memory of each process.
        record: The audit log whose earlier decisions are taken into account; None = there were
            none.
        tenant: The lender, whose accounts these are in the audit log.
        records: Whether the decisions are stored in the audit log, and so put in force.
        beyond_bounds: Why the bounds of the policy may be exceeded; None = they may not.
    """

    statements: Path
    decisions: Path
    bundle: Path
    decided_at: datetime.datetime | None = None
    last_month: datetime.date | None = None
    workers: int = 1
    scheduler: str | None = None
    with_all_answers: bool = False
    with_contributions: bool = False
    rejects: Path | None = None
    rows_at_once: int = ROWS_AT_ONCE
    record: StorageSettings | None = None
    tenant: str = ""
    records: bool = False
    beyond_bounds: str | None = None
