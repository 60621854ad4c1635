"""What the image runs, without a container: its packages, its start script, another user.

The packages of the lock are installed by their hashes, which needs a package index.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bentoml
import httpx
import pytest
from uv import find_uv_bin

from serving.operations.client import free_port
from serving.operations.pack import build, store
from serving.schemas import examples
from tests.golden.remake import BUNDLE
from tests.support.each import each
from tests.support.paths import ROOT

pytestmark = [
    pytest.mark.torture,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program as another user"),
    # bentoml 1.4.39 where it writes the Bento's entry point.
    pytest.mark.filterwarnings(r"ignore:path is deprecated\. Use files\(\):DeprecationWarning"),
]

DEPLOY = ROOT / "deploy"
USER = 10001
# Other users can run it, which holds for few interpreters of a developer.
PYTHON = Path("/usr/bin/python3")
SECONDS_TO_START = 300.0
VARIABLE = re.compile(r"^(?:ENV|   ) (\w+)=(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Image:
    """The folders of an image, and the environment that its Dockerfile sets."""

    program: Path  # /opt/clearline
    packages: Path  # /opt/venv
    state: Path  # /var/lib/clearline

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the Dockerfile, with the folders here."""
        text = (DEPLOY / "Dockerfile").read_text("utf-8")
        places = {
            "/opt/clearline": self.program,
            "/opt/venv": self.packages,
            "/var/lib/clearline": self.state,
        }
        for place, folder in places.items():
            text = text.replace(place, str(folder))
        found = dict(VARIABLE.findall(text))
        found["PATH"] = found["PATH"].replace("$PATH", "/usr/bin:/bin")
        return found | {"CLEARLINE_PROGRAM": str(self.program), "HOME": str(self.state)}

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Run the start script as the image's user, in its folder; errors go to its output."""
        return subprocess.Popen(
            [self.program / "start.sh", *arguments],
            cwd=self.state,
            env=self.environment | variables,
            user=USER,
            group=USER,
            extra_groups=[],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="module")
def image(bentoml_home: Path) -> Iterator[Image]:
    """What the Dockerfile makes, step by step."""
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is not installed")
    # Not pytest's folder, which other users cannot enter.
    with tempfile.TemporaryDirectory(prefix="clearline-image") as name:
        folder = Path(name)
        folder.chmod(0o755)
        made = Image(folder / "program", folder / "packages", folder / "state")
        made.program.mkdir()
        install_packages(made.packages)
        store(BUNDLE)
        archive = bentoml.bentos.export_bento(build(), str(folder / "clearline.tar"))
        with tarfile.open(archive) as bento:
            bento.extractall(made.program / "bento", filter="data")
        shutil.copy(DEPLOY / "start.sh", made.program)
        made.state.mkdir(mode=0o700)
        prepared = {"NUMBA_CACHE_DIR": str(made.program / "numba")}
        run = [str(made.program / "start.sh"), "prepare"]
        subprocess.run(run, env=made.environment | prepared, check=True, capture_output=True)
        os.chown(made.state, USER, USER)
        subprocess.run(["chmod", "-R", "a+rX", made.program, made.packages], check=True)
        yield made


def install_packages(folder: Path) -> None:
    uv, packages = find_uv_bin(), str(folder)
    subprocess.run([uv, "venv", "--quiet", "--python", str(PYTHON), packages], check=True)
    install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", packages]
    options = ["--require-hashes", "--no-deps", "--only-binary", ":all:"]
    lock = str(DEPLOY / "requirements.lock")
    subprocess.run([*install, *options, "-r", lock], check=True)


def files_of(folder: Path) -> set[Path]:
    return {file for file in folder.rglob("*") if file.is_file()}


def test_a_record_that_would_be_gone_is_refused(image: Image) -> None:
    process = image.start("serve", "--host", "127.0.0.1", "--port", str(free_port()))
    output, _ = process.communicate(timeout=SECONDS_TO_START)
    assert process.returncode != 0
    assert "would be gone with this container" in output
    assert not list(image.state.glob(".clearline/record.db"))


def test_the_service_decides_and_writes_to_its_volume_only(image: Image) -> None:
    before, port = files_of(image.program), free_port()
    arguments = ("serve", "--host", "127.0.0.1", "--port", str(port))
    process = image.start(*arguments, CLEARLINE_EPHEMERAL="allow")
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process)
        token = (image.state / ".clearline" / "record.db.token").read_text("utf-8").strip()
        with httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}) as client:
            answer = client.post("/v1/decisions", json=examples.REQUEST, timeout=30)
            metrics = client.get("/metrics")
        assert answer.status_code == 200
        assert "clearline_decisions_total{" in metrics.text
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert files_of(image.program) == before
    written = {str(file.relative_to(image.state)) for file in files_of(image.state)}
    assert {".clearline/record.db", "secrets/secrets.json", "checkpoints.jsonl"} <= written
    lines = [json.loads(one) for one in output.splitlines() if one.startswith('{"time"')]
    for line in each(lines):
        assert {"time", "level", "message"} <= line.keys()


def test_other_commands_run_in_the_same_environment(image: Image) -> None:
    process = image.start("python", "-m", "serving", "keys", "list")
    output, _ = process.communicate(timeout=SECONDS_TO_START)
    assert process.returncode == 0, output


def test_the_image_has_the_driver_of_postgresql(image: Image) -> None:
    nobody = f"postgresql://lender@127.0.0.1:{free_port()}/none"
    process = image.start("python", "-m", "serving", "verify", CLEARLINE_RECORD=nobody)
    output, _ = process.communicate(timeout=SECONDS_TO_START)
    assert process.returncode == 2
    assert "does not open" in output
    assert "No module" not in output


def wait_until_ready(url: str, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while True:
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        if process.poll() is not None:
            pytest.fail(f"the service ended: {process.communicate()[0][-2000:]}")
        assert time.monotonic() < until, "the service is not ready"
        time.sleep(0.2)
