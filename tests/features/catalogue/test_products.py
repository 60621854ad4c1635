"""Features that some products do not have."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings

from features.build import build
from features.catalogue import BY_NAME, CATALOGUE, OF_ANOTHER_PRODUCT
from features.schema import PRODUCTS, check
from tests.support.accounts import quiet_account, window
from tests.support.each import each

OF_PURCHASES = (
    "spend_to_income_3",
    "spend_to_income_12",
    "spend_to_limit_3",
    "spend_growth",
    "spend_peak",
    "repaid_spending_3",
    "repaid_spending_6",
)


def test_the_features_of_purchases_are_those_of_pay_later_only() -> None:
    limited = {feature.name for feature in CATALOGUE if feature.products is not None}
    assert limited == set(OF_PURCHASES)
    for name in each(OF_PURCHASES):
        assert BY_NAME[name].products == ("pay_later",)


@settings(max_examples=60)
@given(window())
def test_a_feature_of_another_product_is_a_constant(drawn: pl.DataFrame) -> None:
    """It is never unknown; the features of all products do not depend on the product."""
    of = {}
    for product in PRODUCTS:
        statements = drawn.with_columns(product=pl.lit(product))
        of[product] = build(check(statements))
    for feature in each(CATALOGUE):
        loan = of["cash_loan"].column(feature.name)
        if feature.name in OF_PURCHASES:
            assert loan.tolist() == [OF_ANOTHER_PRODUCT], feature.name
        else:
            later = of["pay_later"].column(feature.name)
            assert np.array_equal(loan, later, equal_nan=True), feature.name


def test_products_together_have_the_values_that_they_have_alone() -> None:
    random = np.random.default_rng(0)
    frames = []
    for number in range(300):
        spend = pl.Series(random.lognormal(5, 1, 6))
        frame = quiet_account(6, f"a{number:03d}")
        product = pl.lit(PRODUCTS[number % 2])
        frames.append(check(frame.with_columns(product=product, spend=spend)))
    alone = np.concatenate([build(frame).values for frame in frames])
    together = build(pl.concat(frames)).values
    assert together.tobytes() == alone.tobytes()


@pytest.mark.parametrize("products", [("cash_loans",), ()])
def test_a_product_that_does_not_exist_is_refused(products: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="feature 'income': expected some of the products"):
        dataclasses.replace(BY_NAME["income"], products=products)
