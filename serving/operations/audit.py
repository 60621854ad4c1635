"""What an operator and an auditor do with the record: verify, erase, replay, export."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from sqlalchemy.exc import DBAPIError

from serving.audit_log import checkpoints
from serving.audit_log.erasure import (
    RETENTION_YEARS,
    Erased,
    Order,
    check_retention,
    erase_account,
    erase_expired,
    purge_free_pages,
)
from serving.audit_log.privacy.key_file import Secrets, read_secrets
from serving.audit_log.reader import Reader
from serving.audit_log.rows import chain_head
from serving.audit_log.verify import verdict_text, verify
from serving.operations.export import export, line
from serving.operations.replay import Bundles, period, replay, replay_text
from serving.storage.database import Database
from serving.storage.errors import StorageError
from serving.storage.models import stated_digest, stored_bundles
from serving.storage.settings import StorageSettings, read_settings


@dataclass(frozen=True, slots=True)
class Opened:
    """A record that is there, beside the service that may be writing it."""

    settings: StorageSettings
    secrets: Secrets
    database: Database


@contextmanager
def opened() -> Iterator[Opened]:
    """The record that the environment names; RecordError where there is none, or it cannot be read."""
    settings = read_settings()
    if settings.file is not None and not settings.file.exists():
        raise StorageError(
            f"there is no record at {settings.file}; CLEARLINE_RECORD says where it is"
        )
    secrets = read_secrets(settings.secrets)
    database = Database(settings.address)
    try:
        yield Opened(settings, secrets, database)
    except InvalidTag:
        raise StorageError(
            "what a row holds does not open; `python -m serving verify` says which"
        ) from None
    except DBAPIError as error:
        raise StorageError(f"the record does not answer: {error.orig}") from error
    finally:
        database.close()


def verify_record(_: argparse.Namespace) -> int:
    """Whether the record is what was written; 1 where something is wrong."""
    with opened() as record:
        verdict = verify(record.database.reading, record.secrets, record.settings.checkpoints)
    print(verdict_text(verdict))
    return 1 if verdict.found else 0


def erase_persons(options: argparse.Namespace) -> int:
    """Destroy the key of an account's person, or of all whose time is over: nobody can read their
    rows any more.
    """
    check_retention(options.years, options.force, options.why)
    if options.expired == (options.account is not None) or (options.tenant is None) != (
        options.account is None
    ):
        raise StorageError("expected --tenant with --account, or --expired")
    why = options.why or (f"older than {options.years} years" if options.expired else "asked for")
    order = Order(options.by, why, datetime.datetime.now(datetime.UTC))
    with opened() as record:
        erased = 0
        for one in _erase(record, options, order):
            erased += 1
            print(f"erased  {one.data_subject}  rows {one.rows}")
        if erased:
            _seal(record)
            if not purge_free_pages(record.database):
                print(
                    "a reader held up the write-ahead log: run this again to write over it",
                    file=sys.stderr,
                )
    if options.account is not None and not erased:
        print("the record knows no such account of this tenant, or erased it before")
    elif not erased:
        print("nobody's time is over")
    return 0


def replay_decisions(options: argparse.Namespace) -> int:
    """Decide again what was decided, by the bundle that decided, and compare the bytes; 1 where any
    differs.
    """
    folders = stored_bundles() | {stated_digest(folder): folder for folder in options.bundle}
    with opened() as record:
        reader = Reader(record.database, record.secrets)
        if options.decision is None:
            decisions = reader.of_kind(("decision",), None, *period(options.since, options.until))
        else:
            found = reader.by_id(options.decision)
            if found is None or found.kind != "decision":
                raise StorageError(
                    "expected the id of a decision: the record has none of this name"
                )
            decisions = iter([found])
        done = replay(decisions, Bundles(folders))
    print(replay_text(done))
    return 1 if done.counts["different"] else 0


def export_decisions(options: argparse.Namespace) -> int:
    """Write a period's decisions as JSON lines; docs/service/audit_log.md explains each field."""
    with opened() as record:
        of = period(options.since, options.until)
        if options.tenant is not None and options.tenant not in (
            known := Reader(record.database, record.secrets).tenants()
        ):
            raise StorageError(
                f"expected a tenant of the record, one of {known}, got {options.tenant!r}"
            )
        every = export(record.database, record.secrets, *of, options.tenant, options.asked)
        lines = (line(one) for one in every)
        if options.out is None:
            for one in lines:
                print(one)
            return 0
        # Its owner's alone: with --asked it tells who it is.
        descriptor = os.open(options.out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            count = sum(1 for one in lines if file.write(one + "\n"))
    print(f"decisions {count}  {options.out}")
    return 0


def add_commands(commands: Any) -> None:
    """Add these commands to a parser's."""
    verifying = commands.add_parser(
        "verify", help=verify_record.__doc__, description=verify_record.__doc__
    )
    verifying.set_defaults(run=verify_record)

    erasing = commands.add_parser(
        "erase", help=erase_persons.__doc__, description=erase_persons.__doc__
    )
    erasing.add_argument("--tenant", help="whose account it is")
    erasing.add_argument("--account", help="the lender's name for it")
    erasing.add_argument(
        "--expired", action="store_true", help="all persons whose newest row is older than --years"
    )
    erasing.add_argument(
        "--by", required=True, metavar="NAME", help="who erases; kept in the record"
    )
    erasing.add_argument("--why", help="kept in the record, readable: nothing that tells who it is")
    erasing.add_argument(
        "--years",
        type=int,
        default=os.environ.get("CLEARLINE_RETENTION_YEARS", str(RETENTION_YEARS)),
        help="for which records are kept (default: CLEARLINE_RETENTION_YEARS, or %(default)s)",
    )
    erasing.add_argument(
        "--force", action="store_true", help="with fewer years than the law asks; needs --why"
    )
    erasing.set_defaults(run=erase_persons)

    replaying = commands.add_parser(
        "replay", help=replay_decisions.__doc__, description=replay_decisions.__doc__
    )
    _add_period(replaying)
    replaying.add_argument("--decision", metavar="ID", help="this one alone")
    replaying.add_argument(
        "--bundle",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="beside those stored; may be given again",
    )
    replaying.set_defaults(run=replay_decisions)

    exporting = commands.add_parser(
        "export", help=export_decisions.__doc__, description=export_decisions.__doc__
    )
    _add_period(exporting)
    exporting.add_argument("--tenant", help="of this one alone")
    exporting.add_argument(
        "--asked",
        action="store_true",
        help="with account and statements, for `python -m training monitor`",
    )
    exporting.add_argument("--out", type=Path, metavar="FILE", help="(default: stdout)")
    exporting.set_defaults(run=export_decisions)


def _day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a day such as 2026-11-26, got {text!r}"
        ) from None


def _add_period(parser: argparse.ArgumentParser) -> None:
    for name, meaning in (("--since", "first"), ("--until", "last")):
        parser.add_argument(name, type=_day, metavar="YYYY-MM-DD", help=f"the {meaning} day, UTC")


def _erase(record: Opened, options: argparse.Namespace, order: Order) -> Iterator[Erased]:
    if options.expired:
        yield from erase_expired(record.database, record.secrets, options.years, order)
        return
    found = erase_account(record.database, record.secrets, options.tenant, options.account, order)
    if found is not None:
        yield found


def _seal(record: Opened) -> None:
    """A checkpoint of what was just written: no service may be there to sign one."""
    with record.database.reading() as connection:
        seq, row_hash = chain_head(connection)
    now = datetime.datetime.now(datetime.UTC)
    checkpoints.append(record.settings.checkpoints, seq, row_hash, now, record.secrets.signer)
