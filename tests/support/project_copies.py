"""Copies of the project's packages, for tests that change a file or run somewhere else."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.paths import ROOT

# What another process is writing at the moment: bytecode, and numba's compiled code.
_UNFINISHED = shutil.ignore_patterns("*.pyc.*", "*.tmp.*")


_PACKAGES = ("features", "serving", "training")


def copy_packages(target: Path) -> None:
    """Copy the packages with what is compiled, so that the copy need not compile it again.

    Both caches know a file by its size and its time, which a copy keeps.
    """
    for package in _PACKAGES:
        shutil.copytree(ROOT / package, target / package, ignore=_UNFINISHED)


def copy_compiled(target: Path) -> None:
    """Add what numba has compiled to packages that are installed there.

    The installed sources get the times of those here, by which numba knows them.
    """
    for package in _PACKAGES:
        for source in (ROOT / package).rglob("*.py"):
            shutil.copystat(source, target / source.relative_to(ROOT))
        for compiled in (ROOT / package).rglob("*.nb[ic]"):
            copied = target / compiled.relative_to(ROOT)
            copied.parent.mkdir(exist_ok=True)
            shutil.copy2(compiled, copied)
