"""Files that a command writes at its end."""

from __future__ import annotations

import os
from pathlib import Path


def check_output(file: Path) -> None:
    """Raise OSError, naming the file, if nothing can be written there.

    Called before the work, so that a mistyped path does not cost it.  Nothing is made.
    """
    if file.is_dir():
        raise IsADirectoryError(f"{file}: expected a file to write, got a folder")
    for folder in file.parents:
        if folder.is_dir():
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(f"{file}: the folder {folder} cannot be written")
            return
        if folder.exists():
            raise NotADirectoryError(f"{file}: {folder} is a file, not a folder")


def write_page(page: str, file: Path | None) -> None:
    """Write a page to a file that :func:`check_output` accepts, with its folder; None = none."""
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, encoding="utf-8")
