"""Compiled code on disk: found in an archive that moved, and not where a used file changed."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT

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


INNER = """
from features.program.numba_cache import compiled
@compiled
def number(x):
    return x + {number}
"""
OUTER = """
import inner
from features.program.numba_cache import compiled_with
inner_number = inner.number
@compiled_with(inner)
def twice(x):
    return 2 * inner_number(x)
if __name__ == "__main__":
    import outer
    print(outer.twice(1), sum(outer.twice.stats.cache_hits.values()))
"""


@pytest.mark.slow  # four processes that import numba
def test_a_changed_file_that_a_loop_uses_is_compiled_again(tmp_path: Path) -> None:
    (tmp_path / "outer.py").write_text(OUTER, encoding="utf-8")

    def run(number: int) -> str:
        (tmp_path / "inner.py").write_text(INNER.format(number=number), encoding="utf-8")
        os.utime(tmp_path / "inner.py", (number, number))
        env = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        command = [sys.executable, str(tmp_path / "outer.py")]
        return subprocess.check_output(command, env=env, text=True).strip()

    assert run(10) == "22 0"
    assert run(10) == "22 1"  # the control: nothing changed, and it is found
    assert run(20) == "42 0"
