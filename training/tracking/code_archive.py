"""The code that decides, as one file that a registered model carries."""

from __future__ import annotations

import zipfile
from pathlib import Path

from serving import PROJECT

# What a decision imports of this project; see the contracts in pyproject.toml.
_PACKAGES = ("features", "serving/decision")
_FILES = ("serving/__init__.py",)
_SUFFIXES = (".py", ".toml")
# The earliest that the format knows: the same code has the same bytes, whenever it was checked out.
_TIME = (1980, 1, 1, 0, 0, 0)


def write_code(file: Path) -> None:
    """Write ``features`` and ``serving.decision`` as an archive that Python imports from.

    An archive and not a folder: Python writes no bytecode, and numba no compiled functions, next to
    modules in one, so a stored model stays as it was written.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for source in code_files():
            name = source.relative_to(PROJECT).as_posix()
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, source.read_bytes())


def code_files() -> list[Path]:
    """Return the files of the archive, in order."""
    files = [PROJECT / name for name in _FILES]
    for package in _PACKAGES:
        paths = sorted((PROJECT / package).rglob("*"))
        files += [path for path in paths if path.suffix in _SUFFIXES]
    return files
