"""The code and data of a run: commit, uncommitted changes, versions, digests."""

from __future__ import annotations

import importlib.metadata
import subprocess

from serving import PROJECT
from training.data.dataset import Source
from training.fit.bundle import library_versions

CHANGES = "uncommitted.patch"


def run_facts(source: Source) -> dict[str, str]:
    """Return the tags of a run about its data, code and libraries."""
    facts = {
        "data.digest": source.digest,
        "data.label": source.label_definition,
        "data.last_month": source.last_month,
        "code.version": importlib.metadata.version("clearline"),
        "code.commit": _commit(),
    }
    libraries = {f"library.{name}": version for name, version in library_versions().items()}
    return facts | libraries


def _commit() -> str:
    """Return the commit, with ``-dirty`` for a changed working tree; "" outside a checkout."""
    return run_git(
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ).strip()


def uncommitted_patch() -> str:
    """Return the changes since the commit as a patch; "" if there are none.

    New files that were never added to git are missing.
    """
    return run_git("diff", "HEAD", "--binary")


def run_git(*words: str) -> str:
    """Return the output of a git command in the checkout; "" without git or a checkout."""
    # In the checkout of this code: the working directory may be another repository.
    command = ["git", *words]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # the patch of a file in another encoding
            check=True,
            cwd=PROJECT,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout
