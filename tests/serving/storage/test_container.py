"""A record that would be gone with its container is refused, unless the operator says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from serving.storage.container import check_lasting
from serving.storage.errors import StorageError
from serving.storage.settings import StorageSettings

# As in a pod: the image's root, a claim, a folder of the pod, memory, a secret, and a blank.
MOUNTS = """\
22 27 0:21 / / rw,relatime - overlay overlay rw,lowerdir=/a
30 22 8:17 / /var/lib/clearline rw,relatime shared:7 - ext4 /dev/sdb1 rw
31 22 8:1 /pods/1/volumes/kubernetes.io~empty-dir/cache /var/cache rw - ext4 /dev/sda1 rw
32 22 0:50 / /tmp rw - tmpfs tmpfs rw
33 22 0:51 / /etc/clearline ro - tmpfs tmpfs ro
34 22 8:33 / /var/lib/two\\040words rw - xfs /dev/sdc1 rw
35 30 0:52 / /var/lib/clearline/scratch rw - tmpfs tmpfs rw
"""
VOLUME = "/var/lib/clearline"
IN_CONTAINER = {"BENTOML_CONTAINERIZED": "true"}
IN_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def settings(record: str, files: str = VOLUME) -> StorageSettings:
    return StorageSettings(
        address=record if "://" in record else f"sqlite:///{record}",
        secrets=Path(files, "secrets.json"),
        checkpoints=Path(files, "checkpoints.jsonl"),
        deadline=2.0,
    )


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    file = tmp_path / "mountinfo"
    file.write_text(MOUNTS, encoding="utf-8")
    return file


@pytest.mark.parametrize("environment", [IN_CONTAINER, IN_POD])
@pytest.mark.parametrize(
    "folder", ["/app", "/", "/var/cache", "/tmp/deep", f"{VOLUME}/scratch", "/var/lib/clearline2"]
)
def test_a_record_that_dies_with_the_container_is_refused(
    mounts: Path, folder: str, environment: dict[str, str]
) -> None:
    with pytest.raises(StorageError, match=r"^CLEARLINE_RECORD: /.* CLEARLINE_EPHEMERAL=allow"):
        check_lasting(settings(f"{folder}/record.db"), environment, mounts)


@pytest.mark.parametrize("folder", [VOLUME, f"{VOLUME}/deep/er", "/var/lib/two words"])
def test_a_record_on_a_volume_is_taken(mounts: Path, folder: str) -> None:
    check_lasting(settings(f"{folder}/record.db"), IN_CONTAINER, mounts)


def test_a_relative_path_is_that_of_the_folder_of_the_service(
    mounts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=f"{tmp_path}/record.db"):
        check_lasting(settings("record.db"), IN_CONTAINER, mounts)


@pytest.mark.parametrize("environment", [{}, IN_CONTAINER | {"CLEARLINE_EPHEMERAL": "allow"}])
def test_outside_a_container_and_where_it_is_allowed_nothing_is_refused(
    mounts: Path, environment: dict[str, str]
) -> None:
    check_lasting(settings("/app/record.db", "/app"), environment, mounts)


def test_with_postgresql_the_files_beside_it_are_checked(mounts: Path, tmp_path: Path) -> None:
    record = "postgresql://lender@db/clearline"
    check_lasting(settings(record), IN_CONTAINER, mounts)
    lost = settings(record, "/app")
    with pytest.raises(StorageError, match="CLEARLINE_CHECKPOINTS: /app/checkpoints"):
        check_lasting(lost, IN_CONTAINER, mounts)
    kept = replace(lost, checkpoints=Path(VOLUME, "checkpoints.jsonl"))
    with pytest.raises(StorageError, match="CLEARLINE_SECRETS: /app/secrets"):
        check_lasting(kept, IN_CONTAINER, mounts)
    # Secrets that are there came from outside.
    there = tmp_path / "secrets.json"
    there.touch()
    check_lasting(replace(kept, secrets=there), IN_CONTAINER, mounts)
