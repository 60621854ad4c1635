"""One process writes a SQLite file: a service with more workers refuses to start.

Otherwise BentoML would restart the workers forever.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving import PROJECT
from serving.audit_log.log import AuditLog
from serving.operations.client import free_port, settings_for
from serving.storage.settings import read_settings


def start_and_fail(folder: Path, **settings: str) -> str:
    """The last line of a service that does not start."""
    command = [
        sys.executable,
        "-m",
        "bentoml",
        "serve",
        "serving.service:LimitReduction",
        "--port",
        str(free_port()),
    ]
    environment = os.environ | settings_for(folder) | settings
    ended = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode != 0
    assert "initialized" not in ended.stdout + ended.stderr
    return ended.stderr.strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.usefixtures("server")
def test_several_workers_need_postgresql(tmp_path: Path) -> None:
    last_line = start_and_fail(tmp_path, BENTOML_CONFIG_OPTIONS="services.LimitReduction.workers=2")
    assert "expected one worker with the SQLite file" in last_line
    assert "got 2: for several workers or hosts set CLEARLINE_RECORD to a PostgreSQL" in last_line


@pytest.mark.usefixtures("server")
@pytest.mark.slow
def test_a_second_service_on_the_same_file_does_not_start(tmp_path: Path) -> None:
    with contextlib.closing(AuditLog(read_settings(settings_for(tmp_path)))):
        assert "another process writes the audit log" in start_and_fail(tmp_path)
