"""The command that erases data subjects: of one account, or all past the retention period."""

from __future__ import annotations

import argparse
import datetime
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from features.console import refuse_options
from serving.audit_log.privacy.erasure import (
    RETENTION_YEARS,
    Erased,
    ErasureOrder,
    Expired,
    Held,
    check_retention,
    count_unmarked_erasures,
    erase_account,
    erase_expired,
    erased_at,
    find_expired,
    find_held,
    newest_record,
    truncate_wal,
)
from serving.audit_log.privacy.holds import LAWS_VARIABLE, Hold, parse_laws
from serving.audit_log.privacy.near_accounts import find_near
from serving.operations.audit import OpenAuditLog, open_audit_log
from serving.operations.errors import NothingDone
from serving.storage.errors import StorageError

RETENTION_VARIABLE = "CLEARLINE_RETENTION_YEARS"
MAX_SILENCE = datetime.timedelta(days=1)  # between the newest row and the clock
SECONDS_FOR_READERS = 5.0
MAX_HELD = 20  # data subjects with a hold that are named
_OF_EXPIRED = ("years", "force", "max_share", "trust_clock", "yes")  # options of --expired alone
_HOW_TO_ERASE_ALL_THE_SAME = 'to erase all the same, say why with --hold-over "..."'


def erase_data_subjects(options: argparse.Namespace) -> int:
    """Delete the key of an account's data subject, or of all past the retention period.

    Returns 1 if a deleted key may still be in the write-ahead log, or if a data subject past the
    retention period has a hold and is left out.
    """
    if options.account is not None and not options.expired:
        expected = "expected --expired too; an account is erased alone, and whatever its age"
        refuse_options(options, _OF_EXPIRED, expected)
    years = _retention_years() if options.years is None else options.years
    check_retention(years, options.force, options.why)
    _check_options(options)
    why = options.why or (f"older than {years} years" if options.expired else "asked for")
    order = ErasureOrder(
        by=options.by,
        why=why,
        at=datetime.datetime.now(datetime.UTC),
        hold_over=options.hold_over,
        laws=parse_laws(os.environ.get(LAWS_VARIABLE)),
    )
    with open_audit_log() as log:
        if options.expired:
            return _erase_expired(log, options, years, order)
        return _erase_account(log, options.tenant, options.account, order)


def expired_text(expired: Expired, years: int) -> str:
    """What would be erased, in words.

    >>> day = datetime.datetime(2022, 3, 1, tzinfo=datetime.UTC)
    >>> print(expired_text(Expired(2, 40, 9, day, day), 3))
    expired  2 of 40 data subjects (5.0 %), 9 rows
    newest row of each  from 2022-03-01 to 2022-03-01, more than 3 years ago
    """
    lines = [
        f"expired  {expired.subjects} of {expired.all_subjects} data subjects "
        f"({expired.share * 100:.1f} %), {expired.rows} rows"
    ]
    if expired.oldest is not None and expired.newest is not None:
        lines.append(
            f"newest row of each  from {expired.oldest:%Y-%m-%d} to {expired.newest:%Y-%m-%d}, "
            f"more than {years} years ago"
        )
    return "\n".join(lines)


def held_text(held: Mapping[str, Sequence[Hold]]) -> str:
    """Which data subjects past the retention period are not erased, and why, in words.

    >>> hold = Hold("unsent_notice", "01a2", datetime.date(2022, 3, 4))
    >>> print(held_text({"7f3c": [hold]}))
    held  1 of them, not erased
    7f3c  the notice of 01a2 is not sent yet, it is due by 2022-03-04
    """
    lines = [f"held  {len(held)} of them, not erased"]
    for subject, holds in list(held.items())[:MAX_HELD]:
        because = "; ".join(str(hold) for hold in holds)
        lines.append(f"{subject}  {because}")
    if len(held) > MAX_HELD:
        lines.append(f"and {len(held) - MAX_HELD} more")
    return "\n".join(lines)


def _retention_years() -> int:
    text = os.environ.get(RETENTION_VARIABLE)
    if text is None:
        return RETENTION_YEARS
    try:
        return int(text)
    except ValueError:
        raise StorageError(
            f"{RETENTION_VARIABLE}: expected a whole number of years, got {text!r}"
        ) from None


def _check_options(options: argparse.Namespace) -> None:
    has_account, has_tenant = options.account is not None, options.tenant is not None
    if options.expired == has_account or has_tenant != has_account:
        raise StorageError("expected --tenant with --account, or --expired")
    if not options.by.strip():
        raise NothingDone("--by: expected the name of who erases, got a blank one")
    if options.hold_over is not None and not options.hold_over.strip():
        raise NothingDone("--hold-over: expected why a hold does not count, got a blank text")
    if not 0 < options.max_share <= 1:
        raise StorageError(f"--max-share: expected above 0, at most 1, got {options.max_share:g}")
    if not has_account:
        return
    for option, text in (("--why", options.why), ("--hold-over", options.hold_over)):
        if text and _names(text, options.account):
            raise StorageError(
                f"{option}: expected a reason without the account's name: it stays readable for "
                "ever"
            )


def _names(text: str, account: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(account)}(?!\w)", text) is not None


def _erase_account(log: OpenAuditLog, tenant: str, account: str, order: ErasureOrder) -> int:
    def erase_all() -> Iterator[Erased]:
        while (
            one := erase_account(
                log.database,
                log.secrets,
                tenant,
                account,
                order,
            )
        ) is not None:
            yield one

    try:
        count, status = _print_erased(log, erase_all())
    except Held as held:
        raise NothingDone(
            f"{account!r} of {tenant!r} was not erased: {held}; {_HOW_TO_ERASE_ALL_THE_SAME}"
        ) from None
    if count:
        return status
    raise NothingDone(_not_found_text(log, tenant, account))


def _erase_expired(
    log: OpenAuditLog, options: argparse.Namespace, years: int, order: ErasureOrder
) -> int:
    if not options.trust_clock:
        _check_clock(log, order.at)
    expired = find_expired(log.database, years, order.at)
    print(expired_text(expired, years))
    if not expired.subjects:
        print("no records are past their retention period")
        return 0
    held = {}
    if order.hold_over is None:
        held = find_held(log.database, log.secrets, years, order)
    if held:
        print(held_text(held))
    if expired.share > options.max_share:
        raise NothingDone(
            f"nothing was erased: expected at most {options.max_share:.1%} of the data subjects, "
            f"got {expired.share:.1%}; if that is right, allow it with --max-share"
        )
    if not options.yes:
        raise NothingDone("nothing was erased: add --yes to erase what is listed")
    _, status = _print_erased(
        log,
        erase_expired(
            log.database,
            log.secrets,
            years,
            order,
        ),
    )
    if held:
        print(f"not erased: what is held; {_HOW_TO_ERASE_ALL_THE_SAME}", file=sys.stderr)
        return 1
    return status


def _check_clock(log: OpenAuditLog, now: datetime.datetime) -> None:
    newest = newest_record(log.database)
    if newest is None or now - newest <= MAX_SILENCE:
        return
    raise NothingDone(
        f"nothing was erased: this machine's clock says {now:%Y-%m-%d %H:%M} UTC, and the newest "
        f"row of the service is of {newest:%Y-%m-%d %H:%M}: a clock that is ahead would erase "
        "customers too early; if the clock is right and the service was idle, add --trust-clock"
    )


def _print_erased(log: OpenAuditLog, erasures: Iterator[Erased]) -> tuple[int, int]:
    """Print each erasure and finish; returns their number, and 1 if a key may still be on disk."""
    count = 0
    try:
        for erased in erasures:
            count += 1
            print(f"erased  {erased.data_subject}  rows {erased.rows}")
    finally:
        # Also after an error: what was erased until then is durable.
        if count:
            log.sign_checkpoint()
        is_overwritten = _overwrite_wal(log)
    return count, 0 if is_overwritten else 1


def _overwrite_wal(log: OpenAuditLog) -> bool:
    """Overwrite deleted keys in the write-ahead log; waits some seconds for readers."""
    until = time.monotonic() + SECONDS_FOR_READERS
    while not truncate_wal(log.database):
        if time.monotonic() > until:
            print(
                "a reader holds up the write-ahead log, which may still contain deleted keys: run "
                "this again, or stop the service",
                file=sys.stderr,
            )
            return False
        time.sleep(0.1)
    return True


def _not_found_text(log: OpenAuditLog, tenant: str, account: str) -> str:
    at = erased_at(log.database, log.secrets, tenant, account)
    if at is not None:
        return f"nothing was erased: this account of {tenant!r} was erased before, on {at:%Y-%m-%d}"
    text = f"nothing was erased: {tenant!r} never had an account {account!r}"
    if unmarked := count_unmarked_erasures(log.database, tenant):
        text += (
            f", unless it is one of the {unmarked} that an earlier version erased, which did not "
            "record the account"
        )
    tenants = {tenant, *log.reader.tenants()}
    near = find_near(log.database, log.secrets, sorted(tenants), account)
    if near:
        named = ", ".join(f"--tenant {one} --account {name}" for one, name in near)
        text += f"; near: {named}"
    return text
