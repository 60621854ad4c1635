from __future__ import annotations

import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue import Unit
from serving.decision.reasons.wording import number

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
    assert _ZERO_WITH_SIGN.search(f"{-0.004 * 100:.0f} %")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(-0.004, "share", "0 %"), (-0.4, "CNY", "CNY -0.40"), (-0.006, "share", "-1 %")],
)
def test_other_negative_values_keep_theirs(value: float, unit: Unit, text: str) -> None:
    assert number(value, unit, "en") == text
