"""Folders that all workers and later runs share, made once under ``.cache/tests``.

A folder is good for one state of the code that makes it: its name ends with a digest of that code.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.metadata
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.paths import ROOT

CACHE = ROOT / ".cache" / "tests"
# The code and the libraries that the data, the models and the MLflow store depend on.
MAKERS = (
    "features",
    "serving/decision",
    "training/data",
    "training/evaluate",
    "training/fit",
    "training/tracking",
    "tests/conftest.py",
    "tests/training/conftest.py",
    "tests/support/cached.py",
    "tests/support/small_fit.py",
)
LIBRARIES = ("lightgbm", "matplotlib", "mlflow", "numba", "numpy", "polars", "scipy", "shap")
KEPT_FOR = 7 * 86_400  # seconds since a folder of another digest was last used


def cached_folder(name: str, make: Callable[[Path], object], cache: Path = CACHE) -> Path:
    """The folder of this name for today's code; ``make`` writes it if it is missing.

    Only to be read: every later test gets the same files.  Safe between processes; a ``make`` that
    fails or is killed leaves nothing that a later call would take.
    """
    folder = cache / f"{name}-{code_digest()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        if not folder.exists():
            _remove_unused(cache, name)
            unfinished = cache / f"{name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            unfinished.rename(folder)
        (folder.parent / f"{folder.name}.used").touch()
    return folder


@functools.cache
def code_digest() -> str:
    """SHA-256 of the code in MAKERS and of the versions of Python and LIBRARIES."""
    versions = [importlib.metadata.version(library) for library in LIBRARIES]
    return digest_of(_files(MAKERS), [sys.version, str(ROOT), *versions])


def digest_of(files: Sequence[Path], words: Sequence[str] = ()) -> str:
    """SHA-256 of the files' paths and contents and of the words."""
    digest = hashlib.sha256("\0".join(words).encode())
    for file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"\0{file}\0{content}".encode())
    return digest.hexdigest()


def _files(places: Sequence[str]) -> list[Path]:
    files = []
    for place in places:
        path = ROOT / place
        inside = [path] if path.is_file() else sorted(path.rglob("*"))
        files += [file for file in inside if file.suffix in (".py", ".toml")]
    return files


def _remove_unused(cache: Path, name: str) -> None:
    """Other digests are kept for a while: they come back with another branch."""
    for mark in cache.glob(f"{name}-*.used"):
        if time.time() - mark.stat().st_mtime > KEPT_FOR:
            shutil.rmtree(mark.with_suffix(""), ignore_errors=True)
            mark.unlink()
