"""The file that says which bundle decides on a share of the accounts, and how large the share is.

    bundle = "limit-reduction:bhrjzowqj2"   # or the beginning of its digest
    share = 0.05                            # of the accounts, in [0, 1]

``CLEARLINE_CANARY`` names it.  Workers read it again whenever it changes; without the file there is
no canary.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from serving.decision.config.strict_toml import SHARE, read_toml

VARIABLE = "CLEARLINE_CANARY"


@dataclass(frozen=True, slots=True)
class CanaryTerms:
    """Which bundle (a version, or the beginning of a digest), and its share of the accounts."""

    bundle: str
    share: float


def canary_file(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the path of the file, which need not exist; None if none is configured.

    >>> canary_file({}), str(canary_file({"CLEARLINE_CANARY": "canary.toml"}))
    (None, 'canary.toml')
    """
    text = environment.get(VARIABLE)
    return Path(text) if text else None


def fix_canary_path(environment: MutableMapping[str, str] = os.environ) -> None:
    """Put the path into the environment as it is seen from this folder; see `fix_paths`."""
    file = canary_file(environment)
    if file is not None:
        environment[VARIABLE] = str(file.absolute())


def read_canary(file: Path) -> CanaryTerms | None:
    """Read the file; None if there is none.

    Raises:
        serving.decision.config.strict_toml.ConfigError: a key is missing, unknown, or its value is
            not what is expected.
    """
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return None
    with read_toml(text, str(file)) as content:
        return CanaryTerms(content.text("bundle"), content.number("share", SHARE))
