"""A service that follows the store activates what is stored, once it is whole."""

from __future__ import annotations

import pytest

from serving.storage.bundles import start
from serving.storage.bundles.start import StoreFollower, read_follow
from serving.storage.errors import StorageError
from tests.support.paths import GOLDEN


def test_only_the_newest_can_be_followed() -> None:
    assert not read_follow({})
    assert read_follow({"CLEARLINE_FOLLOW": "latest"})
    with pytest.raises(StorageError, match="expected latest, or nothing, got 'champion'"):
        read_follow({"CLEARLINE_FOLLOW": "champion"})


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The digests of the stored bundles, the newest last."""
    digests = ["a"]
    monkeypatch.setattr(start, "newest_bundle", lambda: GOLDEN)
    monkeypatch.setattr(start, "stated_digest", lambda folder: digests[-1])
    return digests


def test_a_bundle_that_somebody_went_back_from_is_not_activated_again(stored: list[str]) -> None:
    activated: list[str] = []
    follower = StoreFollower(["older", "a"], lambda: activated.append(stored[-1]))
    for _ in range(3):
        follower.look()
    assert activated == []
    # The control: a newer one is.
    stored.append("b")
    for _ in range(3):
        follower.look()
    assert activated == ["b"]


def test_each_new_bundle_is_activated_once_when_it_is_whole(stored: list[str]) -> None:
    activated: list[str] = []
    follower = StoreFollower(["a"], lambda: activated.append(stored[-1]))
    expected = {"a": [], "b": ["b"], "c": ["b", "c"]}
    for digest, so_far in expected.items():
        before = list(activated)
        stored.append(digest)
        follower.look()
        assert activated == before, "it may not be whole yet"
        for _ in range(3):
            follower.look()
            assert activated == so_far
