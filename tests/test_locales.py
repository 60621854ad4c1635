"""Files with Chinese text are read and written alike, whatever encoding the locale has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serving.schemas import examples
from tests.golden.remake import BUNDLE
from tests.support.paths import ROOT
from training.data.dataset import load

# Name of the locale, and the locale and character map that it is compiled from; None = built in.
LOCALES = {
    "C": None,
    "zh_CN.GBK": ("zh_CN", "GBK"),
    "en_US.ISO-8859-1": ("en_US", "ISO-8859-1"),
}
DEFINITION = "违约：60 天"
CSV = "id,month,limit,owed,paid,late,bad,place\na,2026-08,900,50,0,0,1,上海\n"
MAPPING = f"""
source = {{ name = "一本账", format = "long" }}
account = {{ column = "id" }}
product = {{ constant = "cash_loan" }}
currency = {{ code = "CNY", rate = 1, source = "无" }}
months = {{ column = "month", format = "%Y-%m" }}
label = {{ column = "bad", definition = "{DEFINITION}" }}
[columns]
credit_limit = {{ column = "limit" }}
balance = {{ column = "owed" }}
payment = {{ column = "paid" }}
days_past_due = {{ column = "late" }}
[accounts.region]
column = "place"
"""
SCRIPT = """
import locale, sys
from pathlib import Path
from serving.__main__ import main as serving
from serving.operations.pack import store
from serving.storage.bundles.store import newest_bundle
from training.__main__ import main as training
from training.data.dataset import load

bundle = Path(sys.argv[1])
assert training(["ingest", "book.csv", "--mapping", "book.toml", "--out", "data"]) == 0
print(load(Path("data")).label_definition)
assert serving(["explain", "request.json", "--bundle", str(bundle)]) == 0
store(bundle)
for file in ("reasons.toml", "policy.toml"):
    assert (newest_bundle() / file).read_bytes() == (bundle / file).read_bytes()
Path("encoding.txt").write_text(locale.getpreferredencoding(False), encoding="ascii")
# The control: this locale does change what is read without an encoding.
try:
    unlike = open("book.toml").read() != Path("book.toml").read_text("utf-8")
except UnicodeDecodeError:
    unlike = True
sys.exit(0 if unlike else 3)
"""


def run_in(home: Path, name: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    (home / "book.csv").write_text(CSV, "utf-8")
    (home / "book.toml").write_text(MAPPING, "utf-8")
    request: dict[str, Any] = examples.REQUEST
    (home / "request.json").write_text(json.dumps(request), "utf-8")
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(BUNDLE)],
        cwd=home,
        env={
            **os.environ,
            # Without these two Python takes UTF-8 where the locale is C.
            "PYTHONCOERCECLOCALE": "0",
            "PYTHONUTF8": "0",
            "PYTHONPATH": str(ROOT),
            "BENTOML_HOME": str(home / "store"),
            "LC_ALL": name,
            **environment,
        },
        capture_output=True,
        check=False,
    )


@pytest.fixture(scope="module")
def in_utf8(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[bytes]:
    home = tmp_path_factory.mktemp("utf8")
    done = run_in(home, "C.UTF-8", PYTHONUTF8="1")
    assert done.returncode == 3, done.stderr.decode()  # here the control finds no difference
    return done


# CI runs its flow in the C locale as well (.ci/odd_surroundings).
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("zh_CN.GBK", marks=pytest.mark.slow),
        pytest.param("en_US.ISO-8859-1", marks=pytest.mark.torture),
        pytest.param("C", marks=pytest.mark.torture),
    ],
)
def test_chinese_text_is_the_same_in_every_locale(
    name: str, in_utf8: subprocess.CompletedProcess[bytes], tmp_path: Path
) -> None:
    done = run_in(tmp_path, name, LOCPATH=str(compile_locale(name, tmp_path)))
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "encoding.txt").read_text("ascii") != "UTF-8"
    # Up to here the words of explain differ in nothing: texts, reasons and the notice.
    assert without_paths(done) == without_paths(in_utf8)
    assert DEFINITION in done.stdout.decode()
    assert load(tmp_path / "data").label_definition == DEFINITION


def without_paths(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    lines = done.stdout.decode("utf-8").splitlines()
    return [line for line in lines if "decided" not in line]


def compile_locale(name: str, home: Path) -> Path:
    """The folder of the compiled locale."""
    folder = home / "locales"
    folder.mkdir()
    source = LOCALES[name]
    if source is None:
        return folder
    if shutil.which("localedef") is None:
        pytest.skip(f"{name} NOT TESTED: no localedef here, which compiles the locale")
    language, characters = source
    command = ["localedef", "-i", language, "-f", characters, str(folder / name)]
    done = subprocess.run(command, capture_output=True, check=False)
    if not (folder / name).exists():
        pytest.skip(f"{name} NOT TESTED: localedef: {done.stderr.decode(errors='replace')}")
    return folder
