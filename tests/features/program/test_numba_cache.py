"""The compiled functions of an archive are found again where the archive is another file."""

from __future__ import annotations

import importlib
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

OURS = "from features.program.numba_cache import compiled"
NUMBAS = "from numba import njit; compiled = njit(cache=True)"
ALONE = """
{compiled}
from factor import FACTOR

@compiled
def scale(value):
    return FACTOR * value
"""


def archive_in(folder: Path, factor: str, compiled: str = OURS) -> Path:
    """An archive whose compiled function has a constant of another module in it."""
    folder.mkdir()
    modules = {
        "alone.py": ALONE.format(compiled=compiled),
        "factor.py": f"FACTOR = {factor}",
    }
    with zipfile.ZipFile(folder / "code.zip", "w") as archive:
        for name, text in modules.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return folder / "code.zip"


def scaled(archive: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[float, bool]:
    """What the archive's function makes of 2.0, and whether it was found compiled."""
    with monkeypatch.context() as patch:
        patch.syspath_prepend(archive)
        for name in ("alone", "factor"):
            patch.delitem(sys.modules, name, raising=False)
        scale = importlib.import_module("alone").scale
        value = scale(2.0)
        for name in ("alone", "factor"):
            del sys.modules[name]
    return value, bool(scale.stats.cache_hits)


def test_an_archive_s_functions_are_kept_by_its_contents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    first = archive_in(tmp_path / "first", "10.0")
    assert scaled(first, monkeypatch) == (20.0, False)
    # The same model, downloaded again.
    (tmp_path / "second").mkdir()
    again = Path(shutil.copy(first, tmp_path / "second" / "code.zip"))
    assert scaled(again, monkeypatch) == (20.0, True)
    # The same function, beside another constant.
    assert scaled(archive_in(tmp_path / "third", "30.0"), monkeypatch) == (60.0, False)
    # The control: numba's own cache knows an archive by its path.
    plain = archive_in(tmp_path / "plain", "10.0", NUMBAS)
    assert scaled(plain, monkeypatch) == (20.0, False)
    assert scaled(plain, monkeypatch) == (20.0, True)
    assert scaled(archive_in(tmp_path / "other", "10.0", NUMBAS), monkeypatch) == (20.0, False)
