"""The options of the commands that run the service, and that change what it serves."""

from __future__ import annotations

import argparse
import math
from typing import Any

from serving.operations.decide_again.options import add_command

HOST, PORT = "127.0.0.1", 3000
_PACKAGE = "serving.operations.serve"


def add_serve_commands(commands: Any) -> None:
    """Add the commands ``run`` and ``activate``."""
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
    return text


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected 0 or more seconds, got {text!r}")
    return seconds
