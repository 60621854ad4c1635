"""Files that a command writes at its end."""

from __future__ import annotations

from pathlib import Path


def check_output(file: Path) -> None:
    """Raise OSError, naming the file, if nothing can be written there.

    Called before the work, so that a mistyped path does not cost it.  Nothing is made.
    """
    if file.is_dir():
        raise IsADirectoryError(f"{file}: expected a file to write, got a folder")
    for folder in file.parents:
        if folder.is_dir():
            return
        if folder.exists():
            raise NotADirectoryError(f"{file}: {folder} is a file, not a folder")
