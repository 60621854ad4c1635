"""The commands that read the audit log: verify, export, due; each takes its options."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from sqlalchemy.exc import DBAPIError

from features.console import refuse_options
from serving.audit_log import checkpoints
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.privacy.record_secrets import open_secrets
from serving.audit_log.reader import Reader
from serving.audit_log.rows import read_chain_head
from serving.audit_log.verify import VerificationReport, verify
from serving.decision.config.policy import read_policy
from serving.decision.policy.dates import local_date
from serving.operations.decide_again.replay import period
from serving.operations.export import ExportedDecision, export, line
from serving.operations.new_file import check_not_of_record, write_private
from serving.reviews.due import DueAccount, all_due
from serving.storage.bundles.store import newest_bundle
from serving.storage.database import COMMAND_SECONDS, Database, open_database
from serving.storage.errors import StorageError
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

    def sign_checkpoint(self) -> None:
        """Sign what a command appended, because no service may be running that would."""
        with self.database.reading() as connection:
            seq, row_hash = read_chain_head(connection)
        now = datetime.datetime.now(datetime.UTC)
        checkpoints.append(
            self.settings.checkpoints,
            seq,
            row_hash,
            now,
            self.secrets.signer,
        )


@contextmanager
def open_audit_log(
    settings: StorageSettings | None = None, create: bool = False
) -> Iterator[OpenAuditLog]:
    """Open the audit log of these settings, by default those of the environment.

    With ``create`` it is made if there is none.

    Raises:
        StorageError: there is none, or it cannot be read, or the secrets belong to another.
    """
    settings = settings or read_settings()
    if not create and settings.file is not None and not settings.file.exists():
        raise StorageError(
            f"there is no audit log at {settings.file}; CLEARLINE_RECORD says where it is"
        )
    database = open_database(settings, COMMAND_SECONDS)
    try:
        secrets = open_secrets(database, settings, create)
        yield OpenAuditLog(settings, secrets, database)
    except InvalidTag:
        raise StorageError(
            "a row could not be decrypted (wrong key or altered data); "
            "`python -m serving verify` says which"
        ) from None
    except DBAPIError as error:
        raise StorageError(f"the database cannot be read: {error.orig}") from error
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
        lines.append(
            f"skipped      {report.cut_short} incomplete line(s) of the checkpoints, "
            "as a power failure leaves them"
        )
    if report.not_adopted:
        lines.append(f"not adopted  {report.not_adopted} API key(s) of an earlier version")
    lines.append(f"findings     {report.count or 'none'}")
    for finding in report.findings:
        where = "" if finding.row is None else f"row {finding.row} "
        lines.append(f"  {where}{finding.text}")
    if report.count > len(report.findings):
        lines.append(f"  and {report.count - len(report.findings)} more")
    return "\n".join([*lines, f"not seen     {_unseen(report)}"])


def export_decisions(options: argparse.Namespace) -> int:
    """Write the decisions of a period as JSON lines; returns 1 if any content is left out."""
    if options.out is None:
        refuse_options(options, ("overwrite",), "expected --out too")
    since, until = period(options.since, options.until)
    erased = 0

    def lines(decisions: Iterable[ExportedDecision]) -> Iterator[str]:
        nonlocal erased
        for decision in decisions:
            erased += decision.erased
            yield line(decision)

    with open_audit_log() as log:
        if options.tenant is not None:
            check_tenant(log.reader, options.tenant)
        written = lines(export(log.reader, since, until, options.tenant, options.asked))
        if options.out is None:
            count = _print_lines(written)
        else:
            check_not_of_record(options.out, log.settings)
            count = write_private(options.out, written, options.overwrite)
            print(f"decisions {count}  {options.out if count else 'nothing was written'}")
    return _export_status(count, erased, options.allow_erased)


_DUE_HEADER = "look on     tenant  account  limit before the cut -> in force, CNY"


def list_due_accounts(options: argparse.Namespace) -> None:
    """Print the accounts to decide on again, by tenant, the soonest first.

    Raises:
        StorageError: there is no audit log, or it has no such tenant.
        serving.storage.bundles.store.NoStoredModel: no model is stored, whose policy says which
            day today is, and no day was given.
    """
    until = options.until or _today()
    count = 0
    with open_audit_log() as log:
        if options.tenant is not None:
            check_tenant(log.reader, options.tenant)
        if not options.json:
            print(_DUE_HEADER, file=sys.stderr)
        tenants = log.reader.tenants() if options.tenant is None else [options.tenant]
        for tenant in tenants:
            for account in all_due(log.reader, tenant, until):
                print(due_line(tenant, account, options.json))
                count += 1
    # Not on stdout, whose lines another program may read.
    print(f"due until {until}: {count} account(s)", file=sys.stderr)


def due_line(tenant: str, account: DueAccount, as_json: bool) -> str:
    """An account to decide on again as a line of text, or of JSON with the fields of the API."""
    prior = account.prior
    if as_json:
        fields = {
            "tenant": tenant,
            "due_id": account.due_id,
            "account_id": account.account_id,
            "decision_id": account.decision_id,
            "review_on": account.review_on.isoformat(),
            "limit_before": prior.limit_before,
            "limit_in_force": prior.limit_in_force,
            "suspended": prior.suspended,
            "under_review": account.under_review,
        }
        return json.dumps(fields, ensure_ascii=False)
    suspended = "  suspended" if prior.suspended else ""
    review = "  under review" if account.under_review else ""
    limits = f"{prior.limit_before:,.0f} -> {prior.limit_in_force:,.0f}"
    return f"{account.review_on}  {tenant}  {account.account_id}  {limits}{suspended}{review}"


def _today() -> datetime.date:
    """The day on the clock of the newest stored model's policy."""
    policy = read_policy((newest_bundle() / "policy.toml").read_text("utf-8"))
    return local_date(datetime.datetime.now(datetime.UTC), policy)


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


def _print_lines(lines: Iterator[str]) -> int:
    count = 0
    for one in lines:
        print(one)
        count += 1
    return count


def _export_status(count: int, erased: int, allow_erased: bool) -> int:
    """0 if everything was exported; otherwise 1, and what was left out is printed on stderr."""
    if not count:
        print("no decision was exported: the period and the tenant have none", file=sys.stderr)
        return 1
    if not erased:
        return 0
    print(
        f"left out: the content of {erased} of {count} decisions, because their customers were "
        "erased",
        file=sys.stderr,
    )
    return 0 if allow_erased else 1


def check_tenant(reader: Reader, tenant: str) -> None:
    """Raise StorageError if no row of the audit log is of this tenant."""
    known = reader.tenants()
    if tenant not in known:
        raise StorageError(f"expected a tenant of the audit log, one of {known}, got {tenant!r}")
