"""The tables of followers, against counts by hand."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from tests.support.each import each
from training.evaluate.metrics import wilson
from training.examine.advice.follow import FollowedPlans
from training.examine.advice.followers import (
    AIMS,
    CARRIES_ON,
    CONDUCTS,
    PLAN,
    UNSHOCKED,
    followers,
    promises_kept,
)

ACCOUNTS, FUTURES = 60, 3
MASKS = [field.name for field in fields(FollowedPlans)][2:]


def planted(seed: int, **shares: float) -> FollowedPlans:
    """Drawn results; ``shares`` are of the masks, 0.3 if left out."""
    random = np.random.default_rng(seed)
    promised = random.integers(0, 4, ACCOUNTS)
    asked = promised > 0
    drawn = {
        name: (random.random((FUTURES, ACCOUNTS)) < shares.get(name, 0.3)) & asked for name in MASKS
    }
    return FollowedPlans(promised, asked, **drawn)


@pytest.fixture
def followed() -> dict[str, FollowedPlans]:
    return {name: planted(seed) for seed, name in enumerate(CONDUCTS)}


def test_shares_are_of_the_open_accounts_that_were_asked_about(
    followed: dict[str, FollowedPlans],
) -> None:
    table = followers(followed)
    assert table["followers"].to_list() == [PLAN, UNSHOCKED, *list(CONDUCTS)[1:]]
    for row in each(table.iter_rows(named=True)):
        found = followed[PLAN if row["followers"] == UNSHOCKED else row["followers"]]
        pairs = [
            (future, account)
            for future in range(FUTURES)
            for account in range(ACCOUNTS)
            if found.asked[account] and not found.closed[future, account]
            if row["followers"] != UNSHOCKED or not found.shocked[future, account]
        ]
        back = [pair for pair in pairs if found.kept[pair]]
        assert (row["futures"], row["back"]) == (len(pairs), len(back))
        assert row["accounts"] == len({account for _, account in pairs})
        assert row["restored"] == pytest.approx(len(back) / len(pairs))
        for name in ("stepped", "cut_again", "proposed_again"):
            assert row[name] == pytest.approx(np.mean([getattr(found, name)[p] for p in pairs]))
        either = [found.cut_again[pair] or found.proposed_again[pair] for pair in pairs]
        assert row["cut_or_proposed"] == pytest.approx(np.mean(either))
        for name in ("cut_after", "proposed_after", "defaulted_after"):
            assert row[name] == pytest.approx(np.mean([getattr(found, name)[p] for p in back]))
            assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]


def test_intervals_count_accounts() -> None:
    """Where the futures of an account agree, as many as there are tell no more than one."""
    found = planted(5, closed=0.0)
    for name in MASKS:
        mask = getattr(found, name)
        mask[:] = mask[0]
    row = followers({CARRIES_ON: found}).row(0, named=True)
    expected = wilson(row["restored"], row["accounts"])
    assert (row["restored_low"], row["restored_high"]) == pytest.approx(expected, abs=0.01)


def test_measures_with_an_aim_say_whether_it_is_reached() -> None:
    good = {
        name: planted(3, kept=1.0, closed=0.0, cut_again=0.0, proposed_again=0.0, cut_after=0.0)
        for name in CONDUCTS
    }
    good[CARRIES_ON] = planted(4, kept=0.0)
    bad = {name: planted(3, kept=0.5, cut_again=0.5, cut_after=0.5) for name in CONDUCTS}
    for followed, answer in each([(good, "yes"), (bad, "no")]):
        table = promises_kept(followers(followed))
        assert table.height == len(AIMS)
        assert set(table["reached"]) == {answer}
    before = dict(table.select("measure", "before").head(2).iter_rows())
    assert before == {"restored": 0.0, "cut_or_proposed": 0.6}


def test_what_nobody_lived_has_no_share() -> None:
    nobody = planted(1, kept=0.0)
    row = followers({PLAN: nobody}).row(0, named=True)
    assert row["restored"] == 0.0
    assert row["back"] == 0
    assert row["cut_after"] is None
    assert row["cut_after_high"] is None
