from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue import BY_NAME
from serving.decision.bundle import Bundle
from serving.decision.config.reasons import Text
from serving.decision.reasons.comparison import describe, make_comparison
from tests.support.each import each
from tests.support.reason_oracle import share_better

# One feature a unit and direction; printed alike and apart, whole and not.
FEATURES = [
    "utilization_now",
    "payment_to_balance_3",
    "late_months_6",
    "months_on_time",
    "external_debt_to_income",
    "income",
    "payment_least_3",
    "credit_inquiries_6",
]
SAMPLES = [0.0, 0.004, 0.0051, 0.96, 1.0, 1.04, 3.0, 11.0, 1234.4, 1234.6, -0.004]
amounts = st.one_of(
    st.sampled_from(SAMPLES),
    st.floats(-2, 5000).map(lambda value: round(value, 3)),
)


@given(
    st.sampled_from(FEATURES),
    st.lists(st.one_of(st.none(), amounts), min_size=1, max_size=12),
    st.one_of(st.just(math.nan), amounts),
)
def test_the_share_is_that_of_counting_one_by_one(
    name: str, others: list[float | None], value: float
) -> None:
    table = pl.DataFrame({name: others}, {name: pl.Float64})
    found = make_comparison("pay_later", table, "drawn").share_better(name, value)
    assert found == pytest.approx(share_better(name, value, others))


@pytest.mark.parametrize("name", FEATURES)
def test_a_value_that_reads_as_the_median_is_not_worse(name: str) -> None:
    """Values so near that their digits decide; most others are told apart without writing them."""
    for median in each(SAMPLES):
        table = pl.DataFrame({name: [median]}, {name: pl.Float64})
        comparison = make_comparison("pay_later", table, "drawn")
        for step in each([0.0, 1e-9, 0.0049, 0.009, 0.049, 0.099, 0.49, 0.99, 1.01]):
            for value in (median - step, median + step):
                expected = share_better(name, value, [median])
                assert comparison.share_better(name, value) == expected, (median, value)


def test_an_accounts_own_value_is_not_better_than_itself(bundle: Bundle) -> None:
    for comparison in each(bundle.comparisons.values()):
        for name, median in each(comparison.medians.items()):
            if not math.isnan(median):
                assert comparison.share_better(name, median) == 0.0


def test_quartiles_and_medians_are_of_known_values(bundle: Bundle) -> None:
    for product, comparison in each(bundle.comparisons.items()):
        rows = bundle.reference.filter(product=product)
        assert comparison.size == rows.height
        for name in each(bundle.features):
            known = rows[name].drop_nulls().to_numpy()
            low, high = comparison.quartiles[name]
            expected = [math.nan] * 3
            if len(known) * 2 >= rows.height:
                expected = np.quantile(known, [0.25, 0.5, 0.75]).tolist()
            assert [low, comparison.medians[name], high] == pytest.approx(expected, nan_ok=True)


def test_an_unknown_feature_is_refused() -> None:
    table = pl.DataFrame({"income": [1.0]})
    with pytest.raises(KeyError, match="limit_now"):
        make_comparison("pay_later", table, "drawn").share_better("limit_now", 1.0)
    assert "limit_now" in BY_NAME


def test_the_note_says_how_many_and_how_they_were_chosen(bundle: Bundle) -> None:
    product, comparison = next(iter(bundle.comparisons.items()))
    note = describe(comparison, bundle.wording, "2026-11.3", bundle.digest)
    assert (comparison.product, note.size, note.bundle) == (product, 300, bundle.digest)
    assert note.policy == "2026-11.3"
    assert note.chosen.startswith("accounts of the product that the policy keeps")
    text = Text(note.en, note.zh)
    for own in (text.en, text.zh):
        assert "300" in own
        assert "{" not in own
    assert "only just keep their limit" in text.en
