"""Verifies a bundle in a process of its own, as a start of the service would.

A bundle is damaged in more ways than errors tell: LightGBM's parser ends the process on a text that
it does not understand, and a model may take all memory.  The service that goes on with the old
bundle must not find out by itself.

    python -m serving.storage.bundles.apart FOLDER    prints the digest, or ends with a sentence
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from serving import PROJECT
from serving.decision.bundle import BundleError
from serving.decision.golden import load

SECONDS = 120.0  # a bundle takes some; the first one after an upgrade compiles its loops
_NICENESS = 10  # requests go first
_REFUSED = 2


def verify_apart(folder: Path, seconds: float = SECONDS) -> str:
    """Return the digest of the bundle in a folder: its bytes verified and its golden rows run.

    Raises:
        BundleError: It must not be served; or the process that verified it died, or took longer
            than ``seconds``.
    """
    command = [sys.executable, "-m", __spec__.name, str(folder.absolute())]
    try:
        done = subprocess.run(
            command,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BundleError(f"{folder}: its verification took longer than {seconds:g} s") from None
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    last = lines[-1] if lines else "it printed nothing"
    if done.returncode == 0:
        return last
    if done.returncode == _REFUSED:
        raise BundleError(last)
    raise BundleError(f"{folder}: its verification {_ending(done.returncode)}: {last}")


def activate_apart(*options: str) -> None:
    """Begin ``python -m serving activate`` in a process of its own, and do not wait for its end.

    What it prints goes to where this process prints.
    """
    command = [sys.executable, "-m", "serving", "activate", *options]
    # It is the supervising process that calls this, and collects every child that ends.
    subprocess.Popen(command, env=child_environment(), stdin=subprocess.DEVNULL)


def child_environment() -> dict[str, str]:
    """Return this environment for a process that runs the same code, in whatever folder."""
    paths = [os.environ.get("PYTHONPATH", ""), str(PROJECT)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def main(arguments: list[str]) -> int:
    """Verify the bundle in the folder that is named; returns the exit code."""
    os.nice(_NICENESS)
    try:
        digest = load(Path(arguments[0])).digest
    except BundleError as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return _REFUSED
    sys.stdout.write(f"{digest}\n")
    return 0


def _ending(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
