"""What a run says about its code and data: commit, uncommitted changes, versions, digests."""

from __future__ import annotations

import importlib.metadata
import subprocess

from serving import PROJECT
from training.data.dataset import Source
from training.fit.bundle import library_versions

CHANGES = "uncommitted.patch"


def run_facts(source: Source) -> dict[str, str]:
    """What a run says about its data, code and libraries, by tag."""
    return {
        "data.digest": source.digest,
        "data.label": source.label_definition,
        "data.last_month": source.last_month,
        "code.version": importlib.metadata.version("clearline"),
        "code.commit": _commit(),
    } | {f"library.{name}": version for name, version in library_versions().items()}


def _commit() -> str:
    """The commit of the working tree, with a mark where it was changed since; "" outside a
    checkout.
    """
    return run_git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").strip()


def uncommitted_patch() -> str:
    """What was changed since the commit, as a patch; "" where nothing was.

    Of new files only those that git knows of.
    """
    return run_git("diff", "HEAD", "--binary")


def run_git(*words: str) -> str:
    """The output of a git command in the checkout; "" where there is no git or no checkout."""
    try:
        return subprocess.run(
            ["git", *words], capture_output=True, text=True, check=True, cwd=PROJECT
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
