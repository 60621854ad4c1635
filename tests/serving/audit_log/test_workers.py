"""An embedded record has one process that writes: a service with more says so and ends; else
BentoML starts them for ever.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving import PROJECT
from serving.audit_log.log import AuditLog
from serving.operations.client import free_port, settings_for
from serving.storage.settings import read_settings


def served(folder: Path, **settings: str) -> str:
    """What the service says that does not start."""
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


@pytest.mark.usefixtures("server")
def test_several_workers_need_a_server(tmp_path: Path) -> None:
    said = served(tmp_path, BENTOML_CONFIG_OPTIONS="services.LimitReduction.workers=2")
    assert "expected one worker with the embedded record" in said
    assert "got 2: for several workers or hosts set CLEARLINE_RECORD to a PostgreSQL" in said


@pytest.mark.usefixtures("server")
def test_a_second_service_over_the_same_record_does_not_start(tmp_path: Path) -> None:
    record = AuditLog(read_settings(settings_for(tmp_path)))
    said = served(tmp_path)
    assert "another process writes the record" in said
    record.close()
