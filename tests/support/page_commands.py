"""The shell commands of a page, run as they are written, and what came of each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from serving import PROJECT

ADDRESS = "http://127.0.0.1:3000"  # of the service in all pages
# the tests start the service; that there is such a target is in tests/docs
_NOT_RUN = re.compile(r"make [a-z]+$")
# the other indented blocks are figures
_FIRST_WORDS = ("curl", "python", "pg_dump", "make", "field()", "API=")
_BETWEEN = "\x1e"


class Ran(NamedTuple):
    """A command, what it printed, the status that the page claims, and each request of curl:
    method, URL, status.
    """

    command: str
    output: str
    claimed: int | None
    requests: list[tuple[str, str, int]]


def commands_of(page: str) -> list[str]:
    """The commands in a page's blocks, in order; a line that ends in a backslash goes on in the
    next.
    """
    found: list[str] = []
    text = (PROJECT / "docs" / "service" / page).read_text("utf-8")
    for line in "\n".join(_blocks(text)).split("\n"):
        if found and found[-1].endswith("\\"):
            found[-1] += f"\n{line}"
        elif line.strip() and not line.startswith("#") and not _NOT_RUN.match(line):
            found.append(line)
    return found


def _blocks(text: str) -> list[str]:
    """What stands between ```sh and ```, or is indented by four."""
    fenced = re.split(r"^```", text, flags=re.MULTILINE)  # every second one is within
    found = []
    for place, part in enumerate(fenced):
        if place % 2:
            found += [part.removeprefix("sh\n")] if part.startswith("sh\n") else []
            continue
        indented = re.findall(r"(?:^ {4}.*\n)+", part, re.MULTILINE)
        blocks = [re.sub(r"^ {4}", "", block, flags=re.MULTILINE) for block in indented]
        found += [block for block in blocks if block.startswith(_FIRST_WORDS)]
    return found


def run(commands: Sequence[str], url: str, folder: Path, settings: Mapping[str, str]) -> list[Ran]:
    """Run commands in one shell, in this folder and with these settings of the environment;
    AssertionError where one fails.
    """
    (folder / ".curlrc").write_text('write-out = "%{stderr}%{method} %{url} %{http_code}\\n"\n')
    between = f"printf '{_BETWEEN}'; printf '{_BETWEEN}' >&2"
    # `ask` has the address in itself.
    asking = re.compile(r"(ask request\.json(?: --advice)?)(?!.*--start)")
    here = [asking.sub(rf"\1 --url {url}", command.replace(ADDRESS, url)) for command in commands]
    script = "\n".join(f"{command}\n{between}" for command in here)
    environment = {
        **os.environ,
        "CURL_HOME": str(folder),
        "PYTHONPATH": str(PROJECT),
        **settings,
    }
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    outputs, errors = done.stdout.split(_BETWEEN), done.stderr.split(_BETWEEN)
    if done.returncode:
        raise AssertionError(f"{commands[len(outputs) - 1]}\n{outputs[-1]}\n{errors[-1]}")
    return [
        Ran(command, output, _claimed(command), _requests(said))
        for command, output, said in zip(commands, outputs, errors, strict=False)
    ]


def _claimed(command: str) -> int | None:
    found = re.search(r"  # (\d{3})\b", command)
    return int(found[1]) if found else None


def _requests(said: str) -> list[tuple[str, str, int]]:
    return [
        (method, url, int(status))
        for method, url, status in re.findall(r"^([A-Z]+) (http\S+) (\d{3})$", said, re.MULTILINE)
    ]
