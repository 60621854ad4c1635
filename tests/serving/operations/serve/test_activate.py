"""A command activates a bundle, and the workers take it over or all go back.

Two workers run here as threads of their own, with bundles of their own, as in two processes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from serving.decision.bundle import Bundle, BundleError
from serving.operations.audit import open_audit_log
from serving.operations.errors import USER_ERRORS, NotActivated
from serving.operations.pack import store
from serving.operations.serve.activate import activate, result_text
from serving.storage.bundles.active import (
    Activation,
    ActiveFolder,
    Outcomes,
    Served,
    active_folder,
)
from serving.storage.bundles.follow import Follower
from serving.storage.bundles.held import HeldBundles
from serving.storage.bundles.start import bundle_to_serve, choose_start
from serving.storage.bundles.store import newest_bundle, stated_digest
from tests.support.bundles import DAMAGES, delete_stored, store_damaged, write_variant
from tests.support.paths import GOLDEN
from tests.support.records import settings_in
from tests.support.served import AS_DEPLOYED

pytestmark = pytest.mark.integration
SECONDS = 60.0


@pytest.fixture(scope="module")
def second(bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of a second stored bundle; the golden one is stored too, and is the newest."""
    folder = tmp_path_factory.mktemp("second") / "bundle"
    digest = write_variant(folder, 0.02)
    store(folder)
    store(GOLDEN)
    return digest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str) -> ActiveFolder:
    """The folder of a service with an audit log, which the environment names."""
    settings = settings_in(tmp_path)
    monkeypatch.setenv("CLEARLINE_RECORD", settings.address)
    monkeypatch.setenv("CLEARLINE_SECRETS", str(settings.secrets))
    monkeypatch.setenv("CLEARLINE_CHECKPOINTS", str(settings.checkpoints))
    # The process that verifies finds no training library, and starts seconds sooner.
    for name, value in AS_DEPLOYED.items():
        monkeypatch.setenv(name, value)
    with open_audit_log(settings, create=True):
        pass
    return active_folder(settings)


@pytest.fixture
def workers(folder: ActiveFolder, golden: Bundle) -> Iterator[list[HeldBundles]]:
    with ExitStack() as stack:
        held = [HeldBundles(golden), HeldBundles(golden)]
        for bundles in held:
            follower = stack.enter_context(closing(Follower(bundles, folder)))
            follower.start()
        yield held


def rows(tmp_path: Path) -> list[tuple[str, str]]:
    """The beginning of the digest, and the outcome, of each activation in the audit log."""
    with open_audit_log(settings_in(tmp_path)) as log:
        found = log.reader.of_kind(("activation",))
        return [(row.subject, str(row.metadata["outcome"])) for row in found]


@pytest.mark.slow
def test_every_worker_takes_over_and_the_command_says_so(
    folder: ActiveFolder, workers: list[HeldBundles], second: str, golden: Bundle, tmp_path: Path
) -> None:
    result = activate(second, "Li Na", SECONDS)
    assert [held.active.digest for held in workers] == [second, second]
    assert (len(result.serving), len(result.waiting)) == (2, 0)
    text = result_text(result)
    assert text.count("serves it") == 2
    assert f"python -m serving activate {golden.digest[:12]}" in text
    # Back by the command that it prints, with the bundle that is in memory still.
    activate(golden.digest[:12], "Li Na", SECONDS)
    assert all(held.active is golden for held in workers)
    assert rows(tmp_path) == [(second, "activated"), (golden.digest, "activated")]
    assert folder.outcomes() == Outcomes(taken=2)
    # Once more changes nothing.
    activate(golden.digest, "Li Na", SECONDS)
    assert len(rows(tmp_path)) == 2


REFUSED = {
    "golden row": "is answered differently here in ['log_odds']",
    "policy": "policy.toml: unknown key 'unknown'",
    "format": "expected bundle format 8, got 7",
    "seal": "model.txt: its sha256 is not what the manifest states",
}


@pytest.mark.parametrize(
    "kind",
    [DAMAGES[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in DAMAGES[1:])],
)
def test_a_refused_bundle_leaves_the_old_one_serving_and_says_why(
    folder: ActiveFolder,
    workers: list[HeldBundles],
    golden: Bundle,
    tmp_path: Path,
    kind: str,
) -> None:
    digest = store_damaged(tmp_path / "damaged", kind)
    with pytest.raises(NotActivated) as refused:
        activate(digest, "Li Na", SECONDS)
    assert isinstance(refused.value, USER_ERRORS)
    assert REFUSED[kind] in str(refused.value)
    assert all(held.active is golden for held in workers)
    assert folder.read() is None
    outcomes = folder.outcomes()
    assert (outcomes.taken, outcomes.refused, outcomes.last_refused) == (0, 1, digest)
    assert REFUSED[kind] in outcomes.why
    assert rows(tmp_path) == []
    delete_stored(digest)


def test_a_bundle_that_is_not_stored_is_refused(folder: ActiveFolder) -> None:
    with pytest.raises(NotActivated, match="is not stored; stored are"):
        activate("0" * 64, "Li Na", SECONDS)
    assert folder.outcomes().refused == 1


class Refusing(threading.Thread):
    """A worker that cannot take over what is activated; after that it serves what it served."""

    def __init__(self, folder: ActiveFolder, serves: str) -> None:
        super().__init__(daemon=True)
        self._folder, self._serves = folder, serves
        self._place = folder.register()
        self._place.write(self._served())

    def run(self) -> None:
        while (activation := self._folder.read()) is None:
            time.sleep(0.02)
        self._place.write(self._served(refused=activation.digest, why="MemoryError"))

    def close(self) -> None:
        self._place.close()

    def _served(self, refused: str = "", why: str = "") -> Served:
        return Served(process=1, digest=self._serves, refused=refused, why=why)


@pytest.mark.slow
def test_if_one_worker_refuses_all_go_back(
    folder: ActiveFolder, workers: list[HeldBundles], second: str, golden: Bundle, tmp_path: Path
) -> None:
    with closing(Refusing(folder, golden.digest)) as refusing:
        refusing.start()
        with pytest.raises(NotActivated, match="worker 1 refuses it: MemoryError"):
            activate(second, "Li Na", SECONDS)
    activation = folder.read()
    assert activation is not None
    assert activation.digest == golden.digest
    wait_for(lambda: all(held.active is golden for held in workers))
    assert rows(tmp_path) == [(second, "activated"), (second, "refused")]
    assert folder.outcomes().refused == 1


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_a_worker_that_is_late_is_named(folder: ActiveFolder, second: str, golden: Bundle) -> None:
    place = folder.register()
    place.write(Served(process=17, digest=golden.digest))
    with closing(place):
        result = activate(second, "Li Na", 0.0)
    assert "worker   17 does not serve it yet" in result_text(result)


def test_a_start_serves_what_was_activated_and_says_what_is_newer(
    folder: ActiveFolder, second: str, golden: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    newest = newest_bundle()
    assert stated_digest(newest) == golden.digest
    assert choose_start(newest, "", folder) == newest
    result = activate(second, "Li Na", SECONDS)
    assert "no worker runs here: the next one serves it" in result_text(result)
    assert stated_digest(choose_start(newest, "", folder)) == second
    assert golden.digest[:12] in caplog.text
    assert stated_digest(bundle_to_serve(folder)) == second
    # Another Bento brings another bundle.
    assert choose_start(newest, golden.digest, folder) == newest
    assert bundle_to_serve(folder) == newest


def test_a_start_is_refused_if_what_was_activated_is_gone(folder: ActiveFolder) -> None:
    with folder.locked():
        folder.write(Activation("0" * 64, "", "", "Li Na", "2026-11-28T04:00:00Z"))
    with pytest.raises(BundleError, match="which was activated at 2026-11-28T04:00:00Z"):
        choose_start(newest_bundle(), "", folder)


@pytest.mark.slow
def test_a_canary_takes_its_share_and_follows_its_file(
    folder: ActiveFolder, second: str, golden: Bundle, tmp_path: Path
) -> None:
    file, bundles = tmp_path / "canary.toml", HeldBundles(golden)
    with closing(Follower(bundles, folder, "", file)) as follower:
        follower.look()
        assert bundles.canary is None
        file.write_text(f'bundle = "{second[:12]}"\nshare = 0.5\n', encoding="utf-8")
        follower.look()
        assert bundles.canary is not None
        assert (bundles.canary.bundle.digest, bundles.canary.share) == (second, 0.5)
        # A bad file changes nothing, and is told.
        file.write_text(f'bundle = "{second[:12]}"\nshare = 5\n', encoding="utf-8")
        follower.look()
        assert bundles.canary.share == 0.5
        [served] = folder.workers()
        assert "share: expected a number from 0 to 1" in served.why_no_canary
        # Another share of the same bundle needs no other copy of it.
        file.write_text(f'bundle = "{second[:12]}"\nshare = 0.1\n', encoding="utf-8")
        same = bundles.canary.bundle
        follower.look()
        assert bundles.canary.share == 0.1
        assert bundles.canary.bundle is same
        file.unlink()
        follower.look()
        assert bundles.canary is None
