"""Which bundle was last activated, and which one each worker serves: files beside the checkpoints.

    checkpoints.jsonl.bundles/
        active.json        the activation in force; none = a service takes the newest stored bundle
        outcomes.json      how many activations were taken over and refused, and the last refusal
        lock               held by the command that activates
        worker-*.json      what a worker serves; its lock file is held for as long as it lives

The folder is on the volume that outlives a container, so a service that starts again serves what
was activated last.  Two replicas have a folder each, and each is activated on its own.  A file is
replaced as a whole: a reader sees the old content or the new.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from serving.decision.bundle import BundleError
from serving.storage.bundles.store import find_bundle
from serving.storage.bundles.whole_file import whole_file
from serving.storage.errors import StorageError
from serving.storage.settings import StorageSettings

_Record = TypeVar("_Record", bound="Activation | Outcomes | Served")


@dataclass(frozen=True, slots=True)
class Activation:
    """The bundle that was last activated, by whom and when.

    `before` is the digest of the one that decided until then; "" = unknown. `image` is that of the
    bundle in the Bento that the service runs from, "" without a Bento: an activation holds for the
    Bento in which it was made, and a new one brings its own bundle.
    """

    digest: str
    before: str
    image: str
    by: str
    at: str


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How many activations were taken over and refused, and why the last one was refused."""

    taken: int = 0
    refused: int = 0
    last_refused: str = ""  # what was to be activated
    why: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """What a worker serves.

    `refused` is the digest that it could not take over, and `why`; "" = there is none. `canary` is
    that of the bundle that decides on a `share` of the accounts; `why_no_canary` says why another
    one does not, that is configured.
    """

    process: int
    digest: str
    image: str = ""
    refused: str = ""
    why: str = ""
    canary: str = ""
    share: float = 0.0
    why_no_canary: str = ""


class ActiveFolder:
    """The folder of one service; :func:`active_folder` finds it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._active = folder / "active.json"

    def signature(self) -> tuple[int, ...] | None:
        """Return what changes whenever another activation is written; None = there is none."""
        return signature_of(self._active)

    def read(self) -> Activation | None:
        """Return the activation in force; None if there is none.

        Raises:
            StorageError: the file is not as :meth:`write` writes it.
        """
        return _read(self._active, Activation)

    def write(self, activation: Activation) -> None:
        """Put an activation into force: workers take it over within a second."""
        _replace_file(self._active, activation)

    def withdraw(self) -> None:
        """Let there be no activation in force."""
        self._active.unlink(missing_ok=True)

    def settle(self, image: str) -> Activation | None:
        """Return the activation that a service which starts from `image` serves.

        One that was made in another Bento is withdrawn.
        """
        activation = self.read()
        if activation is not None and activation.image != image:
            self.withdraw()
            return None
        return activation

    def outcomes(self) -> Outcomes:
        """Return the number of activations so far."""
        return _read(self.folder / "outcomes.json", Outcomes) or Outcomes()

    def count_taken(self) -> None:
        """Count an activation that every worker took over."""
        outcomes = self.outcomes()
        self._write_outcomes(replace(outcomes, taken=outcomes.taken + 1))

    def count_refused(self, version: str, why: str) -> None:
        """Count an activation that was refused."""
        outcomes = self.outcomes()
        count = outcomes.refused + 1
        self._write_outcomes(replace(outcomes, refused=count, last_refused=version, why=why))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other command activate in the block; raises StorageError while one does."""
        self._make()
        with _held_lock(self.folder / "lock") as free:
            if not free:
                raise StorageError(f"another command activates a bundle: {self.folder} is locked")
            yield

    def workers(self) -> list[Served]:
        """Return what each living worker serves, in the order of their process ids."""
        found = []
        for file in sorted(self.folder.glob("worker-*.json")):
            if _is_free(file.with_suffix(".lock")):
                continue
            served = _read(file, Served)
            if served is not None:
                found.append(served)
        return sorted(found, key=lambda served: served.process)

    def register(self) -> WorkerPlace:
        """Return a place for what this worker serves, and remove those of dead workers."""
        self._make()
        for lock in self.folder.glob("worker-*.lock"):
            with _held_lock(lock) as free:
                if free:
                    lock.with_suffix(".json").unlink(missing_ok=True)
                    lock.unlink(missing_ok=True)
        return WorkerPlace(self.folder)

    def _write_outcomes(self, outcomes: Outcomes) -> None:
        _replace_file(self.folder / "outcomes.json", outcomes)

    def _make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)


class WorkerPlace:
    """The file of one worker; its lock is held until the process ends or :meth:`close`."""

    def __init__(self, folder: Path) -> None:
        # Not the process id alone: workers in several containers may have the same.
        name = f"worker-{os.getpid()}-{secrets.token_hex(4)}"
        self._file = folder / f"{name}.json"
        self._lock_file = folder / f"{name}.lock"
        self._lock = _take_lock(self._lock_file)

    def write(self, served: Served) -> None:
        """State what this worker serves; does nothing after :meth:`close`."""
        if self._lock >= 0:
            _replace_file(self._file, served)

    def close(self) -> None:
        """Remove the file; a second call does nothing."""
        if self._lock >= 0:
            self._file.unlink(missing_ok=True)
            self._lock_file.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1


def active_folder(settings: StorageSettings) -> ActiveFolder:
    """Return the folder of the service with these settings; it need not exist.

    >>> from serving.storage.settings import read_settings
    >>> str(active_folder(read_settings({})).folder)
    '.clearline/checkpoints.jsonl.bundles'
    """
    place = settings.checkpoints
    return ActiveFolder(place.with_name(f"{place.name}.bundles"))


def folder_of(activation: Activation) -> Path:
    """Return the folder of the bundle that was activated; it is not verified here.

    Raises:
        BundleError: it is not stored here any more.
    """
    folder = find_bundle(activation.digest)
    if folder is None:
        raise BundleError(
            f"expected the bundle {activation.digest}, which was activated at {activation.at}: it "
            "is not stored here any more; `python -m serving activate` activates another"
        )
    return folder


def signature_of(file: Path) -> tuple[int, ...] | None:
    """Return what changes whenever a file is written or replaced; None = there is no file."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(file: Path, kind: type[_Record]) -> _Record | None:
    try:
        content: Any = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StorageError(f"{file}: expected JSON: {error}; activate a bundle again") from None
    expected = {field.name for field in fields(kind)}
    if not isinstance(content, dict) or set(content) != expected:
        raise StorageError(
            f"{file}: expected the fields {sorted(expected)}; activate a bundle again"
        )
    return kind(**content)


def _replace_file(file: Path, record: Activation | Outcomes | Served) -> None:
    """Write a record to a file, completely or not at all, and durably."""
    with whole_file(file) as draft:
        draft.write_text(json.dumps(asdict(record)), "utf-8")


def _open_lock(file: Path) -> int:
    return os.open(file, os.O_RDWR | os.O_CREAT, 0o600)


def _take_lock(file: Path) -> int:
    """Make a lock file, and hold its lock until the descriptor that is returned is closed."""
    while True:
        descriptor = _open_lock(file)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # A worker that starts at the same time may have taken it for that of a dead one.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                return descriptor
        os.close(descriptor)


@contextmanager
def _held_lock(file: Path) -> Iterator[bool]:
    """Hold a lock in the block; yields whether it was free."""
    descriptor = _open_lock(file)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield False
        return
    try:
        yield True
    finally:
        os.close(descriptor)


def _is_free(lock: Path) -> bool:
    """Return whether nobody holds a lock, or its file is gone."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        # Shared: two who look do not take each other for the worker.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
