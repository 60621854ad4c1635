"""The command ``deliver``: deliver events, list what waits, send again what was refused."""

from __future__ import annotations

import argparse
import asyncio
import base64
import datetime
import fcntl
import os
import secrets
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import sqlalchemy as sa

from features.console import refuse_options
from serving.operations.serve.deliver.deliverer import Deliverer, deliver
from serving.operations.serve.deliver.endpoints import SECRET_PREFIX, Endpoint, read_endpoints
from serving.operations.serve.deliver.outbox import (
    Outbox,
    check_tenants,
    forget,
    prune,
    register,
)
from serving.operations.serve.deliver.sender import Sender
from serving.storage.database import Database, open_database
from serving.storage.errors import StorageError
from serving.storage.settings import read_settings

_PG_LOCK = 7_265_126_012  # key of the deliverer among PostgreSQL's advisory locks
_SECONDS_BETWEEN_CHECKS = 5.0
_CHECKS_BETWEEN_PRUNINGS = 120
_SECRET_BYTES = 32
_ANOTHER = "another process delivers the events of this audit log: stop it first"


def deliver_events(options: argparse.Namespace) -> int:
    """Deliver events until a signal ends it, or once; returns 1 if some wait then."""
    _check_options(options)
    if options.new_secret:
        print(SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode())
        return 0
    settings = read_settings()
    file = options.endpoints or settings.secrets.with_name("events.toml")
    if settings.file is not None and not settings.file.exists():
        raise StorageError(
            f"there is no audit log at {settings.file}; CLEARLINE_RECORD says where it is"
        )
    with closing(open_database(settings)) as database:
        if options.refused:
            return _print_refused(database, read_endpoints(file))
        with only_deliverer(database) as lock:
            if options.forget is not None:
                forget(database, options.forget)
                print(f"forgot  {options.forget}")
                return 0
            endpoints = read_endpoints(file)
            _register(database, endpoints)
            if options.again:
                return _send_again(database, endpoints)
            return asyncio.run(_run(database, endpoints, lock, options))


def _check_options(options: argparse.Namespace) -> None:
    """Refuse options that nothing of what the command is asked to do would use."""
    if options.new_secret or options.forget is not None:
        used = "--new-secret" if options.new_secret else "--forget"
        refuse_options(options, ("endpoints", "keep_days"), f"expected none with {used}")
    if options.refused or options.again:
        used = "--refused" if options.refused else "--again"
        refuse_options(options, ("keep_days",), f"expected none with {used}")


class DelivererLock:
    """That this process alone delivers the events of a database."""

    def __init__(self, held: sa.Connection | None) -> None:
        self._held = held

    def check(self) -> None:
        """Raise StorageError if the lock was lost with its connection to PostgreSQL."""
        if self._held is None:
            return
        try:
            self._held.exec_driver_sql("SELECT 1")
        except sa.exc.SQLAlchemyError as error:
            raise StorageError(
                "the connection that held the deliverer's lock is gone: start it again"
            ) from error


@contextmanager
def only_deliverer(database: Database) -> Iterator[DelivererLock]:
    """Hold the deliverer's lock: two at a time would send an account's events in disorder.

    Raises:
        StorageError: Another process holds it.
    """
    held = _lock_file(database) if database.kind == "sqlite" else _lock_server(database)
    with held as lock:
        yield lock


@contextmanager
def _lock_file(database: Database) -> Iterator[DelivererLock]:
    path = f"{database.url.database}.deliver.lock"
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(_ANOTHER) from None
        yield DelivererLock(None)
    finally:
        os.close(descriptor)


@contextmanager
def _lock_server(database: Database) -> Iterator[DelivererLock]:
    with database.engine.connect() as connection:
        # Without a transaction, which PostgreSQL ends if it is idle.
        held = connection.execution_options(isolation_level="AUTOCOMMIT")
        # Not back to the pool at the end: the lock is released with its connection.
        held.detach()
        if not held.scalar(sa.text(f"SELECT pg_try_advisory_lock({_PG_LOCK})")):
            raise StorageError(_ANOTHER)
        yield DelivererLock(held)


def _register(database: Database, endpoints: Sequence[Endpoint]) -> None:
    check_tenants(database, endpoints)
    for name in register(database, endpoints):
        print(f"new     {name}: it gets the events from now on", file=sys.stderr)


async def _run(
    database: Database,
    endpoints: Sequence[Endpoint],
    lock: DelivererLock,
    options: argparse.Namespace,
) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    kept = datetime.timedelta(days=options.keep_days)
    senders = [Sender(endpoint) for endpoint in endpoints]
    deliverers = [
        Deliverer(Outbox(database, endpoint), endpoint, sender.send)
        for endpoint, sender in zip(endpoints, senders, strict=True)
    ]

    async def keep_house() -> None:
        checks = 0
        while True:
            await asyncio.to_thread(lock.check)
            if checks % _CHECKS_BETWEEN_PRUNINGS == 0:
                before = datetime.datetime.now(datetime.UTC) - kept
                while await asyncio.to_thread(prune, database, before):
                    await asyncio.sleep(0.1)  # the service's writes go first
            checks += 1
            await asyncio.sleep(_SECONDS_BETWEEN_CHECKS)

    try:
        await deliver(deliverers, stopping, options.once, keep_house)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        for sender in senders:
            await sender.close()
    for endpoint, one in zip(endpoints, deliverers, strict=True):
        counts = f"delivered {one.delivered}  refused {one.refused}  waiting {one.waiting}"
        print(f"{endpoint.name}  {counts}")
    return 1 if options.once and any(one.waiting for one in deliverers) else 0


def _print_refused(database: Database, endpoints: Sequence[Endpoint]) -> int:
    count = 0
    for endpoint in endpoints:
        for one in Outbox(database, endpoint).refused():
            print(f"{one.at}  {endpoint.name}  {one.status}  {one.message.event_id}")
            count += 1
    print(f"refused: {count} event(s)", file=sys.stderr)
    return 0


def _send_again(database: Database, endpoints: Sequence[Endpoint]) -> int:
    for endpoint in endpoints:
        count = Outbox(database, endpoint).send_again()
        print(f"{endpoint.name}  {count} event(s) wait again")
    return 0
