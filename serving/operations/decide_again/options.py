"""The options of replay and backfill, and those that other commands of decisions have too.

It imports no library: the parser of all commands is made before one of them runs.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

_AGAIN = "serving.operations.decide_again.commands"


def add_command(
    commands: Any, name: str, run: tuple[str, str], description: str
) -> argparse.ArgumentParser:
    """Add a command; ``run`` is the module and the name of its function.

    Its options have the parser too, which knows their defaults.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=description, description=description
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_replay(commands: Any) -> None:
    """Add the command replay."""
    replay = add_command(
        commands,
        "replay",
        (_AGAIN, "replay_decisions"),
        "decide again with the same bundle and compare the bytes; ends with 1 if any differ or are "
        "left out",
    )
    add_period(replay)
    add_allow_erased(replay)
    replay.add_argument(
        "--shadow", action="store_true", help="replay the challenger's decisions too"
    )
    replay.add_argument("--decision", metavar="ID", help="replay this decision only")
    replay.add_argument(
        "--bundle",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="bundle in addition to the stored ones; can be repeated",
    )


def add_backfill(commands: Any) -> None:
    """Add the command backfill."""
    backfill = add_command(
        commands,
        "backfill",
        (_AGAIN, "backfill_decisions"),
        "decide recorded requests again under another bundle, and attribute each change to model, "
        "reference, policy or wording; ends with 1 if any is left out or not attributed",
    )
    backfill.add_argument(
        "--bundle",
        required=True,
        metavar="BUNDLE",
        help="the other bundle: a folder, or the version or digest of a stored one",
    )
    add_period(backfill)
    add_allow_erased(backfill)
    backfill.add_argument(
        "--account",
        action="append",
        default=[],
        metavar="NAME",
        help="decisions on this account only; can be repeated",
    )
    backfill.add_argument(
        "--old",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="bundle that decided then, in addition to the stored ones; can be repeated",
    )
    _add_output(backfill)


def add_shadow(commands: Any) -> None:
    """Add the command shadow."""
    shadow = add_command(
        commands,
        "shadow",
        (_AGAIN, "compare_shadow_decisions"),
        "compare what was answered with what the challenger of CLEARLINE_SHADOW decided, as "
        "backfill does; ends with 1 if any is left out or not attributed",
    )
    add_period(shadow)
    add_allow_erased(shadow)
    shadow.add_argument(
        "--bundle",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="bundle in addition to the stored ones; can be repeated",
    )
    _add_output(shadow)


def _add_output(parser: argparse.ArgumentParser) -> None:
    """Add which lender's decisions, and where to."""
    parser.add_argument("--tenant", help="decisions of this lender only")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="a new file of all comparisons, .jsonl or .parquet (default: the summary alone)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="with --out: replace a file that exists"
    )


def add_allow_erased(parser: argparse.ArgumentParser) -> None:
    """Add ``--allow-erased``."""
    parser.add_argument(
        "--allow-erased",
        action="store_true",
        help="end with 0 although decisions of erased customers cannot be read",
    )


def add_period(parser: argparse.ArgumentParser) -> None:
    """Add ``--since`` and ``--until``."""
    for name, meaning in (("--since", "first"), ("--until", "last")):
        parser.add_argument(
            name, type=parse_day, metavar="YYYY-MM-DD", help=f"the {meaning} day, UTC"
        )


def parse_day(text: str) -> datetime.date:
    """A day as the command line has it.

    Raises:
        argparse.ArgumentTypeError: It is no day.
    """
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a day such as 2026-11-26, got {text!r}"
        ) from None
