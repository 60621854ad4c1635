"""Copies of the project's packages, for tests that change a file or run somewhere else."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.paths import ROOT

# What another process is writing at the moment: bytecode, and numba's compiled code.
_UNFINISHED = shutil.ignore_patterns("*.pyc.*", "*.tmp.*")


def copy_packages(target: Path) -> None:
    """Copy the packages with what is compiled, so that the copy need not compile it again.

    Both caches know a file by its size and its time, which a copy keeps.
    """
    for package in ("features", "serving", "training"):
        shutil.copytree(ROOT / package, target / package, ignore=_UNFINISHED)
