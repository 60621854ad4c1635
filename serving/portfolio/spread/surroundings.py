"""What else decides the bytes of a result: the code, and the libraries that compute and write."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path

_ROOT = Path(__file__).parents[3]
# What a function of each package may call.
_PACKAGES = {"serving": ("features", "serving"), "training": ("features", "serving", "training")}
_KINDS = (".py", ".toml")
_LIBRARIES = {
    "serving": ("lightgbm", "numba", "numpy", "polars"),
    "training": ("lightgbm", "numba", "numpy", "polars", "scipy"),
}


@functools.cache  # of the code that this process has read
def describe_surroundings(package: str) -> Mapping[str, str]:
    """The version of Python and of each library that computes, and the digest of a package's code.

    >>> sorted(describe_surroundings("serving"))
    ['code', 'lightgbm', 'numba', 'numpy', 'polars', 'python']
    """
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES[package]}
    return {"code": _code_digest(package), "python": platform.python_version()} | versions


def _code_digest(package: str) -> str:
    """SHA-256 over the names and contents of the files that the package may use; shortened."""
    total = hashlib.sha256()
    for used in _PACKAGES[package]:
        for file in sorted((_ROOT / used).rglob("*")):
            if file.suffix in _KINDS:
                total.update(file.relative_to(_ROOT).as_posix().encode() + b"\0")
                total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:16]
