"""The files that say which bundle was activated, and which one each worker serves."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from serving.storage.bundles.active import Activation, ActiveFolder, Outcomes, Served
from serving.storage.errors import StorageError
from tests.support.each import each
from tests.support.paths import ROOT

ACTIVATION = Activation("a" * 64, "b" * 64, "", "Li Na", "2026-11-28T04:00:00Z")


@pytest.fixture
def folder(tmp_path: Path) -> ActiveFolder:
    return ActiveFolder(tmp_path / "bundles")


def test_what_was_activated_is_read_again(folder: ActiveFolder) -> None:
    assert folder.read() is None
    assert folder.signature() is None
    with folder.locked():
        folder.write(ACTIVATION)
    assert folder.read() == ACTIVATION
    before = folder.signature()
    folder.write(ACTIVATION)
    assert folder.signature() != before
    folder.withdraw()
    assert folder.read() is None


def test_an_activation_holds_for_the_image_in_which_it_was_made(folder: ActiveFolder) -> None:
    with folder.locked():
        folder.write(ACTIVATION)
    assert folder.settle("") == ACTIVATION
    assert folder.settle("c" * 64) is None
    assert folder.read() is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"digest": "a"}'])
def test_a_file_of_another_form_is_named(folder: ActiveFolder, content: str) -> None:
    with folder.locked():
        (folder.folder / "active.json").write_text(content, encoding="utf-8")
    with pytest.raises(StorageError, match=r"active\.json: expected .*; activate a bundle again"):
        folder.read()


def test_a_reader_sees_the_old_content_or_the_new(folder: ActiveFolder) -> None:
    """Read all the time while it is written all the time."""
    others = [Activation(letter * 64, "", "", "Li Na", "") for letter in "cdef"]
    seen: set[str] = set()
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            activation = folder.read()
            if activation is not None:
                seen.add(activation.digest)

    with folder.locked():
        folder.write(ACTIVATION)
        reader = threading.Thread(target=read)
        reader.start()
        for other in others * 20:
            folder.write(other)
        over.set()
        reader.join()
    assert seen <= {one.digest for one in [ACTIVATION, *others]}
    assert len(seen) > 1
    assert sorted(file.name for file in folder.folder.iterdir()) == ["active.json", "lock"]


def test_one_command_activates_at_a_time(folder: ActiveFolder) -> None:
    refused = pytest.raises(StorageError, match="another command activates a bundle")
    with folder.locked(), refused, folder.locked():
        pass
    with folder.locked():
        folder.count_taken()
        folder.count_refused("2f", "it is damaged")
        folder.count_refused("3f", "it is old")
    assert folder.outcomes() == Outcomes(1, 2, "3f", "it is old")


def test_only_living_workers_are_listed(folder: ActiveFolder) -> None:
    places = [folder.register() for _ in range(3)]
    assert folder.workers() == []
    for number, place in enumerate(places):
        place.write(Served(process=number, digest="a"))
    assert [one.process for one in folder.workers()] == [0, 1, 2]
    places[1].close()
    places[1].write(Served(process=1, digest="a"))
    assert [one.process for one in folder.workers()] == [0, 2]
    for place in places:
        place.close()


DYING = """
import os, sys
from pathlib import Path
from serving.storage.bundles.active import ActiveFolder, Served
place = ActiveFolder(Path(sys.argv[1])).register()
place.write(Served(process=os.getpid(), digest="dead"))
os._exit(9)
"""


def test_a_worker_that_died_is_not_listed_and_its_files_go(folder: ActiveFolder) -> None:
    command = [sys.executable, "-c", DYING, str(folder.folder)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 9
    assert list(folder.folder.glob("worker-*.json"))
    assert folder.workers() == []
    place = folder.register()
    assert list(folder.folder.glob("worker-*.json")) == []
    place.close()


def test_workers_that_start_at_once_all_find_a_place(folder: ActiveFolder) -> None:
    places = []

    def register() -> None:
        place = folder.register()
        place.write(Served(process=1, digest="a"))
        places.append(place)

    threads = [threading.Thread(target=register) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folder.workers()) == 20
    for place in each(places):
        place.close()
    assert folder.workers() == []
