"""The options of the commands that run the service, and that change what it serves."""

from __future__ import annotations

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
        default="operator",
        metavar="NAME",
        help="who activates; recorded in the audit log (default: %(default)s)",
    )
    activate.add_argument(
        "--wait",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="for the workers (default: %(default)g)",
    )
