"""The commands backup and restore; each takes its options and fails loudly."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.audit_log.checkpoints import Checkpoint
from serving.audit_log.log import check_single_writer
from serving.audit_log.privacy.key_file import Secrets, read_secrets
from serving.audit_log.verify import VerificationReport
from serving.operations.audit import report_text
from serving.operations.backup import postgresql, sqlite
from serving.operations.backup.verified import (
    Extent,
    check_holds,
    split_checkpoints,
    unreached_text,
    verify_with,
)
from serving.operations.errors import NothingDone
from serving.operations.new_file import BESIDE_RECORD, check_not_of_record, private_file
from serving.storage.database import Database
from serving.storage.errors import StorageError
from serving.storage.settings import StorageSettings, read_settings


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the record besides its database."""

    settings: StorageSettings
    secrets: Secrets
    checkpoint_lines: bytes  # empty if there is no checkpoint yet


def backup_record(options: argparse.Namespace) -> int:
    """Copy the database into a new file, verified; returns 1 if a damaged copy was kept."""
    settings = read_settings()
    wanted = (
        (options.secrets, settings.secrets),
        (options.checkpoints, settings.checkpoints),
    )
    copies = [(target, source) for target, source in wanted if target is not None]
    _check_targets([options.destination, *(target for target, _ in copies)], settings)
    for _, source in copies:
        if not source.exists():
            raise StorageError(f"there is no file {source} to copy")
    if settings.file is not None and not settings.file.exists():
        raise StorageError(
            f"there is no audit log at {settings.file}; CLEARLINE_RECORD says where it is"
        )
    known = _read_known(settings)
    with private_file(options.destination) as unfinished:
        report = _copy(known, unfinished)
        print(report_text(report))
        if report.count and not options.keep_damaged:
            raise NothingDone(
                f"no copy was kept: it has {report.count} finding(s), and so has the audit log; "
                "--keep-damaged keeps it all the same"
            )
    print(f"copy         {options.destination}, {options.destination.stat().st_size} bytes")
    for target, source in copies:
        with private_file(target) as unfinished:
            unfinished.write_bytes(source.read_bytes())
        print(f"copy         {target}")
    _print_warning(options, settings)
    return 1 if report.count else 0


def restore_record(options: argparse.Namespace) -> int:
    """Make the record from a copy, verified; returns 1 if the checkpoints go further than it."""
    settings = read_settings()
    if not options.source.is_file():
        raise StorageError(f"{options.source}: expected a file that `backup` wrote, found none")
    known = _read_known(settings)
    if settings.file is None:
        extent, unreached = _restore_postgresql(known, options.source)
    else:
        extent, unreached = _restore_sqlite(known, settings.file, options.source)
    print(f"restored     {extent.rows} rows, the newest of {extent.at or 'never'}")
    if not unreached:
        return 0
    print(unreached_text(unreached, extent))
    print(_next_steps(settings, extent), file=sys.stderr)
    return 1


def _check_targets(targets: Sequence[Path], settings: StorageSettings) -> None:
    """Refuse targets that exist, before anything is written."""
    if len({target.absolute() for target in targets}) < len(targets):
        raise StorageError("expected a file of its own for each copy, got one for two of them")
    for target in targets:
        check_not_of_record(target, settings)
        if not target.parent.is_dir():
            raise StorageError(f"{target}: expected a file in a folder that exists")
        for suffix in ("", *BESIDE_RECORD):
            file = Path(f"{target}{suffix}")
            if file.exists() or file.is_symlink():
                raise StorageError(f"{file} exists already: expected a new file for the copy")


def _read_known(settings: StorageSettings) -> _Known:
    if not settings.secrets.exists():
        raise StorageError(
            f"there are no secrets at {settings.secrets}; CLEARLINE_SECRETS says where they are: "
            "without them a copy cannot be verified"
        )
    # Read before the copy is made: every row that a checkpoint is of is then in the copy.
    lines = settings.checkpoints.read_bytes() if settings.checkpoints.exists() else b""
    return _Known(settings, read_secrets(settings.secrets), lines)


def _copy(known: _Known, target: Path) -> VerificationReport:
    file = known.settings.file
    if file is not None:
        before = sqlite.read_extent(file, "rw")
        sqlite.copy_database(file, "rw", target)
        check_holds(
            before, sqlite.read_extent(target, "ro").rows, sqlite.hash_at(target, before.newest)
        )
        return sqlite.verify_copy(target, known.secrets, known.checkpoint_lines)
    before = postgresql.read_extent(known.settings.address)
    postgresql.dump(known.settings.address, target)
    check_holds(before, *postgresql.read_dump(target, before.newest))
    return _verify_database(known)


def _verify_database(known: _Known, lines: bytes | None = None) -> VerificationReport:
    database = Database(known.settings.address)
    try:
        checkpoint_lines = known.checkpoint_lines if lines is None else lines
        return verify_with(database.reading, known.secrets, checkpoint_lines)
    finally:
        database.close()


def _restore_sqlite(known: _Known, record: Path, source: Path) -> tuple[Extent, list[Checkpoint]]:
    for suffix in ("", *BESIDE_RECORD[:-1]):
        file = Path(f"{record}{suffix}")
        if file.exists() or file.is_symlink():
            raise StorageError(f"{file} exists: a record is never overwritten; move it away first")
    extent = sqlite.read_extent(source, "ro")
    record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lines, unreached = split_checkpoints(
        known.checkpoint_lines, known.secrets.verifier, extent.rows
    )
    with private_file(record) as unfinished:
        sqlite.copy_database(source, "ro", unfinished)
        _check_restored(
            sqlite.verify_copy(unfinished, known.secrets, lines), "nothing was restored"
        )
        # A service whose file was taken away goes on writing to it, and holds the lock.
        check_single_writer(known.settings, workers=1)
    return extent, unreached


def _restore_postgresql(known: _Known, source: Path) -> tuple[Extent, list[Checkpoint]]:
    address = known.settings.address
    if tables := postgresql.existing_tables(address):
        raise StorageError(
            f"expected a database without an audit log, got one with the tables {tables}: a record "
            "is never overwritten; name an empty database in CLEARLINE_RECORD"
        )
    postgresql.restore(source, address)
    extent = postgresql.read_extent(address)
    lines, unreached = split_checkpoints(
        known.checkpoint_lines, known.secrets.verifier, extent.rows
    )
    outcome = "the database was restored, but do not use it: drop it"
    _check_restored(_verify_database(known, lines), outcome)
    return extent, unreached


def _check_restored(report: VerificationReport, outcome: str) -> None:
    if not report.count:
        return
    print(report_text(report))
    raise NothingDone(
        f"{outcome}: the copy has {report.count} finding(s); either it was changed, or the secrets "
        "or the checkpoints are of another record"
    )


def _next_steps(settings: StorageSettings, extent: Extent) -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    aside = f"{settings.checkpoints}.before-{today}"
    return (
        "The copy is older than the checkpoints, so the service refuses to write it. Before you go "
        "on: (1) look for a newer copy; (2) customers who were erased after "
        f"{extent.at or 'the copy was made'} are there again: erase them again; (3) keep the old "
        "checkpoints, which prove that rows are missing, and begin a new file:\n"
        f"    mv {settings.checkpoints} {aside}"
    )


def _print_warning(options: argparse.Namespace, settings: StorageSettings) -> None:
    if options.secrets is None:
        text = (
            f"the copy cannot be read without the secrets in {settings.secrets}: keep a copy of "
            "them under lock, in another place than this one"
        )
    else:
        text = (
            f"keep {options.secrets} apart from {options.destination}: whoever has both can read "
            "every request"
        )
    print(text, file=sys.stderr)
    if options.checkpoints is not None:
        print(
            f"keep {options.checkpoints} where nobody who can write the database can write it",
            file=sys.stderr,
        )
