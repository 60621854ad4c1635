"""The options of the commands that run the service, and that change what it serves."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from features.console import parse_line
from serving.operations.decide_again.options import add_command

HOST, PORT = "127.0.0.1", 3000
_MOST_DAYS = 36_500
_PACKAGE = "serving.operations.serve"


def add_serve_commands(commands: Any) -> None:
    """Add the commands ``run``, ``activate`` and ``deliver``."""
    _add_deliver(commands)
    run = add_command(
        commands,
        "run",
        (f"{_PACKAGE}.run", "run_service"),
        "run the service until it is stopped, with the model that was activated last, or else the "
        "newest stored one",
    )
    run.add_argument("--host", default=HOST, help="IP address (default: %(default)s)")
    run.add_argument("--port", type=int, default=PORT, help="(default: %(default)s)")

    activate = add_command(
        commands,
        "activate",
        (f"{_PACKAGE}.activate", "activate_bundle"),
        "let the running service decide with another stored model, without a restart; ends with 1 "
        "if a worker does not serve it yet, and with 2 if it is refused and the old one goes on",
    )
    activate.add_argument(
        "version",
        nargs="?",
        metavar="VERSION",
        help="of the stored model, or the beginning of its bundle's digest (default: the newest)",
    )
    activate.add_argument(
        "--by",
        type=_parse_name,
        default="operator",
        metavar="NAME",
        help="who activates; recorded in the audit log (default: %(default)s)",
    )
    activate.add_argument(
        "--wait",
        type=_parse_seconds,
        default=60.0,
        metavar="SECONDS",
        help="for the workers (default: %(default)g)",
    )


def _parse_name(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("expected the name of who activates, got a blank one")
    return parse_line(text)


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected 0 or more seconds, got {text!r}")
    return seconds


def _parse_days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not 0 <= days <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"expected 0 to {_MOST_DAYS} days, got {text!r}")
    return days


def _add_deliver(commands: Any) -> None:
    deliver = add_command(
        commands,
        "deliver",
        (f"{_PACKAGE}.deliver.command", "deliver_events"),
        "tell the lender's apps of decisions, reviews and notices, until it is stopped; "
        "docs/service/events.md describes the events and the file of the endpoints",
    )
    deliver.add_argument(
        "--endpoints",
        type=Path,
        metavar="FILE",
        help="TOML file (default: events.toml beside the secrets)",
    )
    deliver.add_argument(
        "--keep-days",
        type=_parse_days,
        default=30,
        metavar="DAYS",
        help="how long to keep what was delivered when (default: %(default)s)",
    )
    what = deliver.add_mutually_exclusive_group()
    what.add_argument(
        "--once",
        action="store_true",
        help="deliver what waits, try what fails once, and end; ends with 1 if some wait",
    )
    what.add_argument("--refused", action="store_true", help="list the events that were refused")
    what.add_argument(
        "--again", action="store_true", help="let the events that were refused wait again"
    )
    what.add_argument(
        "--forget", metavar="NAME", help="delete an endpoint, and all that waits for it"
    )
    what.add_argument("--new-secret", action="store_true", help="print a new secret for the file")
