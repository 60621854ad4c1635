"""The command that decides a whole portfolio, from Parquet to Parquet."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from serving.portfolio.order import Order
from serving.portfolio.run import MANIFEST, Result, run
from serving.storage.models import newest_bundle
from serving.storage.settings import read_settings

_SECONDS_BETWEEN_LINES = 2.0


def decide_portfolio(options: argparse.Namespace) -> None:
    """Decide on every account of a portfolio, and print what was decided."""
    order = Order(
        statements=options.statements,
        decisions=options.out,
        bundle=options.bundle or newest_bundle(),
        decided_at=options.decided_at,
        last_month=options.last_month,
        workers=options.workers,
        with_all_answers=options.all_answers,
        with_contributions=options.contributions,
        rejects=options.rejects,
        record=None if options.tenant is None else read_settings(),
        tenant=options.tenant or "",
    )
    result = run(order, _progress(time.monotonic()))
    print(result_text(result))
    if result.set_aside:
        print(f"set aside  {result.set_aside:,} accounts with faults: {options.rejects}")
    print(f"decisions  {options.out}; {MANIFEST} has the digests of all files")
    print("nothing was recorded, and nothing is in force by this")


def result_text(result: Result) -> str:
    """What was decided, by product and action, with the limits in CNY.

    >>> totals = Totals.of_rows(
    ...     [
    ...         {
    ...             "product": "pay_later",
    ...             "action": "reduce",
    ...             "accounts": 2,
    ...             "limit_before": 30000.0,
    ...             "limit_after": 18000.0,
    ...             "proposed": 0.0,
    ...         }
    ...     ]
    ... )
    >>> print(result_text(Result({}, totals, 0)))
    product    action   accounts       limits before        limits after       proposed
    pay_later  reduce          2              30,000              18,000              -
    """
    titles = f"{'limits before':>20}{'limits after':>20}{'proposed':>15}"
    lines = [f"{'product':<11}{'action':<8}{'accounts':>9}{titles}"]
    for total in result.totals:
        proposed = f"{total.proposed:,.0f}" if total.action == "review" else "-"
        lines.append(
            f"{total.product:<11}{total.action:<8}{total.accounts:>9,}"
            f"{total.limit_before:>20,.0f}{total.limit_after:>20,.0f}{proposed:>15}"
        )
    return "\n".join(lines)


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
