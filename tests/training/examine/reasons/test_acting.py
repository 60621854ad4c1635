from __future__ import annotations

import numpy as np
import pytest

from features.types import Matrix, Vector
from tests.support.each import each
from training.examine.reasons.acting import acting_on_reasons
from training.examine.reasons.rankings import GROUPS
from training.examine.reasons.true_causes import TrueEffects
from training.examine.truth.cut_accounts import CutAccounts
from training.examine.truth.drivers import DRIVERS
from training.fit.reason_quality.stated import stated_in

ERROR = 0.01


def first_groups(cut: CutAccounts) -> list[str | None]:
    return [stated_in(advised.decision).first for advised in cut.advised]


def planted(causes: Matrix, hidden: float = 0.0) -> TrueEffects:
    """True effects of the groups, (accounts, GROUPS)."""
    by_driver: dict[str, Vector] = {driver: np.full(len(causes), hidden) for driver in DRIVERS}
    by_driver |= {group: causes[:, place] for place, group in enumerate(GROUPS)}
    errors: dict[str, Vector] = {driver: np.full(len(causes), ERROR) for driver in DRIVERS}
    halves = {driver: (values, values) for driver, values in by_driver.items()}
    return TrueEffects(by_driver, errors, halves)


def effects_of(cut: CutAccounts, first: float, others: float) -> Matrix:
    """The driver of the first reason has one effect, every other group's the other."""
    causes = np.full((len(cut), len(GROUPS)), others)
    for account, group in enumerate(first_groups(cut)):
        if group in GROUPS:
            causes[account, GROUPS.index(group)] = first
    return causes


@pytest.mark.parametrize(
    ("first", "others", "expected"),
    [
        (0.1, 0.2, (1.0, 0.0, 0.0)),  # a smaller cause helps too
        (0.1, 0.0, (1.0, 0.0, 0.0)),
        (0.0, 0.1, (0.0, 1.0, 0.0)),
        (-0.1, 0.1, (0.0, 1.0, 0.0)),
        (1.9 * ERROR, 2.1 * ERROR, (0.0, 1.0, 0.0)),  # within its error
        (-0.1, 0.0, (0.0, 0.0, 1.0)),
    ],
)
def test_what_the_reader_does_follows_from_the_effects(
    cut_accounts: CutAccounts, first: float, others: float, expected: tuple[float, float, float]
) -> None:
    effects = planted(effects_of(cut_accounts, first, others), hidden=0.5)
    table = acting_on_reasons(cut_accounts, effects)
    columns = table.select("helps", "wrong", "nothing_helps")
    assert columns.row(0) == pytest.approx(expected)
    low, high = table["wrong_low"][0], table["wrong_high"][0]
    assert low <= expected[1] <= high


def test_every_account_with_a_behaviour_is_in_one_row_of_its_reason(
    cut_accounts: CutAccounts,
) -> None:
    effects = planted(effects_of(cut_accounts, 0.1, 0.0))
    table = acting_on_reasons(cut_accounts, effects)
    assert table["first_reason"][0] == "all"
    firsts = first_groups(cut_accounts)
    assert table["accounts"][0] == sum(group in GROUPS for group in firsts)
    assert table["accounts"][1:].sum() == table["accounts"][0]
    assert table["accounts"][1:].is_sorted(descending=True)
    for name, accounts in each(table[1:].select("first_reason", "accounts").iter_rows()):
        assert firsts.count(name) == accounts
