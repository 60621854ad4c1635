"""Run the shell commands of a page in docs/service as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from serving import PROJECT

ADDRESS = "http://127.0.0.1:3000"  # of the service, on every page
# The tests start the service themselves; tests/docs/test_commands.py checks that targets exist.
_NOT_RUN = re.compile(r"make [a-z-]+$")
# Indented blocks that begin otherwise are figures.
_FIRST_WORDS = ("curl", "python", "pg_dump", "make", "field()", "API=", "KEY=")
_SEPARATOR = "\x1e"  # printed between the outputs of two commands


class CompletedCommand(NamedTuple):
    """A command with its output.

    ``expected_status`` is the one in the command's comment, None if it has none.  ``requests`` are
    curl's: method, URL, status.
    """

    command: str
    output: str
    expected_status: int | None
    requests: list[tuple[str, str, int]]


def read_commands(page: str) -> list[str]:
    """The commands in a page's blocks, in order; a backslash at its end continues a line."""
    commands: list[str] = []
    file = PROJECT / "docs" / "service" / page
    lines = "\n".join(_blocks(file.read_text("utf-8"))).split("\n")
    for line in lines:
        if commands and commands[-1].endswith("\\"):
            commands[-1] += f"\n{line}"
        elif line.strip() and not line.startswith("#") and not _NOT_RUN.match(line):
            commands.append(line)
    return commands


def _blocks(text: str) -> list[str]:
    """Text between ```sh and ```, and text that is indented by four and begins like a command."""
    found = []
    parts = re.split(r"^```", text, flags=re.MULTILINE)
    for place, part in enumerate(parts):
        inside_fence = place % 2 == 1
        if not inside_fence:
            found += _indented_commands(part)
        elif part.startswith("sh\n"):
            found.append(part.removeprefix("sh\n"))
    return found


def _indented_commands(text: str) -> list[str]:
    indented = re.findall(r"(?:^ {4}.*\n)+", text, re.MULTILINE)
    blocks = [textwrap.dedent(block) for block in indented]
    return [block for block in blocks if block.startswith(_FIRST_WORDS)]


def run_commands(
    commands: Sequence[str], url: str, folder: Path, settings: Mapping[str, str]
) -> list[CompletedCommand]:
    """Run commands in one shell, in a folder and with these environment variables.

    ``url`` replaces the pages' address.  AssertionError if a command fails.
    """
    # curl writes each request's method, URL and status to stderr.
    (folder / ".curlrc").write_text(
        'write-out = "%{stderr}%{method} %{url} %{http_code}\\n"\n', encoding="utf-8"
    )
    separate = f"printf '{_SEPARATOR}'; printf '{_SEPARATOR}' >&2"
    script = "\n".join(f"{_at(url, command)}\n{separate}" for command in commands)
    run = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=folder,
        env=_environment(folder, settings),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    outputs, errors = run.stdout.split(_SEPARATOR), run.stderr.split(_SEPARATOR)
    if run.returncode:
        raise AssertionError(f"{commands[len(outputs) - 1]}\n{outputs[-1]}\n{errors[-1]}")
    return [
        CompletedCommand(command, output, _expected_status(command), _requests(error))
        for command, output, error in zip(commands, outputs, errors, strict=False)
    ]


def _at(url: str, command: str) -> str:
    """The command for a service at this URL."""
    # `ask` has its address as a default.
    ask = re.compile(r"(ask request\.json(?: --advice)?)(?!.*--start)")
    return ask.sub(rf"\1 --url {url}", command.replace(ADDRESS, url))


def _environment(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    environment = {
        **os.environ,
        "CURL_HOME": str(folder),
        "PYTHONPATH": str(PROJECT),
        **settings,
    }
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return environment


def _expected_status(command: str) -> int | None:
    found = re.search(r"  # (\d{3})\b", command)
    return int(found[1]) if found else None


def _requests(errors: str) -> list[tuple[str, str, int]]:
    lines = re.findall(r"^([A-Z]+) (http\S+) (\d{3})$", errors, re.MULTILINE)
    return [(method, url, int(status)) for method, url, status in lines]
