"""A store in a folder with any name, and its first use by several processes at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from tests.support.each import each
from tests.support.paths import ROOT
from tests.training.conftest import STORE_WARNINGS
from training.tracking.store import EXPERIMENT, Store, sqlite_uri

pytestmark = STORE_WARNINGS
NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
# Waits for the others before it touches the store, so that they all meet at its database.
FIRST_USE = """
import sys, time
from pathlib import Path
from training.tracking import runs
from training.tracking.store import Store
mine, all_of_them = Path(sys.argv[2]), int(sys.argv[3])
mine.touch()
while len(list(mine.parent.iterdir())) < all_of_them:
    time.sleep(0.01)
with runs.start_run(Store(Path(sys.argv[1])), mine.name):
    runs.log_text("kept", "text.txt")
"""


@pytest.mark.slow
def test_processes_that_meet_at_a_new_store_all_keep_their_runs(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "a store")
    here = tmp_path / "here"
    here.mkdir()
    processes = []
    for number in range(2):
        program = [sys.executable, "-c", FIRST_USE, str(store.folder), str(here / f"run-{number}")]
        process = subprocess.Popen([*program, "2"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        processes.append(process)
    ended = []
    for process in processes:
        _, errors = process.communicate(timeout=300)
        ended.append((process.returncode, errors[-3000:]))
    for returncode, errors in each(ended):
        assert returncode == 0, errors
    client = store.client()
    experiments = [found.name for found in client.search_experiments()]
    assert sorted(experiments) == ["Default", EXPERIMENT]
    found = client.search_runs([store.experiment_id()])
    assert sorted(run.info.run_name for run in found) == ["run-0", "run-1"]
    assert {run.info.status for run in found} == {"FINISHED"}


@pytest.mark.slow
def test_a_process_that_dies_while_it_makes_the_store_holds_up_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    killed = f"""
import os
from pathlib import Path
from training.tracking import store
kept = store.Store(Path({str(folder)!r}))
with kept.lock():
    os._exit(9)
"""
    done = subprocess.run([sys.executable, "-c", killed], cwd=ROOT, check=False)
    assert done.returncode == 9
    assert Store(folder).experiment_id()


@given(NAMES)
def test_a_uri_means_the_file_that_it_was_made_from(name: str) -> None:
    file = f"/folder/x{name}/mlflow.db"
    assert sa.make_url(sqlite_uri(Path(file))).database == file


@pytest.mark.integration
def test_a_store_is_kept_in_its_folder_alone(tmp_path: Path) -> None:
    name = "a b%2Fü[1]?x=1#y"
    store = Store(tmp_path / name)
    experiment = store.client().get_experiment(store.experiment_id())
    assert experiment.artifact_location == (tmp_path / name / "artifacts").as_uri()
    assert store.exists()
    assert [one.name for one in tmp_path.iterdir()] == [name]
