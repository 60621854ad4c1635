from __future__ import annotations

import polars as pl

from training.examine.reasons.aims import DELETION, STABILITY, add_aims


def test_an_aim_is_reached_or_not_and_none_is_neither() -> None:
    table = pl.DataFrame(
        {"deleted": ["first", "stated", "one_random"], "accounts": 9, "undone": [0.55, 0.96, 0.1]}
    )
    found = add_aims(table, DELETION)
    assert found.columns == ["deleted", "accounts", "before", "undone", "aim", "reached"]
    assert found["reached"].to_list() == ["yes", "no", None]
    assert found["aim"].to_list() == [0.55, 0.97, None]
    assert found["before"].to_list() == [0.28, None, None]


def test_without_earlier_figures_there_is_no_column_of_them() -> None:
    table = pl.DataFrame({"against": ["redrawn_accounts"], "among_equals": [0.91]})
    found = add_aims(table, STABILITY)
    assert found.columns == ["against", "among_equals", "aim", "reached"]
    assert found["reached"].to_list() == ["yes"]
