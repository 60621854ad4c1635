from __future__ import annotations

from importlib.resources import files

import pytest

from features.catalogue import CATALOGUE
from serving.decision.config.advice import LEVERS, NOTES, AdviceError, read_advice

TEXT = files("serving.decision.config").joinpath("advice.toml").read_text("utf-8")


def test_the_projects_own_is_read() -> None:
    rules = read_advice(TEXT)
    assert tuple(rules.levers) == LEVERS
    assert tuple(rules.notes) == NOTES
    assert rules.search.months == 12
    assert all(lever.text.en and lever.text.zh for lever in rules.levers.values())


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("[search]", "[search", "not TOML"),
        (
            "months = 12\n# Log",
            "months = 0\n# Log",
            "advice.search.months: expected 1 to 24, got 0",
        ),
        ("margin = 1.0", "margin = true", "advice.search.margin: expected 0 to 10, got True"),
        ("margin = 1.0", "", "advice.search: missing \\['margin'\\]"),
        ("grid = [1.0]", "grid = []", "advice.levers.on_time: expected a grid of numbers"),
        ("grid = [1.0]", "grid = [1.5]", "advice.levers.on_time: expected a grid within 0 to 1"),
        (
            "[levers.on_time]",
            "[levers.smile]",
            "advice.levers: missing \\['on_time'\\], unknown \\['smile'\\]",
        ),
        (
            "Pay {amount} above",
            "Pay above",
            "advice.levers.extra.en: expected the placeholders \\['amount'\\]",
        ),
        (
            'column = "late"',
            'column = "mood"',
            "advice.ageing.late_payment.column: expected one of",
        ),
        (
            'months = 12\nen = "The late',
            'months = 25\nen = "The late',
            "advice.ageing.late_payment.months: expected 1 to 24",
        ),
        ("[notes.no_plan]", "[notes.no_way]", "advice.notes: missing \\['no_plan'\\]"),
    ],
)
def test_what_is_wrong_is_named(before: str, after: str, message: str) -> None:
    assert before in TEXT
    with pytest.raises(AdviceError, match=message):
        read_advice(TEXT.replace(before, after, 1))


def test_what_ages_is_a_column_of_the_window() -> None:
    """A column by that name is derived or sent: the catalogue's own features use most of them."""
    rules = read_advice(TEXT)
    used = {
        name
        for feature in CATALOGUE
        for name in feature.expression.__code__.co_consts
        if isinstance(name, str)
    }
    assert {ageing.column for ageing in rules.ageing.values()} <= used
