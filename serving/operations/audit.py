"""The commands around the audit log: verify, erase, replay, export; each takes its options."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from sqlalchemy.exc import DBAPIError

from serving.audit_log import checkpoints
from serving.audit_log.entry import Entry
from serving.audit_log.erasure import (
    RETENTION_YEARS,
    Erased,
    ErasureOrder,
    check_retention,
    erase_account,
    erase_expired,
    truncate_wal,
)
from serving.audit_log.privacy.key_file import Secrets, read_secrets
from serving.audit_log.reader import Reader
from serving.audit_log.rows import read_chain_head
from serving.audit_log.verify import VerificationReport, verify
from serving.operations.export import export, line
from serving.operations.replay import Bundles, period, replay, replay_text
from serving.storage.database import Database
from serving.storage.errors import StorageError
from serving.storage.models import stated_digest, stored_bundles
from serving.storage.settings import StorageSettings, read_settings


@dataclass(frozen=True, slots=True)
class OpenAuditLog:
    """An existing audit log; a service may be writing it at the same time."""

    settings: StorageSettings
    secrets: Secrets
    database: Database

    @property
    def reader(self) -> Reader:
        """Its queries."""
        return Reader(self.database, self.secrets)


@contextmanager
def open_audit_log() -> Iterator[OpenAuditLog]:
    """Open the audit log that the environment names.

    Raises:
        StorageError: there is none, or it cannot be read.
    """
    settings = read_settings()
    if settings.file is not None and not settings.file.exists():
        raise StorageError(
            f"there is no audit log at {settings.file}; CLEARLINE_RECORD says where it is"
        )
    secrets = read_secrets(settings.secrets)
    database = Database(settings.address)
    try:
        yield OpenAuditLog(settings, secrets, database)
    except InvalidTag:
        raise StorageError(
            "a row could not be decrypted (wrong key or altered data); "
            "`python -m serving verify` says which"
        ) from None
    except DBAPIError as error:
        raise StorageError(f"the database does not answer: {error.orig}") from error
    finally:
        database.close()


def verify_audit_log(_: argparse.Namespace) -> int:
    """Print the report of a verification; returns 1 if something is wrong."""
    with open_audit_log() as log:
        report = verify(log.database.reading, log.secrets, log.settings.checkpoints)
    print(report_text(report))
    return 1 if report.count else 0


def report_text(report: VerificationReport) -> str:
    """The report in words, with what verification cannot see.

    >>> report = VerificationReport(
    ...     rows=3, checkpoints=1, newest=2, cut_short=0, count=0, findings=()
    ... )
    >>> print(report_text(report))  # doctest: +ELLIPSIS
    rows         3
    checkpoints  1, the newest of row 2
    findings     none
    not seen     changes after the newest checkpoint, now 1 row(s): whoever can write the ...
    """
    newest = f", the newest of row {report.newest}" if report.checkpoints else ""
    lines = [f"rows         {report.rows}", f"checkpoints  {report.checkpoints}{newest}"]
    if report.cut_short:
        lines.append(f"skipped      {report.cut_short} checkpoint(s) cut short by a power failure")
    lines.append(f"findings     {report.count or 'none'}")
    for finding in report.findings:
        where = "" if finding.row is None else f"row {finding.row} "
        lines.append(f"  {where}{finding.text}")
    if report.count > len(report.findings):
        lines.append(f"  and {report.count - len(report.findings)} more")
    return "\n".join([*lines, f"not seen     {_unseen(report)}"])


def erase_data_subjects(options: argparse.Namespace) -> None:
    """Delete the key of an account's data subject, or of all past the retention period."""
    years = RETENTION_YEARS if options.years is None else options.years
    check_retention(years, options.force, options.why)
    has_account, has_tenant = options.account is not None, options.tenant is not None
    if options.expired == has_account or has_tenant != has_account:
        raise StorageError("expected --tenant with --account, or --expired")
    why = options.why or (f"older than {years} years" if options.expired else "asked for")
    order = ErasureOrder(options.by, why, datetime.datetime.now(datetime.UTC))
    count = 0
    with open_audit_log() as log:
        for erased in _erase(log, options, years, order):
            count += 1
            print(f"erased  {erased.data_subject}  rows {erased.rows}")
        if count:
            _finish_erasure(log)
    if not count:
        print(
            "no records are past their retention period"
            if options.expired
            else "this tenant has no such account in the audit log, or it was erased before"
        )


def replay_decisions(options: argparse.Namespace) -> int:
    """Print how many decisions come out the same; returns 1 if any differ."""
    # A folder that is named on the command line replaces a stored bundle with the same digest.
    folders = stored_bundles() | {stated_digest(folder): folder for folder in options.bundle}
    with open_audit_log() as log:
        chosen = _chosen_decisions(log.reader, options)
        done = replay(chosen, Bundles(folders), log.secrets.id_key)
    print(replay_text(done))
    return 1 if done.counts["different"] else 0


def export_decisions(options: argparse.Namespace) -> None:
    """Write the decisions of a period as JSON lines."""
    since, until = period(options.since, options.until)
    with open_audit_log() as log:
        if options.tenant is not None:
            _check_tenant(log.reader, options.tenant)
        decisions = export(log.reader, since, until, options.tenant, options.asked)
        lines = (line(decision) for decision in decisions)
        if options.out is None:
            for one in lines:
                print(one)
        else:
            print(f"decisions {_write_private(options.out, lines)}  {options.out}")


def _unseen(report: VerificationReport) -> str:
    if not report.checkpoints:
        return (
            "there is no checkpoint: whoever can write the database could have cut rows off the "
            "end, or rewritten all of them"
        )
    return (
        f"changes after the newest checkpoint, now {report.unwitnessed} row(s): whoever can write "
        "the database could cut them off, rewrite them or add to them"
    )


def _erase(
    log: OpenAuditLog,
    options: argparse.Namespace,
    years: int,
    order: ErasureOrder,
) -> Iterator[Erased]:
    if options.expired:
        yield from erase_expired(log.database, log.secrets, years, order)
        return
    erased = erase_account(log.database, log.secrets, options.tenant, options.account, order)
    if erased is not None:
        yield erased


def _finish_erasure(log: OpenAuditLog) -> None:
    # Signed here, because no service may be running that would sign a checkpoint.
    with log.database.reading() as connection:
        seq, row_hash = read_chain_head(connection)
    now = datetime.datetime.now(datetime.UTC)
    checkpoints.append(
        log.settings.checkpoints,
        seq,
        row_hash,
        now,
        log.secrets.signer,
    )
    if not truncate_wal(log.database):
        print(
            "a reader held up the write-ahead log: run this again to overwrite it",
            file=sys.stderr,
        )


def _chosen_decisions(reader: Reader, options: argparse.Namespace) -> Iterable[Entry]:
    if options.decision is None:
        return reader.of_kind(
            ("decision",),
            None,
            *period(options.since, options.until),
        )
    found = reader.by_id(options.decision)
    if found is None or found.kind != "decision":
        raise StorageError(
            f"expected the id of a decision, got {options.decision!r}: there is no such decision"
        )
    return [found]


def _check_tenant(reader: Reader, tenant: str) -> None:
    known = reader.tenants()
    if tenant not in known:
        raise StorageError(f"expected a tenant of the audit log, one of {known}, got {tenant!r}")


def _write_private(file: Path, lines: Iterable[str]) -> int:
    """Write lines to a file that only its owner can read; returns their number."""
    descriptor = os.open(
        file,
        os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
        0o600,
    )
    count = 0
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        for one in lines:
            out.write(one + "\n")
            count += 1
    return count
