"""The process that starts a service's workers: what it hands to them, and how one of them ends it.

BentoML starts a worker that fails again and again, and keeps the port open meanwhile, so that
callers wait without an answer. A worker that cannot start ends the whole service instead: it leaves
its reason in a file, and asks the supervising process to stop. A worker whose supervising process
is gone ends too: it would hold the port and the audit log, and nobody would stop it.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

EXIT_CODE = 2  # of a service that could not start
_VARIABLE = "CLEARLINE_SUPERVISOR"
_WORKER = ("_bentoml_impl", "worker", "service.py")  # the program of a worker
_STARTING = "starting-"  # and its process id: the file of a worker that starts
_MAX_DEAD = 4  # workers that died while they started, before the service is ended
_SECONDS_BETWEEN_LOOKS = 0.25  # at the supervising process


class SupervisorGone(RuntimeError):
    """The process that started this worker has ended."""


@dataclass(frozen=True, slots=True)
class Start:
    """What the supervising process found, the same for all its workers, however late they start.

    A worker that looked for the newest model itself could serve another one than its neighbours.
    """

    process: int  # id of the supervising process
    bundle: str  # folder
    digest: str  # of the bundle
    reason_file: str  # where a worker leaves the reason why it cannot start
    ends: bool  # whether a worker may end the supervising process
    image: str = ""  # the digest of the bundle in the Bento that runs; "" without a Bento


def announce(bundle: Path, digest: str, image: str = "") -> None:
    """Hand this bundle to the workers that this process will start.

    They may end this process only if it is a command that does nothing but serve.
    """
    folder = tempfile.mkdtemp(prefix="clearline-start-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    reason_file = Path(folder) / "reason"
    start = Start(
        process=os.getpid(),
        bundle=str(bundle.absolute()),
        digest=digest,
        reason_file=str(reason_file),
        image=image,
        ends=_is_serve_command(),
    )
    os.environ[_VARIABLE] = json.dumps(asdict(start))
    if start.ends:
        # BentoML's command would end with 0, as after any other request to stop.
        atexit.register(_exit_with_reason, reason_file)


def find_start() -> Start | None:
    """Return what the supervising process of this worker announced; None outside a worker.

    Raises :class:`SupervisorGone` in a worker that lives longer than its supervising process.
    """
    text = os.environ.get(_VARIABLE)
    if text is None:
        return None
    start = Start(**json.loads(text))
    if start.process == os.getppid():
        return start
    # The variable also reaches programs that a worker or the supervising process starts.
    if Path(sys.argv[0]).parts[-len(_WORKER) :] == _WORKER:
        raise SupervisorGone(f"expected the supervising process {start.process}: it has ended")
    return None


def follow_supervisor(end: Callable[[], None]) -> None:
    """Call `end` on a thread when the supervising process is gone; outside a worker do nothing.

    Raises :class:`SupervisorGone` if it is gone already.
    """
    start = find_start()
    if start is None:
        return

    # Not PR_SET_PDEATHSIG: it is Linux's own, and means the thread that started the worker. An id
    # that another process has by now is no danger, because only a parent's id is compared.
    def watch(process: int) -> None:
        while os.getppid() == process:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        end()

    threading.Thread(target=watch, args=(start.process,), daemon=True).start()


class WorkersDied(RuntimeError):
    """Workers died while they started, without an error."""


@contextmanager
def ending_service() -> Iterator[None]:
    """If the block fails, end the service with the error as its reason; the error is raised.

    Raises :class:`WorkersDied` if earlier workers of this service died in this block, again and
    again: of an error in machine code or for want of memory no worker can tell.
    """
    try:
        with _counted_start():
            yield
    except SupervisorGone:
        raise
    except Exception as error:
        start = find_start()
        if start is not None and start.ends:
            Path(start.reason_file).write_text(_reason(error), encoding="utf-8")
            os.kill(start.process, signal.SIGTERM)
        raise


@contextmanager
def _counted_start() -> Iterator[None]:
    """Leave a file while the block runs; raise WorkersDied if dead workers left too many."""
    start = find_start()
    if start is None:
        yield
        return
    folder = Path(start.reason_file).parent
    started = [int(file.name.removeprefix(_STARTING)) for file in folder.glob(f"{_STARTING}*")]
    dead = [process for process in started if not psutil.pid_exists(process)]
    if len(dead) >= _MAX_DEAD:
        raise WorkersDied(
            f"{len(dead)} workers died while they started, without an error: is there memory?"
        )
    mark = folder / f"{_STARTING}{os.getpid()}"
    mark.touch()
    try:
        yield
    finally:
        mark.unlink()


def _is_serve_command() -> bool:
    """Return whether this process is ``bentoml serve`` or ``python -m serving run``."""
    program = Path(sys.argv[0])
    arguments = sys.argv[1:2]
    if program.name == "bentoml" or program.parent.name == "bentoml":
        return arguments == ["serve"]
    return program.parent.name == "serving" and arguments == ["run"]


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _exit_with_reason(reason_file: Path) -> None:
    if not reason_file.exists():
        return
    sys.stdout.flush()
    sys.stderr.write(f"the service ends: {reason_file.read_text('utf-8')}\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)
