from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.decision.config.economics import (
    FIFTHS,
    Economics,
    EconomicsError,
    Estimate,
    LearntProduct,
    numbers_of,
    read_economics,
    utilization_fifth,
    write_economics,
)
from serving.decision.config.strict_toml import ConfigError
from tests.support.each import each

shares = st.floats(0.0, 1.0)
counts = st.integers(0, 10**9)
estimates = st.builds(
    Estimate,
    value=shares,
    low=st.none() | shares,
    high=st.none() | shares,
    rows=counts,
    accounts=counts,
)
products = st.builds(
    LearntProduct,
    margin=estimates,
    credit_conversion=estimates,
    conversions=st.tuples(*[estimates] * FIFTHS),
    cut_before=counts,
    fully_drawn=counts,
)
ESTIMATE = Estimate(0.25, 0.2, 0.3, 40, 30)
PRODUCT = LearntProduct(
    margin=replace(ESTIMATE, value=0.01),
    credit_conversion=ESTIMATE,
    conversions=tuple(replace(ESTIMATE, value=fifth / 5) for fifth in range(FIFTHS)),
    cut_before=3,
    fully_drawn=4,
)


@given(st.dictionaries(st.text(min_size=1), products))
def test_written_economics_are_read_as_they_were(learnt: dict[str, LearntProduct]) -> None:
    assert read_economics(write_economics(learnt)) == learnt


def changed(*path: str | int, to: Any = None) -> str:
    """The text of PRODUCT's economics with one value changed; None = left out."""
    content = json.loads(write_economics({"pay_later": PRODUCT}))
    at = content["products"]["pay_later"]
    for key in path[:-1]:
        at = at[key]
    if to is None:
        del at[path[-1]]
    else:
        at[path[-1]] = to
    return json.dumps(content)


FAULTS = [
    ("{", "economics.json: expected JSON"),
    ("[]", "economics.json: expected an object, got list"),
    ("{}", "economics.json: missing key 'products'"),
    (changed("margin"), r"\[products.pay_later\]: missing key 'margin'"),
    (changed("margin", "value", to=1.5), r"margin\] value: expected a number from 0 to 1, got 1.5"),
    (changed("margin", "value", to="0.1"), r"margin\] value: expected a number"),
    (changed("margin", "value", to=float("nan")), r"margin\] value: expected a number"),
    (changed("margin", "vale", to=0.1), "unknown key 'vale', did you mean 'value'"),
    (changed("margin", "rows", to=-1), r"rows: expected a whole number of at least 0, got -1"),
    (changed("margin", "rows", to=1.5), r"rows: expected a whole number"),
    (changed("conversions", 4), r"conversions: expected 5 estimates, one for each fifth.*got 4"),
    (changed("conversions", 2, "value"), r"conversions\[2\]\]: missing key 'value'"),
    (changed("cut_before"), "missing key 'cut_before'"),
]


@pytest.mark.parametrize(("text", "message"), FAULTS, ids=[fault[1] for fault in FAULTS])
def test_a_fault_is_refused_where_it_is(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_economics(text)


def test_a_stated_number_replaces_the_learnt_one() -> None:
    learnt = numbers_of({"pay_later": PRODUCT})
    economics = Economics(0.75, 0.05, learnt=learnt)
    own = economics.of("pay_later")
    assert (own.margin, own.credit_conversion) == (0.01, 0.25)
    assert own.conversions == (0.0, 0.2, 0.4, 0.6, 0.8)
    stated = replace(economics, margin=0.06).of("pay_later")
    assert stated == replace(own, margin=0.06)
    stated = replace(economics, credit_conversion=0.5).of("pay_later")
    assert stated == replace(own, credit_conversion=0.5, conversions=(0.5,) * FIFTHS)


def test_a_product_without_numbers_is_named_with_what_is_missing() -> None:
    economics = Economics(0.75, 0.05, learnt=numbers_of({"pay_later": PRODUCT}))
    with pytest.raises(EconomicsError, match=r"margin and credit_conversion of 'lease'.*pay_later"):
        economics.of("lease")
    with pytest.raises(EconomicsError, match="expected credit_conversion of 'lease'"):
        replace(economics, margin=0.1).of("lease")
    assert replace(economics, margin=0.1, credit_conversion=0.2).of("lease").margin == 0.1


def test_the_fifth_is_that_of_utilization() -> None:
    cases = [
        (1_000.0, -50.0, 0),  # overpaid
        (1_000.0, 0.0, 0),
        (1_000.0, 199.99, 0),
        (1_000.0, 200.0, 1),
        (1_000.0, 799.99, 3),
        (1_000.0, 1_000.0, 4),
        (1_000.0, 5_000.0, 4),  # over the limit
        (0.0, 0.0, 4),
        (0.0, 10.0, 4),
    ]
    for limit, balance, expected in each(cases):
        found = utilization_fifth(np.array([limit]), np.array([balance]))
        assert found.tolist() == [expected], (limit, balance)
