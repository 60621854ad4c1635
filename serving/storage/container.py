"""Whether a folder outlives the container that the service runs in.

What a process writes to the root of its container's file system, to memory or to a folder of a pod
is gone with it. A record there would be lost at the next release, and with it the proof of every
decision.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from serving.storage.errors import StorageError
from serving.storage.settings import StorageSettings

VARIABLE = "CLEARLINE_EPHEMERAL"  # "allow" = what is stored may be lost with the container
# Set by BentoML's images and ours, and by Kubernetes. Not the marks of an engine such as
# /.dockerenv: a developer's container has them too, and a checkout in it is meant to be tried.
_SIGNS = ("BENTOML_CONTAINERIZED", "KUBERNETES_SERVICE_HOST")
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_IN_POD = "kubernetes.io~empty-dir"  # in the source of a mount that ends with its pod
_ESCAPED = {
    "\\040": " ",
    "\\011": "\t",
    "\\012": "\n",
    "\\134": "\\",  # last: a backslash that it gives begins no other
}


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of ``/proc/self/mountinfo``: where, from which folder, of which file system."""

    point: PurePosixPath
    root: str
    kind: str


# Of a process that does not see its root among the mounts.
_ROOT = Mount(PurePosixPath("/"), "/", "unknown")


def check_lasting(
    settings: StorageSettings,
    environment: Mapping[str, str] = os.environ,
    mount_file: Path = Path("/proc/self/mountinfo"),
) -> None:
    """Refuse a record, new secrets or checkpoints that would be gone with this container.

    Secrets that are there already came from outside. Outside a container nothing is refused.

    Raises
    ------
    StorageError
        Which file, and what to do.
    """
    if environment.get(VARIABLE) == "allow" or not in_container(environment):
        return
    mounts = read_mounts(mount_file.read_text("utf-8"))
    named = {"CLEARLINE_RECORD": settings.file, "CLEARLINE_CHECKPOINTS": settings.checkpoints}
    if not settings.secrets.exists():
        named["CLEARLINE_SECRETS"] = settings.secrets
    for variable, file in named.items():
        if file is not None and not lasts(file.absolute(), mounts):
            raise StorageError(
                f"{variable}: {file.absolute()} would be gone with this container; name a file on "
                f"a volume, or set {VARIABLE}=allow to lose it"
            )


def in_container(environment: Mapping[str, str]) -> bool:
    """Return whether the service is deployed in a container.

    >>> in_container({}), in_container({"BENTOML_CONTAINERIZED": "true"})
    (False, True)
    """
    return any(environment.get(sign) for sign in _SIGNS)


def lasts(file: Path, mounts: list[Mount]) -> bool:
    """Return whether a file with this absolute path would outlive the container.

    >>> root = "1 0 0:30 / / rw - overlay overlay rw"
    >>> volume = "2 1 8:1 /volumes/a /var/lib/a rw - ext4 /dev/sda rw"
    >>> mounts = read_mounts(f"{root}\\n{volume}")
    >>> lasts(Path("/var/lib/a/record.db"), mounts), lasts(Path("/app/record.db"), mounts)
    (True, False)
    """
    nearest = _nearest(file, mounts)
    if nearest.point == PurePosixPath("/"):
        return False
    if nearest.kind in _IN_MEMORY:
        return False
    return _IN_POD not in nearest.root


def _nearest(file: Path, mounts: list[Mount]) -> Mount:
    """The mount that a file is on."""
    # The folder may be made later, and its parents may be symbolic links.
    path = PurePosixPath(os.path.realpath(file))
    nearest = _ROOT
    depth = 0
    for mount in mounts:
        parts = len(mount.point.parts)
        # Of two at one point the later hides the earlier.
        if path.is_relative_to(mount.point) and parts >= depth:
            nearest = mount
            depth = parts
    return nearest


def read_mounts(text: str) -> list[Mount]:
    """Return the mounts in the text of ``/proc/self/mountinfo``; see its manual, proc(5)."""
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        root = _unescape(fields[3])
        point = _unescape(fields[4])
        kind = after.split()[0]
        mounts.append(Mount(PurePosixPath(point), root, kind))
    return mounts


def _unescape(text: str) -> str:
    """Return a path as it is: blanks and backslashes are written in octal."""
    for octal, character in _ESCAPED.items():
        text = text.replace(octal, character)
    return text
