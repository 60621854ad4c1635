"""docs/gate.md: its table is that of the code, and its commands run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from serving import example
from serving.caller import SCOPES
from serving.client import PROJECT
from serving.routes import ROUTES, Route
from tests.serving.conftest import Guarded

PAGE = (PROJECT / "docs" / "gate.md").read_text()


def row(route: Route) -> str:
    scopes = "any key" if route.scopes == set(SCOPES) else " or ".join(sorted(route.scopes))
    size = route.largest_body // 1024
    body = f"{size // 1024} MiB" if size >= 1024 else f"{size} KiB"
    return f"| {route.method} | `{route.template}` | {'none: no key is asked for' if route.open else scopes} | {body} |"


def test_the_page_lists_the_routes() -> None:
    assert re.findall(r"^\| (?:GET|POST) .*$", PAGE, re.MULTILINE) == [row(route) for route in ROUTES]


def test_the_commands_of_the_page_run(guarded: Guarded, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text(json.dumps(example.REQUEST))
    [commands] = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    commands = commands.replace("http://127.0.0.1:3000", guarded.url).replace(
        "ask request.json", f"ask request.json --url {guarded.url}"
    )
    environment = os.environ | {
        "CLEARLINE_RECORD": guarded.record,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
    }
    run = subprocess.run(
        ["sh", "-e", "-c", commands], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "mylender  review,score" not in run.stdout  # scopes in their usual order
    assert re.search(r"^live    [0-9a-f]{16}  mylender  score,review", run.stdout, re.MULTILINE)
    assert example.REQUEST["account_id"] in run.stdout
    assert "/v1/decisions" in json.loads((tmp_path / "docs.json").read_text())["paths"]
