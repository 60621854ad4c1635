from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

import numpy as np
import pytest

from features.build import values_of
from features.catalogue import CATALOGUE
from features.window import lay_out
from serving.decision.config.advice import LEVERS, NOTES, read_advice
from serving.decision.config.strict_toml import ConfigError
from tests.support.accounts import quiet_account
from tests.support.each import each

TEXT = files("serving.decision.config").joinpath("advice.toml").read_text("utf-8")


def test_the_projects_own_file_is_read() -> None:
    rules = read_advice(TEXT)
    assert tuple(rules.levers) == LEVERS
    assert tuple(rules.notes) == NOTES
    assert rules.search.months == 12
    assert all(lever.text.en and lever.text.zh for lever in rules.levers.values())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[search]", "[search", r"advice\.toml: expected TOML"),
        (
            "months = 12\n# Log",
            "months = 0\n# Log",
            r"\[search\] months: expected a whole number from 1 to 24, got 0",
        ),
        (
            "margin = 0.8",
            "margin = true",
            r"\[search\] margin: expected a number from 0 to 10, got True",
        ),
        ("margin = 0.8", "", r"\[search\]: missing key 'margin'"),
        ("grid = [1.0]", "grid = []", r"\[levers\.on_time\] grid: expected a list of numbers"),
        (
            "grid = [1.0]",
            "grid = [1.5]",
            r"\[levers\.on_time\] grid: expected a number from 0 to 1, got 1\.5",
        ),
        ("[levers.on_time]", "[levers.smile]", r"\[levers\]: missing key 'on_time'"),
        (
            "Pay {amount} more",
            "Pay more",
            r"\[levers\.extra\] en: expected the placeholders \['amount'\], got \[\]",
        ),
        (
            'column = "late"',
            'column = "mood"',
            r"\[ageing\.late_payment\] column: expected one of .*, got 'mood'",
        ),
        (
            'months = 24\nen = "From',
            'months = 25\nen = "From',
            r"\[ageing\.late_payment\] months: expected a whole number from 1 to 24, got 25",
        ),
        (
            "[notes.no_plan]",
            "[notes.no_plann]",
            r"missing key 'no_plan'; is 'no_plann' a misspelling of it",
        ),
    ],
)
def test_an_error_names_the_key(
    old: str,
    new: str,
    message: str,
) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=message):
        read_advice(TEXT.replace(old, new, 1))


def test_ageing_columns_are_columns_that_features_use() -> None:
    rules = read_advice(TEXT)
    used = {
        name
        for feature in CATALOGUE
        for name in feature.expression.__code__.co_consts
        if isinstance(name, str)
    }
    columns = {ageing.column for ageing in rules.ageing.values()}
    assert columns
    assert columns <= used


# What the statement of the month shows in which the event happened.
EVENTS: Mapping[str, tuple[str, float]] = {
    "late": ("days_past_due", 30.0),
    "drew_cash": ("cash_advance", 500.0),
    "credit_inquiries": ("credit_inquiries", 1.0),
    "limit_requests": ("limit_requests", 1.0),
    "above_90": ("balance", 950.0),
}


def features_after(column: str, months: int) -> set[str]:
    """The features that an event changes so many months later."""
    window = lay_out(quiet_account(24))
    stored, value = EVENTS[column]
    changed = window[stored].copy()
    if months < len(changed):
        changed[months] = value
    before, after = values_of(window), values_of(window.replace(stored, changed))
    is_changed = ~np.isclose(before, after, rtol=0, atol=0, equal_nan=True)[0]
    differing = {feature for feature, at in zip(CATALOGUE, is_changed, strict=True) if at}
    if column == "above_90":
        # A bill is also paid, or not, in the month after it.
        differing = {feature for feature in differing if feature.group == "high_utilization"}
    return {feature.name for feature in differing}


def test_an_event_counts_as_long_as_a_customer_is_told() -> None:
    for name, rule in each(read_advice(TEXT).ageing.items()):
        assert not features_after(rule.column, rule.months), name
        assert features_after(rule.column, rule.months - 1), name
