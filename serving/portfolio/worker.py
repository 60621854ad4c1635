"""One partition of a portfolio: statements in, decisions out, and a note of what was decided.

The note is written last.  A run that was interrupted decides again what has no note, and takes no
note of other statements or of another run for one.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from features.schema import StatementError, sift
from features.statements import Statements, read_table
from serving.decision.bundle import Bundle
from serving.decision.golden import load
from serving.decision.ids import UNKEYED
from serving.decision.policy.dates import local_date
from serving.decision.policy.prior import PriorError
from serving.decision.result import ProductError
from serving.portfolio.block import NO_PAST, Basis, Block, Past, decide_block
from serving.portfolio.errors import PortfolioError
from serving.portfolio.order import Order
from serving.portfolio.partitions import (
    Partition,
    breaches_of_product,
    breaches_of_run,
    digest_of,
    read_blocks,
    refuse_breaches,
)
from serving.portfolio.recorded.entries import entries_table
from serving.portfolio.recorded.keeps import keeps_of, keeps_root
from serving.portfolio.recorded.past import RecordedPast
from serving.portfolio.totals import Totals
from serving.reviews.past_decision import OtherProductError
from serving.storage.bundles.whole_file import whole_file

# The folder of the notes, within that of the decisions: readers of Parquet skip such names.
NOTES = "_partitions"
_UNFINISHED = ".unfinished"
_REFUSALS = (StatementError, PriorError, ProductError, OtherProductError, PortfolioError)


@dataclass(frozen=True, slots=True)
class Done:
    """What was decided in a partition.

    Attributes:
        name: Of the partition.
        run: The id of the run.
        statements: The SHA-256 of its file.
        decisions: The SHA-256 of each file of decisions, by its path within their folder.
        set_aside: The number of accounts with faults that were left out.
        totals: By product and action.
        keeps: Where decisions are recorded: the accounts without a row of their own in the audit
            log, by file of decisions.
        roots: Likewise, that of the Merkle tree over these accounts, see :mod:`.recorded.keeps`.
    """

    name: str
    run: str
    statements: str
    decisions: dict[str, str] = field(default_factory=dict)
    set_aside: int = 0
    totals: Totals = field(default_factory=Totals)
    keeps: dict[str, int] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """One JSON object."""
        fields = {one: getattr(self, one) for one in self.__slots__}
        return json.dumps(fields | {"totals": self.totals.rows()}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Done:
        """What :meth:`to_json` wrote."""
        stored = json.loads(text)
        return cls(**stored | {"totals": Totals.of_rows(stored["totals"])})


class Decider:
    """Decides on partitions with the bundle and the audit log of an order, in one process.

    ``bundle`` is that of the order, if it is in memory already; ``id_key`` keys the ids.

    Raises:
        PortfolioError: The order has no time of the decisions.
        BundleError: The bundle is damaged.
        StorageError: The audit log cannot be read.
    """

    def __init__(self, order: Order, run_id: str, bundle: Bundle | None = None) -> None:
        if order.decided_at is None:
            raise PortfolioError("expected an order with the time of the decisions, got none")
        self._order, self._run = order, run_id
        self._past = None
        if order.record is not None:
            self._past = RecordedPast(order.record, order.tenant)
        self.id_key = UNKEYED if self._past is None else self._past.id_key
        self._basis = Basis(
            bundle=bundle or load(order.bundle),
            decided_at=order.decided_at,
            id_key=self.id_key,
            with_all_answers=order.with_all_answers,
            with_contributions=order.with_contributions,
        )
        self._today = local_date(order.decided_at, self._basis.bundle.policy)

    def close(self) -> None:
        """Close the audit log."""
        if self._past is not None:
            self._past.close()

    def decide(self, partition: Partition) -> Done:
        """Decide on the accounts of a partition, unless this run did before.

        Raises:
            PortfolioError: The file cannot be read, or statements are refused; the message names
                the file and the accounts.
        """
        note = self._order.decisions / NOTES / f"{partition.name}.json"
        try:
            statements = digest_of(partition.path)
            if note.exists():
                done = Done.from_json(note.read_text("utf-8"))
                if self._is_whole(done, statements):
                    return done
            done = self._decide(partition, statements)
        except (*_REFUSALS, OSError) as error:
            raise PortfolioError(f"{partition.path}: {error}") from error
        with file_of_run(note) as file:
            file.write_text(done.to_json() + "\n", "utf-8")
        return done

    def _is_whole(self, done: Done, statements: str) -> bool:
        """Whether a note is of this run and these statements, and has all that is recorded."""
        # A note of an earlier version has no roots.
        sealed = done.decisions.keys() if self._order.records else set()
        is_ours = (done.run, done.statements) == (self._run, statements)
        return is_ours and done.roots.keys() == sealed

    def _decide(self, partition: Partition, statements: str) -> Done:
        folder = self._order.decisions
        done = Done(partition.name, self._run, statements)
        faults: list[pl.DataFrame] = []
        totals = Totals()
        for block in self._sound_blocks(partition, faults):
            found = self._with_past(block, faults)
            if found is None:
                continue
            read, past = found
            decided = decide_block(read, self._basis, past)
            part = f".{len(done.decisions) + 1}" if done.decisions else ""
            name = f"{partition.name}{part}.parquet"
            if self._order.records:
                self._prepare_record(name, decided, read, past, done)
            self._check_name(partition, name)
            done.decisions[name] = write_table(decided.table, folder / name)
            totals = totals.plus(Totals.of_table(decided.table))
        breaches = pl.concat(faults) if faults else pl.DataFrame()
        set_aside = 0
        if not breaches.is_empty():
            set_aside = breaches["account_id"].n_unique()
            with file_of_run(rejects_file(partition.name, folder)) as file:
                breaches.write_csv(file)
        return replace(done, set_aside=set_aside, totals=totals)

    def _with_past(
        self,
        block: pl.DataFrame,
        faults: list[pl.DataFrame],
    ) -> tuple[Statements, Past] | None:
        """The statements of a block, and what the audit log has of its accounts.

        Where faults are set aside, accounts with another product than there are added to
        ``faults``; None if no account is left.
        """
        read = read_table(block)
        if self._past is None:
            return read, NO_PAST
        try:
            return read, self._past.of(read)
        except OtherProductError as error:
            if self._order.rejects is None:
                raise
            is_other = pl.col("account_id").is_in(list(error.recorded))
        faults.append(breaches_of_product(block.filter(is_other)))
        sound = block.filter(~is_other)
        return None if sound.is_empty() else self._with_past(sound, faults)

    def _prepare_record(
        self,
        name: str,
        decided: Block,
        read: Statements,
        past: Past,
        done: Done,
    ) -> None:
        """Write what the audit log will have of a file of decisions; adds the root to ``done``."""
        if self._past is None:
            raise PortfolioError("expected an audit log to record decisions in, got none")
        rows = entries_table(decided, read, self._basis, past, self._run)
        write_table(rows, _entries_file(name, self._order.decisions))
        keeps = keeps_of(decided.table)
        done.keeps[name] = keeps.height
        done.roots[name] = keeps_root(keeps, self._run, self._past.secrets)

    def _check_name(self, partition: Partition, name: str) -> None:
        """Raise :class:`PortfolioError` if the name of a part is that of another partition."""
        other = self._order.statements / name
        if name != f"{partition.name}.parquet" and other.exists():
            raise PortfolioError(
                f"a part of its decisions would be {name}, as those of {other}; "
                "rename one of the two files"
            )

    def _sound_blocks(
        self,
        partition: Partition,
        faults: list[pl.DataFrame],
    ) -> Iterator[pl.DataFrame]:
        """The blocks; where faults are set aside, without the accounts that have any.

        These faults are added to ``faults``: account, month and rule.
        """
        order = self._order
        for block in read_blocks(partition, order.last_month, order.rows_at_once):
            breaches = breaches_of_run(block, self._today)
            if order.rejects is None:
                refuse_breaches(breaches)
                yield block
                continue
            sound = block.join(breaches, on="account_id", how="anti", maintain_order="left")
            faults.append(breaches)
            if not sound.is_empty():
                sound, others = sift(sound, window=True)
                faults.append(others)
            if not sound.is_empty():
                yield sound


def entries_files(done: Done, folder: Path) -> list[Path]:
    """The files with the rows of the audit log for the decisions of a partition."""
    return [_entries_file(name, folder) for name in done.decisions]


def _entries_file(decisions: str, folder: Path) -> Path:
    return folder / NOTES / f"{decisions.removesuffix('.parquet')}.entries.parquet"


def write_table(table: pl.DataFrame, path: Path) -> str:
    """Write a table as Parquet, whole or not at all; returns the SHA-256 of the file."""
    content = io.BytesIO()
    # To memory first: of a full disk Polars says that the file is out of specification.
    table.write_parquet(content)
    with file_of_run(path) as file:
        file.write_bytes(content.getbuffer())
    return hashlib.sha256(content.getbuffer()).hexdigest()


def rejects_file(partition: str, folder: Path) -> Path:
    """The file with the faults of a partition's accounts that were set aside."""
    return folder / NOTES / f"{partition}.rejects.csv"


@contextmanager
def file_of_run(path: Path) -> Iterator[Path]:
    """A :func:`whole_file` in a folder that is made if it is not there.

    Raises:
        PortfolioError: It cannot be written; its cause is the OSError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, _UNFINISHED) as unfinished:
            yield unfinished
    except OSError as error:
        raise PortfolioError(
            f"{path}: cannot be written: {error.strerror or error}; "
            "when it can be, the same command goes on where it stopped"
        ) from error


def remove_unfinished(folder: Path) -> None:
    """Remove what processes left in the folder of a run when they were killed while writing."""
    for file in folder.rglob(f".*{_UNFINISHED}"):
        file.unlink(missing_ok=True)
