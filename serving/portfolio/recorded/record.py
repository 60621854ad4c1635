"""A run's decisions in the audit log: each once, however often the run is interrupted.

    batches of a partition, each a transaction -> the row of the partition

A decision that is in the audit log already is of an earlier try of the same run.  One that follows
from an event which is not the account's newest any more is not stored: the service has decided on
the account since, and its decision stands.
"""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from serving.audit_log.committer import Committer
from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.privacy.erasure import newest_record
from serving.audit_log.privacy.record_secrets import open_secrets
from serving.audit_log.reader import Reader
from serving.portfolio.errors import PortfolioError
from serving.portfolio.order import Order
from serving.portfolio.recorded.batches import Batch, Sealer
from serving.portfolio.recorded.entries import CALLER, read_entries
from serving.portfolio.recorded.failures import name_failures
from serving.portfolio.worker import NOTES, Done, entries_files, file_of_run
from serving.reviews.due import all_due
from serving.storage.database import COMMAND_SECONDS, open_database

_KEYS_A_QUERY = 500


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the audit log has of a partition.

    Attributes:
        partition: Its name.
        decisions: With a row of their own.
        overtaken: The number of accounts on which the service decided while the run did, so that
            its decision stands.  Their names are in a file: see :func:`overtaken_accounts`.
        keeps: Accounts that plainly keep their limit, in each file of decisions.
        roots: Of the Merkle tree over these, in each file of decisions, hexadecimal.
    """

    partition: str
    decisions: int
    overtaken: int
    keeps: dict[str, int]
    roots: dict[str, str]


class Recorder:
    """Stores the decisions of a run in the audit log of its order.

    Raises:
        StorageError: There is no audit log, or it cannot be written.
    """

    def __init__(self, order: Order, run_id: str) -> None:
        if order.record is None or order.decided_at is None:
            raise ValueError("expected an order with an audit log and a time, got one without")
        self._order, self._run, self._at = order, run_id, order.decided_at
        self._database = open_database(order.record, COMMAND_SECONDS)
        self.secrets = open_secrets(self._database, order.record, create=False)
        self._committer = Committer(
            self._database, self.secrets, order.record.checkpoints, many_rows=True
        )
        self._sealer = Sealer(self._database, self.secrets, order.tenant)
        self.reader = Reader(self._database, self.secrets)

    def close(self) -> None:
        """Sign what was stored, and close the database."""
        self._committer.close()
        self._database.close()

    def record(self, done: Done, batches: Iterable[Batch] | None = None) -> Recorded:
        """Store what was decided in a partition; what is stored already stays as it is.

        ``batches`` are those of the partition; None = they are encrypted here.

        Raises:
            StorageError: The audit log cannot be written, as where its disk is full.
        """
        if batches is None:
            files = entries_files(done, self._order.decisions)
            batches = chain.from_iterable(map(self._sealer.seal, files))
        with name_failures(self._database):
            stored = self._find_recorded([done]).get(done.name)
            return stored or self._record(done, batches)

    def find_recorded(self, found: Sequence[Done]) -> dict[str, Recorded]:
        """Which of these partitions are stored already, by name.

        Raises:
            StorageError: The audit log cannot be read.
        """
        with name_failures(self._database):
            return self._find_recorded(found)

    def _find_recorded(self, found: Sequence[Done]) -> dict[str, Recorded]:
        stored = {}
        every = [self._key(done.name) for done in found]
        for first in range(0, len(every), _KEYS_A_QUERY):
            keys = every[first : first + _KEYS_A_QUERY]
            for row in self.reader.by_unique_keys(keys):
                part = Recorded(**json.loads(row.response_body or b"{}"))
                stored[part.partition] = part
        return stored

    def _record(self, done: Done, batches: Iterable[Batch]) -> Recorded:
        stored = 0
        overtaken: list[str] = []
        for batch in batches:
            late = self._store(batch)
            overtaken += late
            stored += batch.count - len(late)
        with file_of_run(_overtaken_file(done.name, self._order.decisions)) as place:
            place.write_text(json.dumps(overtaken), "utf-8")
        recorded = Recorded(done.name, stored, len(overtaken), done.keeps, done.roots)
        self._committer.commit([[self._row(recorded, self._key(done.name))]])
        self._committer.sign_if_due()
        return recorded

    def _key(self, partition: str) -> str:
        return f"portfolio:{self._run}:{partition}"

    def check_new(self) -> None:
        """Raise :class:`PortfolioError` if the run is recorded, or its time is before the last row.

        A clock that went back would make decisions of a day that is over.
        """
        for _ in recorded_parts(self.reader, self._order.tenant, self._run):
            raise PortfolioError(
                f"expected a run that is not recorded, got {self._run}: one of the same time, "
                "bundle and options was recorded from another folder"
            )
        newest = newest_record(self._database)
        if newest is not None and newest > self._at:
            raise PortfolioError(
                f"expected a time after the newest decision of the audit log "
                f"({newest.isoformat()}), got {self._at.isoformat()}"
            )

    def count_due(self, today: datetime.date) -> int:
        """The accounts whose next look has come and that were not in the portfolio."""
        with name_failures(self._database):
            return sum(1 for _ in all_due(self.reader, self._order.tenant, today))

    def _store(self, batch: Batch) -> list[str]:
        """Store some decisions; returns the accounts that were overtaken."""
        if batch.sealed is not None and self._committer.commit_sealed(batch.sealed):
            self._committer.sign_if_due()
            return []
        # Some were stored by an earlier try, or the service has decided meanwhile.
        tenant = self._order.tenant
        items = list(read_entries(batch.file, tenant, batch.first, batch.count))
        results = self._committer.commit(items)
        self._committer.sign_if_due()
        refused = {
            item[0].entry_id: item[0]
            for item, got in zip(items, results, strict=True)
            if not isinstance(got, list)
        }
        if not refused:
            return []
        # An earlier try may have stored it: then its own row is the newest event.
        stored = self.reader.by_ids(refused)
        for row in stored.values():
            self._check_own(row)
        late = [entry for name, entry in refused.items() if name not in stored]
        return [entry.account for entry in late if entry.account is not None]

    def _check_own(self, row: Entry) -> None:
        """Raise :class:`PortfolioError` if the row of a decision is not of this run."""
        run = row.metadata.get("run")
        if (row.tenant, run) != (self._order.tenant, self._run):
            by = "the service" if run is None else f"the run {run}"
            raise PortfolioError(
                f"expected decisions that are not recorded yet, got {row.entry_id}, which was "
                f"recorded by {by}: the same statements were decided on at the same time"
            )

    def _row(self, recorded: Recorded, key: str) -> NewEntry:
        metadata: dict[str, Any] = {"run": self._run}
        if self._order.beyond_bounds is not None:
            metadata["beyond_bounds"] = self._order.beyond_bounds
        return NewEntry(
            entry_id=str(uuid.uuid4()),
            kind="portfolio",
            subject=self._run,
            tenant=self._order.tenant,
            caller=CALLER,
            at=self._at,
            account=None,
            metadata=metadata,
            response_body=json.dumps(asdict(recorded)).encode(),
            unique_key=key,
        )


def overtaken_accounts(partition: str, folder: Path) -> list[str]:
    """The accounts of a recorded partition whose decisions were not stored."""
    names: list[str] = json.loads(_overtaken_file(partition, folder).read_text("utf-8"))
    return names


def _overtaken_file(partition: str, folder: Path) -> Path:
    return folder / NOTES / f"{partition}.overtaken.json"


def recorded_parts(reader: Reader, tenant: str, run_id: str) -> Iterator[Recorded]:
    """What the audit log has of a lender's run, in the order in which it was stored."""
    for row in reader.of_kind(["portfolio"], tenant):
        if row.subject == run_id:
            yield Recorded(**json.loads(row.response_body or b"{}"))
