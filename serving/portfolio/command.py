"""The command that decides a whole portfolio, from Parquet to Parquet."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from collections.abc import Callable, Sequence

from serving.portfolio.errors import PortfolioError
from serving.portfolio.options import count_workers
from serving.portfolio.order import Order
from serving.portfolio.recorded.merkle import proves
from serving.portfolio.recorded.proof import KeepProof, check_run, prove_keep
from serving.portfolio.run import MANIFEST, Result, run, totals_in
from serving.portfolio.spread.connect import LOCAL
from serving.portfolio.totals import Total, Totals
from serving.storage.bundles.store import newest_bundle
from serving.storage.settings import read_settings

_SECONDS_BETWEEN_LINES = 2.0


def decide_portfolio(options: argparse.Namespace) -> None:
    """Decide on every account of a portfolio, and print what was decided."""
    if options.record and options.tenant is None:
        raise PortfolioError("--record: expected --tenant too, the lender whose accounts these are")
    if options.beyond_bounds is not None and not options.record:
        raise PortfolioError("--beyond-bounds: expected --record too; a trial has no bounds")
    if options.workers is not None and options.scheduler not in (None, LOCAL):
        raise PortfolioError("--workers: expected none with --scheduler, whose workers decide")
    _check_clock(options)
    order = Order(
        statements=options.statements,
        decisions=options.out,
        bundle=options.bundle or newest_bundle(),
        decided_at=options.decided_at,
        last_month=options.last_month,
        workers=count_workers(options.workers),
        scheduler=options.scheduler,
        with_all_answers=options.all_answers,
        with_contributions=options.contributions,
        rejects=options.rejects,
        record=None if options.tenant is None else read_settings(),
        tenant=options.tenant or "",
        records=options.record,
        beyond_bounds=options.beyond_bounds,
    )
    before = None if options.beside is None else totals_in(options.beside)
    result = run(
        order,
        _progress(time.monotonic()),
        lambda totals: print(totals_text(totals, before)),
    )
    if result.set_aside:
        print(f"set aside  {result.set_aside:,} accounts with faults: {options.rejects}")
    left_out = result.manifest["left_out"]
    if left_out:
        print(f"left out   {_few(left_out)}, as *.parquet is expected")
    if not result.totals.accounts:
        because = _why_none(result, options.last_month)
        print(f"no account was decided: {because}", file=sys.stderr)
    print(f"decisions  {options.out}; {MANIFEST} has the digests of all files")
    print(_in_force_text(result))


def _why_none(result: Result, last_month: datetime.date | None) -> str:
    if result.set_aside:
        return "all accounts have faults"
    if last_month is not None:
        return f"no statement is of {last_month:%Y-%m} or before (--last-month)"
    return "the files have no statement"


def _few(names: Sequence[str], shown: int = 3) -> str:
    """The first names, and the number of the others.

    >>> _few(["a.csv", "b.csv", "c.csv", "d.csv", "e.csv"])
    'a.csv, b.csv, c.csv and 2 more'
    """
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def check_portfolio(options: argparse.Namespace) -> int:
    """Print what in the folder of a run is not as the audit log has it; returns 1 if anything is.

    With an account, print the proof that it plainly kept its limit.
    """
    settings = read_settings()
    if options.account is not None:
        print(proof_text(prove_keep(options.folder, settings, options.account)))
        return 0
    findings = list(check_run(options.folder, settings))
    for finding in findings:
        print(finding)
    print(f"findings  {len(findings) or 'none'}")
    return 1 if findings else 0


def proof_text(proof: KeepProof) -> str:
    """The proof as one JSON object; bytes are hexadecimal."""
    return json.dumps(
        {
            "row": proof.row.hex(),
            "place": proof.place,
            "count": proof.count,
            "path": [one.hex() for one in proof.path],
            "root": proof.root.hex(),
            "holds": proves(proof.row, proof.place, proof.count, proof.path, proof.root),
        }
    )


def _check_clock(options: argparse.Namespace) -> None:
    """Decisions that are put in force are of now: a wrong clock would set wrong dates."""
    now = datetime.datetime.now(datetime.UTC)
    if options.record and options.decided_at is not None and options.decided_at > now:
        raise PortfolioError(
            f"--decided-at: expected a time that has come, got {options.decided_at.isoformat()}"
        )


def _in_force_text(result: Result) -> str:
    if not result.manifest["records"]:
        return "nothing was recorded, and nothing is in force by this"
    text = f"recorded   {result.manifest['recorded']:,} decisions, which are in force"
    overtaken, due = result.manifest["overtaken"], result.manifest["still_due"]
    if overtaken:
        text += f"; not on {overtaken:,} accounts that the service has decided on since"
    if due:
        text += f"\nstill due  {due:,} accounts that were not in it: python -m serving due"
    return text


def totals_text(totals: Totals, before: Totals | None = None) -> str:
    """What was decided, by product and action, with the limits in CNY; beside an earlier run.

    >>> cuts = Totals([Total("pay_later", "reduce", 2, 30000.0, 18000.0, 0.0)])
    >>> print(totals_text(cuts))
    product    action   accounts       limits before        limits after       proposed
    pay_later  reduce          2              30,000              18,000              -
    """
    titles = f"{'limits before':>20}{'limits after':>20}{'proposed':>15}"
    earlier = "" if before is None else f"{'accounts then':>15}{'limits after then':>20}"
    lines = [f"{'product':<11}{'action':<8}{'accounts':>9}{titles}{earlier}"]
    told = list(totals)
    if before is not None:
        # What happened then and not now has a line too.
        told = [totals.of(*key) for key in sorted({*totals.keys(), *before.keys()})]
    for total in told:
        line = _total_text(total)
        if before is not None:
            then = before.of(total.product, total.action)
            line += f"{then.accounts:>15,}{then.limit_after:>20,.0f}"
        lines.append(line)
    return "\n".join(lines)


def _total_text(total: Total) -> str:
    proposed = f"{total.proposed:,.0f}" if total.action == "review" else "-"
    limits = f"{total.limit_before:>20,.0f}{total.limit_after:>20,.0f}{proposed:>15}"
    return f"{total.product:<11}{total.action:<8}{total.accounts:>9,}{limits}"


def _progress(began: float) -> Callable[[int, int, int], None]:
    """Prints the accounts done, their rate and the time left, every few seconds, to stderr."""
    shown = began

    def show(done: int, of: int, accounts: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < _SECONDS_BETWEEN_LINES and done < of:
            return
        shown = now
        seconds = now - began
        left = seconds / done * (of - done)
        rate = accounts / seconds
        line = f"{done}/{of} files, {accounts:,} accounts, {rate:,.0f} a second, {left:.0f} s left"
        print(line, file=sys.stderr)

    return show
