"""A run over a portfolio: every partition decided, on all cores, once.

    find_partitions() -> decide_all(), in processes -> check_accounts() -> manifest

The manifest, ``_run.json``, is there from the beginning and says ``finished`` at the end.  The same
call on a folder with an unfinished run goes on with it: the result has the same bytes as that of a
run that nothing interrupted, however many processes decide, and in whichever order.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from serving.decision.bundle import Bundle
from serving.decision.golden import load
from serving.decision.policy.dates import local_date
from serving.portfolio.accounts import check_accounts
from serving.portfolio.errors import PortfolioError
from serving.portfolio.order import MANIFEST as MANIFEST
from serving.portfolio.order import Order
from serving.portfolio.partitions import Portfolio, find_partitions
from serving.portfolio.recorded.bounds import exceeded
from serving.portfolio.recorded.past import RecordedPast
from serving.portfolio.recorded.record import Recorder
from serving.portfolio.spread.hand_out import check_audit_log, decide_all
from serving.portfolio.spread.seal_ahead import seal_all
from serving.portfolio.totals import Totals
from serving.portfolio.worker import NOTES, Done, file_of_run, rejects_file, remove_unfinished
from serving.storage.timestamps import encode_time

_LOCK = "_lock"
Progress = Callable[[int, int, int], None]  # partitions done, partitions in all, accounts done
Report = Callable[[Totals], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What a run did; ``manifest`` is the content of ``_run.json``."""

    manifest: dict[str, Any]
    totals: Totals
    set_aside: int


def run(order: Order, progress: Progress | None = None, report: Report | None = None) -> Result:
    """Decide on every account of a portfolio, or go on with a run that was interrupted.

    ``progress`` is called after each partition, and ``report`` when all are decided: before the
    bounds of the policy are looked at, and before anything is recorded.

    Raises:
        PortfolioError: The statements cannot be read or are refused, an account is in two files, or
            the folder holds another run or a finished one.  What was decided is kept, and the same
            run goes on with it.  Or the run would be recorded and exceeds the policy's bounds.
        BundleError: The bundle is damaged.
        StorageError: There is no audit log, or it cannot be read or written.
    """
    # What can be refused without a folder is refused before there is one.
    portfolio = find_partitions(order.statements)
    _check_places(order)
    check_audit_log(order)
    bundle = load(order.bundle)
    if order.record is not None:
        # Here, where its fault has a sentence, before processes open it.
        with closing(RecordedPast(order.record, order.tenant)) as past:
            past.check_tenant()
    with _folder_of_run(order.decisions), _only_run(order.decisions):
        return _run(order, portfolio, bundle, progress, report)


def _run(
    order: Order,
    portfolio: Portfolio,
    bundle: Bundle,
    progress: Progress | None,
    report: Report | None,
) -> Result:
    partitions = portfolio.partitions
    manifest = _begin(order, bundle)
    # An unfinished run goes on with its own time.
    decided_at = datetime.datetime.fromisoformat(manifest["decided_at"])
    order = replace(order, decided_at=decided_at)
    found: dict[str, Done] = {}
    for done in decide_all(partitions, order, manifest["run"], bundle):
        found[done.name] = done
        if progress is not None:
            accounts = sum(one.totals.accounts for one in found.values())
            progress(len(found), len(partitions), accounts)
    remove_unfinished(order.decisions)
    in_order = [found[partition.name] for partition in partitions]
    check_accounts(in_order, order)
    _check_no_others(in_order, order)
    if order.rejects is not None:
        _collect_rejects(in_order, order.decisions, order.rejects)
    if report is not None:
        report(_totals_of(in_order))
    manifest |= {"left_out": portfolio.left_out}
    if not order.records:
        return _finish(manifest, in_order, {}, order.decisions)
    _check_bounds(in_order, order, bundle)
    today = local_date(decided_at, bundle.policy)
    recorded = _record_all(in_order, order, manifest["run"], today)
    return _finish(manifest, in_order, recorded, order.decisions)


def _check_no_others(found: Sequence[Done], order: Order) -> None:
    """Raise :class:`PortfolioError` for decisions on statements that are not there any more.

    A reader of the folder would count their accounts, some of them twice.
    """
    expected = {name for done in found for name in done.decisions}
    files = [file.relative_to(order.decisions) for file in order.decisions.rglob("*.parquet")]
    present = {file.as_posix() for file in files if file.parts[0] != NOTES}
    others = sorted(present - expected)
    if others:
        raise PortfolioError(
            f"{order.decisions}: {others[0]} and {len(others) - 1} more have decisions on "
            f"statements that are not in {order.statements} any more; remove them, or name a new "
            "folder, and run the same command again"
        )


def _check_places(order: Order) -> None:
    """Raise :class:`PortfolioError` if what is written would be among what is read, or replace it.

    An unfinished run has listed its rejects perhaps; a new one writes a new file.
    """
    if order.decisions.exists() and not order.decisions.is_dir():
        raise PortfolioError(f"{order.decisions}: expected a folder for the decisions, got a file")
    statements, decisions = order.statements.resolve(), order.decisions.resolve()
    if decisions.is_relative_to(statements):
        raise PortfolioError(
            f"{order.decisions}: expected a folder outside the statements, {order.statements}"
        )
    if order.rejects is None:
        return
    if not order.rejects.parent.is_dir():
        raise PortfolioError(f"{order.rejects}: expected a file in a folder that exists")
    if order.rejects.exists() and not (order.decisions / MANIFEST).exists():
        raise PortfolioError(f"{order.rejects} exists already: expected a new file")


def totals_in(folder: Path) -> Totals:
    """The totals of the finished run in a folder.

    Raises:
        PortfolioError: There is none.
    """
    place = folder / MANIFEST
    manifest = json.loads(place.read_text("utf-8")) if place.exists() else {}
    if manifest.get("state") != "finished":
        raise PortfolioError(f"{folder}: expected the folder of a finished run")
    return Totals.of_rows(manifest["totals"])


@contextmanager
def _folder_of_run(folder: Path) -> Iterator[None]:
    """Make the folder if it is not there; without a run in it, what was made is removed again.

    Raises:
        PortfolioError: It has files, and no run.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        strange = any(file.name != _LOCK for file in folder.iterdir())
        if strange and not (folder / MANIFEST).exists():
            raise PortfolioError(f"{folder}: expected a new folder, or that of a run")
        yield
    finally:
        # The deepest first. One that has a file, of this run or of another process, stays.
        with suppress(OSError):
            for one in missing:
                one.rmdir()


@contextmanager
def _only_run(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; its file is removed if no run has begun.

    Raises:
        PortfolioError: Another process decides into the same folder.
    """
    place = folder / _LOCK
    was_there = place.exists()
    with place.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PortfolioError(f"{folder}: another process runs here") from None
        # A process whose start was refused has perhaps removed the file since it was opened here.
        if not os.fstat(file.fileno()).st_nlink:
            raise PortfolioError(f"{folder}: another process runs here")
        try:
            yield
        finally:
            if not (was_there or (folder / MANIFEST).exists()):
                place.unlink(missing_ok=True)


def _begin(order: Order, bundle: Bundle) -> dict[str, Any]:
    """The manifest of a new run, written; or that of the unfinished run in the folder."""
    place = order.decisions / MANIFEST
    if not place.exists():
        decided_at = order.decided_at or datetime.datetime.now(datetime.UTC)
        manifest = _describe(order, bundle, decided_at)
        if order.records:
            own = replace(order, decided_at=decided_at)
            with closing(Recorder(own, manifest["run"])) as recorder:
                recorder.check_new()
        _write(place, manifest)
        return manifest
    stored: dict[str, Any] = json.loads(place.read_text("utf-8"))
    # Earlier versions wrote a space after the name of a model without a version.
    stored["model"] = stored["model"].strip()
    if stored["state"] == "finished":
        raise PortfolioError(f"{order.decisions}: holds a finished run; expected a new folder")
    decided_at = order.decided_at or datetime.datetime.fromisoformat(stored["decided_at"])
    manifest = _describe(order, bundle, decided_at)
    differing = sorted(name for name in manifest if manifest[name] != stored[name])
    if differing:
        raise PortfolioError(
            f"{order.decisions}: holds an unfinished run with other {', '.join(differing)}; "
            "expected the same, or a new folder"
        )
    return manifest


def _describe(order: Order, bundle: Bundle, decided_at: datetime.datetime) -> dict[str, Any]:
    """What decides the bytes of a run, and its id, which is a digest of that."""
    provenance = bundle.provenance
    described: dict[str, Any] = {
        "decided_at": encode_time(decided_at),
        "last_month": None if order.last_month is None else f"{order.last_month:%Y-%m}",
        "model": f"{provenance.name} {provenance.version}",
        "bundle": bundle.digest,
        "policy": bundle.policy.version,
        "all_answers": order.with_all_answers,
        "contributions": list(bundle.features) if order.with_contributions else None,
        "sets_aside": order.rejects is not None,
        "tenant": None if order.record is None else order.tenant,
        "records": order.records,
    }
    text = json.dumps(described, sort_keys=True)
    run_id = hashlib.sha256(text.encode()).hexdigest()[:16]
    # After the id, of which the space behind a name without a version is a part: a run of an
    # earlier version goes on, and its rows in the audit log are found.
    described["model"] = described["model"].strip()
    return {"run": run_id, "state": "unfinished"} | described


def _check_bounds(found: Sequence[Done], order: Order, bundle: Bundle) -> None:
    """Raise :class:`PortfolioError` if the run exceeds a bound of the policy."""
    beyond = list(exceeded(_totals_of(found), bundle.policy.run))
    if beyond and order.beyond_bounds is None:
        raise PortfolioError(
            "nothing was recorded, because the run exceeds [run] of the policy: "
            + "; ".join(beyond)
            + ". The decisions are written; --beyond-bounds WHY records them all the same"
        )


def _totals_of(found: Sequence[Done]) -> Totals:
    totals = Totals()
    for done in found:
        totals = totals.plus(done.totals)
    return totals


def _record_all(
    found: Sequence[Done],
    order: Order,
    run_id: str,
    today: datetime.date,
) -> dict[str, Any]:
    """Store all decisions; what the manifest says of that."""
    with closing(Recorder(order, run_id)) as recorder:
        parts = recorder.find_recorded(found)
        rest = [done for done in found if done.name not in parts]
        for done, batches in seal_all(rest, order):
            parts[done.name] = recorder.record(done, batches)
        return {
            "recorded": sum(part.decisions for part in parts.values()),
            "overtaken": sum(part.overtaken for part in parts.values()),
            "still_due": recorder.count_due(today),
        }


def _collect_rejects(found: Sequence[Done], folder: Path, rejects: Path) -> None:
    """Write the faults of all accounts that were set aside; a header alone if there are none."""
    files = [rejects_file(done.name, folder) for done in found if done.set_aside]
    # As text: an account 007 would become the number 7.
    tables = [pl.read_csv(file, infer_schema=False) for file in files]
    none = pl.DataFrame(schema=dict.fromkeys(("account_id", "month", "rule"), pl.String))
    with file_of_run(rejects) as file:
        pl.concat([none, *tables]).write_csv(file)


def _finish(
    manifest: dict[str, Any],
    found: Sequence[Done],
    recorded: dict[str, Any],
    folder: Path,
) -> Result:
    totals = _totals_of(found)
    set_aside = sum(done.set_aside for done in found)
    finished = (
        manifest
        | recorded
        | {
            "state": "finished",
            "accounts": totals.accounts,
            "set_aside": set_aside,
            "totals": totals.rows(),
            "partitions": [
                {"name": done.name, "statements": done.statements, "decisions": done.decisions}
                for done in found
            ],
        }
    )
    _write(folder / MANIFEST, finished)
    return Result(finished, totals, set_aside)


def _write(place: Path, manifest: dict[str, Any]) -> None:
    with file_of_run(place) as file:
        file.write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
