"""The options of ``python -m serving portfolio``; read without the libraries that decide."""

from __future__ import annotations

import argparse
import datetime
import os
from pathlib import Path
from typing import Any

from features.console import parse_line

_COMMAND = "serving.portfolio.command"
_START = "serving.portfolio.spread.processes"


def add_portfolio_commands(commands: Any) -> None:
    """Add the commands ``portfolio`` and ``portfolio-check``."""
    decide = "decide on every account of a portfolio, from Parquet to Parquet"
    portfolio = commands.add_parser("portfolio", help=decide, description=decide)
    portfolio.set_defaults(run=(_START, "decide_portfolio"))
    _add_places(portfolio)
    _add_contents(portfolio)
    _add_record(portfolio)
    compare = (
        "compare the decisions of a recorded run with the audit log; ends with 1 if any differ"
    )
    check = commands.add_parser("portfolio-check", help=compare, description=compare)
    check.set_defaults(run=(_COMMAND, "check_portfolio"))
    check.add_argument(
        "folder",
        type=Path,
        metavar="FOLDER",
        help="of a run that was recorded",
    )
    check.add_argument(
        "--account",
        metavar="ID",
        help="print the proof that this account plainly kept its limit, as JSON",
    )


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "statements",
        type=Path,
        metavar="STATEMENTS",
        help="a Parquet file, or a folder of them; all statements of an account in one file",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="a new folder for the decisions, or that of an interrupted run, which goes on",
    )
    parser.add_argument(
        "--bundle", type=Path, metavar="FOLDER", help="(default: the newest stored bundle)"
    )


def _add_contents(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--decided-at",
        type=_parse_time,
        metavar="TIME",
        help="with a time zone, such as 2026-11-28T09:00:00+08:00 (default: now)",
    )
    parser.add_argument(
        "--last-month",
        type=_parse_month,
        metavar="YYYY-MM",
        help="leave out later statements (default: take all)",
    )
    parser.add_argument(
        "--workers",
        type=_parse_count,
        metavar="N",
        help="processes of this machine that decide (default: one a core)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="let the workers of a Dask cluster decide: tcp://HOST:PORT or tls://HOST:PORT of its "
        "scheduler, or `local` for one of this machine with --workers processes",
    )
    parser.add_argument(
        "--all-answers",
        action="store_true",
        help="write the answer of the endpoint for accounts that plainly keep their limit too",
    )
    parser.add_argument(
        "--contributions",
        action="store_true",
        help="write the contribution of each feature of the model too",
    )


def _add_record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tenant",
        help="take this lender's earlier decisions from the audit log (default: there were none)",
    )
    parser.add_argument(
        "--record",
        action="store_true",
        help="with --tenant: store the decisions in the audit log, which puts them in force",
    )
    parser.add_argument(
        "--beyond-bounds",
        type=parse_line,
        metavar="WHY",
        help="with --record: exceed [run] of the policy, and record why (default: stop)",
    )
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="FOLDER",
        help="that of an earlier run, whose accounts and limits are shown beside these",
    )
    parser.add_argument(
        "--rejects",
        type=Path,
        metavar="FILE",
        help="list accounts with faults here and decide on the others (default: stop)",
    )


def count_workers(stated: int | None) -> int:
    """The processes of this machine that decide: as stated, or one a core."""
    return stated or os.cpu_count() or 1


def _parse_time(text: str) -> datetime.datetime:
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise argparse.ArgumentTypeError(
            f"expected a time with a zone, such as 2026-11-28T09:00:00+08:00, got {text!r}"
        )
    return time


def _parse_month(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(f"{text}-01")
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a month such as 2026-10, got {text!r}"
        ) from None


def _parse_count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected 1 or more processes, got {text!r}")
    return int(text)
