"""What of a partition is stored in one transaction, encrypted before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.privacy.record_secrets import open_secrets
from serving.audit_log.privacy.sealed_batch import SealedBatch, seal_batch
from serving.portfolio.recorded.entries import count_entries, read_entries
from serving.portfolio.recorded.failures import name_failures
from serving.storage.database import COMMAND_SECONDS, Database, open_database
from serving.storage.settings import StorageSettings

# Each transaction waits for the disk several times.  The service waits for it about a tenth of a
# second.
DECISIONS_A_COMMIT = 1_536


@dataclass(frozen=True, slots=True)
class Batch:
    """Decisions of a partition that are stored in one transaction.

    Attributes:
        file: With the rows of the audit log, see :mod:`.entries`.
        first: The place in the file of the first of them, from 0.
        count: How many there are.
        sealed: Their rows; None if some have to be looked at one by one.
    """

    file: Path
    first: int
    count: int
    sealed: SealedBatch | None


class Sealer:
    """Encrypts the decisions of a lender for an audit log; stores nothing."""

    def __init__(self, database: Database, secrets: Secrets, tenant: str) -> None:
        self._database, self._secrets, self._tenant = database, secrets, tenant

    @classmethod
    def open(cls, settings: StorageSettings, tenant: str) -> Sealer:
        """For the audit log of these settings.

        Raises:
            StorageError: There is none, or it cannot be read.
        """
        database = open_database(settings, COMMAND_SECONDS)
        return cls(database, open_secrets(database, settings, create=False), tenant)

    def seal(self, file: Path) -> Iterator[Batch]:
        """The batches of a file, each for the audit log as it is when the batch is taken.

        Raises:
            StorageError: The audit log cannot be read.
        """
        for first in range(0, count_entries(file), DECISIONS_A_COMMIT):
            items = list(read_entries(file, self._tenant, first, DECISIONS_A_COMMIT))
            with name_failures(self._database), self._database.reading() as connection:
                sealed = seal_batch(connection, items, self._secrets)
            yield Batch(file, first, len(items), sealed)
