"""Which bundle decides on an account, and which stay in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from serving.decision.bundle import Bundle
from serving.decision.policy.control import in_control
from serving.storage.bundles import held
from serving.storage.bundles.held import Canary, HeldBundles
from tests.support.each import each

ACCOUNTS = [f"acct-{number}" for number in range(2000)]


def other(golden: Bundle, number: int) -> Bundle:
    """A bundle of another digest."""
    return replace(golden, digest=f"{number:064x}")


def decided_by(bundles: HeldBundles, bundle: Bundle) -> set[str]:
    """The accounts on which a bundle decides."""
    choice = bundles.choose(b"key")
    return {account for account in ACCOUNTS if choice.of(account) is bundle}


def test_a_request_keeps_the_bundles_with_which_it_began(golden: Bundle) -> None:
    bundles, second = HeldBundles(golden), other(golden, 2)
    choice = bundles.choose(b"key")
    bundles.activate(second)
    bundles.set_canary(Canary(other(golden, 3), 1.0))
    assert {choice.of(account).digest for account in ACCOUNTS} == {golden.digest}
    assert bundles.active is second
    assert bundles.choose(b"key").of("any").digest == other(golden, 3).digest


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_a_canary_gets_its_share_of_the_accounts(golden: Bundle, share: float) -> None:
    bundles, canary = HeldBundles(golden), other(golden, 2)
    bundles.set_canary(Canary(canary, share))
    own = decided_by(bundles, canary)
    assert abs(len(own) / len(ACCOUNTS) - share) <= 0.02
    # Sticky: also under another active bundle, and within every larger share.
    bundles.activate(other(golden, 3))
    assert decided_by(bundles, canary) == own
    bundles.set_canary(Canary(canary, min(share * 2, 1.0)))
    assert own <= decided_by(bundles, canary)


def test_a_canary_is_not_the_control_arm(golden: Bundle) -> None:
    bundles, canary = HeldBundles(golden), other(golden, 2)
    bundles.set_canary(Canary(canary, 0.5))
    own = decided_by(bundles, canary)
    control = {account for account in ACCOUNTS if in_control(account, b"key", 0.5)}
    assert 0.4 <= len(own & control) / len(own) <= 0.6


def test_another_key_draws_other_accounts(golden: Bundle) -> None:
    bundles, canary = HeldBundles(golden), other(golden, 2)
    bundles.set_canary(Canary(canary, 0.5))
    choice = bundles.choose(b"another key")
    assert decided_by(bundles, canary) != {a for a in ACCOUNTS if choice.of(a) is canary}


def test_a_few_earlier_bundles_stay_in_memory(
    golden: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "find_bundle", lambda digest: None)
    bundles = HeldBundles(golden, kept=2)
    for number in range(2, 9):
        bundles.activate(other(golden, number))
    assert bundles.active.digest == other(golden, 8).digest
    kept = [n for n in range(2, 9) if bundles.find(other(golden, n).digest) is not None]
    assert kept == [6, 7, 8]


def test_an_earlier_bundle_that_reviews_use_is_kept(
    golden: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "find_bundle", lambda digest: None)
    bundles = HeldBundles(golden, kept=2)
    for number in each(range(2, 9)):
        bundles.activate(other(golden, number))
        assert bundles.find(golden.digest) is golden


def test_a_bundle_that_is_activated_again_is_no_earlier_one(golden: Bundle) -> None:
    bundles, second = HeldBundles(golden, kept=1), other(golden, 2)
    for bundle in each([second, golden, second, golden]):
        bundles.activate(bundle)
        assert bundles.active is bundle
        assert bundles.held(second.digest) is second
        assert bundles.held(golden.digest) is golden
