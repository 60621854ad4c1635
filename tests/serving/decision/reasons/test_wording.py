from __future__ import annotations

import datetime
import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue import Unit
from serving.decision.reasons.wording import month_name, number

_ZERO_WITH_SIGN = re.compile(r"-0(\.0*)?(?![\d.])")


@given(
    st.one_of(st.floats(-0.01, 0.0), st.floats(-1e6, 1e6)),
    st.sampled_from(get_args(Unit)),
    st.sampled_from(["en", "zh"]),
)
def test_a_value_that_rounds_to_zero_has_no_sign(value: float, unit: Unit, language: str) -> None:
    text = number(value, unit, "en" if language == "en" else "zh")
    assert not _ZERO_WITH_SIGN.search(text), text


def test_a_sign_before_zero_would_be_found() -> None:
    assert _ZERO_WITH_SIGN.search(f"{-0.004 * 100:.0f}%")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(-0.004, "share", "0%"), (-0.4, "CNY", "CNY -0.40"), (-0.006, "share", "-1%")],
)
def test_other_negative_values_keep_theirs(value: float, unit: Unit, text: str) -> None:
    assert number(value, unit, "en") == text


@pytest.mark.parametrize(
    ("value", "unit", "en", "zh"),
    [
        (0.004, "share", "less than 1%", "不到1%"),
        (0.006, "share", "1%", "1%"),
        (0.04, "times", "less than 0.1", "不到0.1"),
        (0.0, "share", "0%", "0%"),
    ],
)
def test_what_is_small_does_not_read_as_zero(value: float, unit: Unit, en: str, zh: str) -> None:
    assert (number(value, unit, "en"), number(value, unit, "zh")) == (en, zh)


@pytest.mark.parametrize("place", range(1, 13))
def test_a_month_reads_as_people_write_it(place: int) -> None:
    date = datetime.date(2026, place, 1)
    assert datetime.datetime.strptime(month_name(date, "en"), "%B %Y").date() == date
    assert month_name(date, "zh") == f"2026年{place}月"
