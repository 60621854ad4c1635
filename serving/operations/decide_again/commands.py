"""The commands that decide again; each takes its options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from features.console import refuse_options
from serving.audit_log.entry import Entry, Kind
from serving.audit_log.reader import Reader
from serving.decision.golden import load
from serving.operations.audit import OpenAuditLog, check_tenant, open_audit_log
from serving.operations.decide_again.backfill import Backfill, Compared
from serving.operations.decide_again.output import check_suffix, line, write_comparisons
from serving.operations.decide_again.replay import Bundles, period, replay, replay_text
from serving.operations.decide_again.shadow import compare_shadows
from serving.operations.decide_again.summary import Summary, summary_text
from serving.operations.new_file import check_not_of_record
from serving.storage.bundles.store import resolve, stated_digest, stored_bundles
from serving.storage.errors import StorageError


def replay_decisions(options: argparse.Namespace) -> int:
    """Print how many decisions come out the same; returns 1 if any differ or are left out."""
    days = period(options.since, options.until)
    if options.decision is not None and days != (None, None):
        raise StorageError("expected --decision, or --since and --until, got both")
    if options.decision is not None:
        expected = "expected none with --decision, which is answered and not the challenger's"
        refuse_options(options, ("shadow",), expected)
    folders = _bundle_folders(options.bundle)
    kinds: tuple[Kind, ...] = ("decision", "shadow") if options.shadow else ("decision",)
    with open_audit_log() as log:
        chosen = _chosen_decisions(log.reader, options.decision, days, kinds)
        done = replay(
            chosen,
            Bundles(folders),
            log.secrets.id_key,
            log.reader.by_id,
        )
    print(replay_text(done))
    if not done.counts:
        _say_that_there_was_none()
    return 0 if done.succeeded(options.allow_erased) else 1


def backfill_decisions(options: argparse.Namespace) -> int:
    """Compare the decisions of a period with those under another bundle, and print a summary.

    Returns 1 if there was none, or if any was left out or not attributed.
    """
    days = period(options.since, options.until)
    _check_out(options)
    folders = _bundle_folders(options.old)
    new = load(_find_bundle(options.bundle))
    with open_audit_log() as log:
        reader = log.reader
        _check_tenant_of(options, reader)
        backfill = Backfill(
            new=new,
            stored=Bundles(folders),
            id_key=log.secrets.id_key,
            find=reader.by_id,
            accounts=frozenset(options.account),
        )
        chosen = reader.of_kind(("decision",), options.tenant, *days)
        status = _report(backfill.compare_all(chosen), log, options)
    unknown = sorted(backfill.accounts - backfill.found)
    if unknown:
        text = f"expected a decision on each --account, found none on {', '.join(unknown)}"
        print(text, file=sys.stderr)
    return 1 if unknown else status


def compare_shadow_decisions(options: argparse.Namespace) -> int:
    """Compare the decisions of a period with those of the challenger that were recorded.

    Returns 1 if there was none, or if any was left out or not attributed.
    """
    days = period(options.since, options.until)
    _check_out(options)
    bundles = Bundles(_bundle_folders(options.bundle))
    with open_audit_log() as log:
        reader = log.reader
        _check_tenant_of(options, reader)
        chosen = reader.of_kind(("shadow",), options.tenant, *days)
        compared = compare_shadows(
            chosen,
            bundles,
            log.secrets.id_key,
            reader.by_id,
        )
        return _report(compared, log, options)


def _check_out(options: argparse.Namespace) -> None:
    if options.out is None:
        refuse_options(options, ("overwrite",), "expected --out too")
    else:
        check_suffix(options.out)


def _report(
    compared: Iterable[Compared],
    log: OpenAuditLog,
    options: argparse.Namespace,
) -> int:
    """Write the comparisons if a file is named, and print their summary; returns the exit code."""
    summary = Summary()

    def counted() -> Iterator[Compared]:
        for one in compared:
            summary.add(one)
            yield one

    if options.out is None:
        for _ in counted():
            pass  # counted on the way
    else:
        check_not_of_record(options.out, log.settings)
        lines = map(line, counted())
        write_comparisons(options.out, lines, options.overwrite)
    print(summary_text(summary))
    if not summary.counts:
        _say_that_there_was_none()
    return 0 if summary.is_whole(options.allow_erased) else 1


def _say_that_there_was_none() -> None:
    print("the audit log has no such decision, so nothing was compared", file=sys.stderr)


def _check_tenant_of(options: argparse.Namespace, reader: Reader) -> None:
    if options.tenant is not None:
        check_tenant(reader, options.tenant)


def _bundle_folders(named: Iterable[Path]) -> dict[str, Path]:
    """The folders of the stored bundles, and of those that are named, by digest."""
    folders = stored_bundles()
    for folder in named:
        # It replaces a stored bundle with the same digest.
        folders[stated_digest(folder)] = folder
    return folders


def _find_bundle(named: str) -> Path:
    """The folder of a bundle, from a path, or from the name of a stored one."""
    folder = Path(named)
    return folder if folder.is_dir() else resolve(named)


def _chosen_decisions(
    reader: Reader,
    decision_id: str | None,
    days: tuple[str | None, str | None],
    kinds: Sequence[Kind],
) -> Iterable[Entry]:
    if decision_id is None:
        return reader.of_kind(kinds, None, *days)
    found = reader.by_id(decision_id)
    if found is None or found.kind != "decision":
        raise StorageError(
            f"expected the id of a decision, got {decision_id!r}: there is no such decision"
        )
    return [found]
