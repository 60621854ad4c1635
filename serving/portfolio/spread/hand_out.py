"""Which process decides on which partition: this one, processes of this machine, or Dask workers.

Whoever decides writes whole files, and what comes back is the note of what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import closing
from dataclasses import replace

from serving.decision.bundle import Bundle
from serving.portfolio.errors import PortfolioError
from serving.portfolio.order import Order
from serving.portfolio.partitions import Partition, digest_of
from serving.portfolio.recorded.past import RecordedPast
from serving.portfolio.spread.connect import LOCAL, open_executor, result_of
from serving.portfolio.spread.partition_task import (
    Refusal,
    Task,
    decide_on_worker,
    decide_partition,
    key_digest,
)
from serving.portfolio.spread.processes import open_processes
from serving.portfolio.worker import Decider, Done


def decide_all(
    partitions: Sequence[Partition],
    order: Order,
    run_id: str,
    bundle: Bundle,
) -> Iterator[Done]:
    """What was decided in each partition, as each is done; ``bundle`` is that of the order.

    Raises:
        PortfolioError: A partition is refused; or a process that decides was killed, and no other
            could take its partition.
    """
    task = Task(order, run_id, bundle.digest)
    if order.scheduler is not None:
        yield from _decide_on_cluster(partitions, task, order.scheduler)
    elif order.workers == 1:
        with closing(Decider(order, run_id, bundle)) as decider:
            for partition in partitions:
                yield decider.decide(partition)
    else:
        yield from _decide_in_processes(partitions, task)


def check_audit_log(order: Order) -> None:
    """Raise :class:`PortfolioError` if other machines decide and the audit log is a file here."""
    if order.record is None or order.scheduler in (None, LOCAL):
        return
    if order.record.file is not None:
        raise PortfolioError(
            "--scheduler with --tenant: expected an audit log in PostgreSQL, got the file "
            f"{order.record.file}, which only processes of this machine may read"
        )


def _decide_in_processes(partitions: Sequence[Partition], task: Task) -> Iterator[Done]:
    with open_processes(task.order.workers) as pool:
        waiting = [pool.submit(decide_partition, task, partition) for partition in partitions]
        for done in as_completed(waiting):
            yield done.result()


def _decide_on_cluster(
    partitions: Sequence[Partition],
    task: Task,
    scheduler: str,
) -> Iterator[Done]:
    task = _for_workers(task, scheduler)
    seen_by_all = [replace(one, path=one.path.absolute()) for one in partitions]
    found = []
    with open_executor(scheduler, task.order.workers) as pool:
        waiting = [pool.submit(decide_on_worker, task, one) for one in seen_by_all]
        for future in as_completed(waiting):
            done = result_of(future)
            if isinstance(done, Refusal):
                raise PortfolioError(done.message)
            found.append(done)
            yield done
    _check_written(found, task.order)


def _for_workers(task: Task, scheduler: str) -> Task:
    """The task with paths that mean the same in any folder, and without a database's address."""
    order = task.order
    order = replace(
        order,
        statements=order.statements.absolute(),
        decisions=order.decisions.absolute(),
        bundle=order.bundle.absolute(),
    )
    if order.record is None or scheduler == LOCAL:
        return replace(task, order=order)
    with closing(RecordedPast(order.record, order.tenant)) as past:
        digest = key_digest(past.id_key)
    return replace(task, order=replace(order, record=None), audit_log=digest)


def _check_written(found: Sequence[Done], order: Order) -> None:
    """Raise :class:`PortfolioError` if a file is not what the worker that wrote it has noted.

    A worker that lost its connection goes on with what it began, and may write after another one
    that decides on changed statements.
    """
    for done in found:
        for name, digest in done.decisions.items():
            file = order.decisions / name
            if not file.exists():
                raise PortfolioError(
                    f"{file}: expected the decisions that a worker has written, found no such file"
                )
            if digest_of(file) != digest:
                raise PortfolioError(
                    f"{file}: expected the decisions that a worker has noted, got others; "
                    f"remove {done.name}.json in _partitions/, and run the same command again"
                )
