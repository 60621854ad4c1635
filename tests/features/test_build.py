from __future__ import annotations

import datetime
import math
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import build as build_module
from features.build import build, build_from_window, latest_accounts
from features.catalogue import BY_NAME, CATALOGUE, MODEL_FEATURES
from features.schema import check
from features.window import COOLING_MONTHS, lay_out
from tests.support.accounts import quiet_account, window
from tests.support.each import each


def values(statements: pl.DataFrame) -> dict[str, float]:
    features = build(check(statements))
    return dict(zip(features.names, features.values[0].tolist(), strict=True))


@settings(max_examples=40)
@given(st.lists(window(), min_size=1, max_size=8))
def test_build_gives_an_account_the_same_bits_alone_and_among_others(
    drawn: list[pl.DataFrame],
) -> None:
    named = [check(one.with_columns(account_id=pl.lit(f"a{i:02d}"))) for i, one in enumerate(drawn)]
    together = build(check(pl.concat(named)))
    alone = np.concatenate([build(one).values for one in named])
    assert together.values.tobytes() == alone.tobytes()
    assert together.accounts["account_id"].to_list() == [f"a{i:02d}" for i in range(len(drawn))]


def test_build_does_not_depend_on_the_block_size(
    windows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build(check(windows))
    monkeypatch.setattr(build_module, "ROWS_A_BLOCK", 100)
    in_blocks = build(check(windows))
    assert in_blocks.values.tobytes() == whole.values.tobytes()
    assert in_blocks.accounts.equals(whole.accounts)


def test_a_window_gives_the_same_bits_in_blocks_as_whole(
    windows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = check(windows)
    laid_out = lay_out(statements)
    accounts = latest_accounts(statements, laid_out)
    whole = build_from_window(laid_out, accounts)
    assert whole.values.tobytes() == build(statements).values.tobytes()
    monkeypatch.setattr(build_module, "ROWS_A_BLOCK", 100)
    in_blocks = build_from_window(laid_out, accounts)
    assert in_blocks.values.tobytes() == whole.values.tobytes()


@given(window())
def test_features_are_finite_or_unknown(drawn: pl.DataFrame) -> None:
    assert not np.isinf(build(check(drawn)).values).any()


@given(window(months=12), st.integers(1, 11))
def test_features_see_nothing_after_as_of(drawn: pl.DataFrame, seen: int) -> None:
    ordered = check(drawn)
    assert values(ordered.head(seen)) == pytest.approx(
        values(ordered.clone().head(seen)), nan_ok=True
    )
    later = ordered.with_columns(
        balance=pl.when(pl.int_range(pl.len()) >= seen).then(99_999.0).otherwise("balance"),
        days_past_due=pl.when(pl.int_range(pl.len()) >= seen)
        .then(90)
        .otherwise("days_past_due")
        .cast(pl.Int32),
    )
    assert values(later.head(seen)) == pytest.approx(values(ordered.head(seen)), nan_ok=True)


@given(window())
def test_values_are_multiples_of_their_step_as_a_text_shows_them(drawn: pl.DataFrame) -> None:
    laid_out = lay_out(check(drawn))
    for name, value in each(values(drawn).items()):
        feature = BY_NAME[name]
        if feature.products is not None and drawn["product"][0] not in feature.products:
            continue
        with np.errstate(invalid="ignore"):
            exact = float(feature.expression(laid_out)[0])
        if not feature.step or math.isnan(exact):
            assert value == pytest.approx(exact, rel=0, abs=0, nan_ok=True)
            continue
        # 0.35 and not 0.35000000000000003: the decimal number that a sentence prints.
        multiples = Decimal(repr(value)) / Decimal(repr(feature.step))
        assert multiples == multiples.to_integral_value(), name
        assert abs(value - exact) <= feature.step * 0.5000001 + abs(exact) * 1e-12, name


def test_steps_are_whole_or_parts_of_one_and_facts_are_exact() -> None:
    for feature in each(CATALOGUE):
        if feature.step:
            parts = max(feature.step, 1.0 / feature.step)
            assert parts == round(parts), feature.name
            assert feature.direction != 0


BY_PAYMENT = (
    "payment_to_balance_now",
    "payment_to_balance_12",
    "minimum_only_months_6",
    "missed_minimum_months_6",
    "paid_in_full_months_6",
)


@pytest.mark.parametrize("asked", ["minimum_due", "balance"])
@pytest.mark.parametrize("change", [0.01, -0.01, 1.0, -1.0, 0.001 * 300, -0.001 * 3000])
def test_who_pays_exactly_what_is_asked_for_is_not_on_an_edge(asked: str, change: float) -> None:
    owing = quiet_account(12).with_columns(
        balance=pl.lit(3000.0), minimum_due=pl.lit(300.0), credit_limit=pl.lit(6000.0)
    )
    exactly = owing.with_columns(payment=pl.col(asked))
    nearly = owing.with_columns(payment=pl.col(asked) + change)
    expected, found = values(exactly), values(nearly)
    assert {name: found[name] for name in BY_PAYMENT} == {
        name: expected[name] for name in BY_PAYMENT
    }
    months = {"minimum_due": (6.0, 0.0, 0.0), "balance": (0.0, 0.0, 6.0)}
    assert tuple(expected[name] for name in BY_PAYMENT[2:]) == months[asked]
    # The control: a tenth less is less.
    less = values(owing.with_columns(payment=0.9 * pl.col(asked)))
    assert less["payment_to_balance_now"] < expected["payment_to_balance_now"]
    assert tuple(less[name] for name in BY_PAYMENT[2:]) != months[asked]


def test_a_yuan_is_no_growth_no_cash_and_no_debt() -> None:
    names = ("external_debt", "cash_advance", "balance", "payment", "minimum_due")
    wide = quiet_account(12).with_columns(credit_limit=pl.lit(6000.0))
    nothing = wide.with_columns(pl.lit(0.0).alias(name) for name in names)
    expected = values(nothing)
    for name in each(names):
        a_yuan_now = pl.when(pl.int_range(pl.len()) == 11).then(1.0).otherwise(0.0)
        for amount in (pl.lit(1.0), a_yuan_now):
            found = values(nothing.with_columns(amount.alias(name)))
            changed = [
                feature
                for feature in MODEL_FEATURES
                if found[feature] != pytest.approx(expected[feature], abs=0, nan_ok=True)
            ]
            assert not changed, name


def test_a_column_that_is_absent_gives_unknown_never_zero() -> None:
    lacking = quiet_account(12).with_columns(
        limit_requests=pl.lit(None, dtype=pl.Int32), cash_advance=pl.lit(None, dtype=pl.Float64)
    )
    found = values(lacking)
    for name in (
        "limit_requests_3",
        "limit_requests_12",
        "cash_months_3",
        "cash_to_limit_6",
        "cash_to_income_6",
    ):
        assert math.isnan(found[name]), name


def test_a_cut_does_not_raise_utilization_until_the_cooling_is_over() -> None:
    limits = [1000.0] * 6 + [200.0] * (COOLING_MONTHS + 2)
    history = quiet_account(len(limits)).with_columns(credit_limit=pl.Series(limits))
    for months, expected in (
        (6, 0.1),
        (7, 0.1),
        (6 + COOLING_MONTHS, 0.1),
        (7 + COOLING_MONTHS, 0.5),
    ):
        assert values(history.head(months))["utilization_now"] == pytest.approx(expected), months


def test_a_hand_computed_account() -> None:
    months = pl.DataFrame(
        {
            "balance": [400.0, 600.0, 950.0, 800.0],
            "spend": [400.0, 300.0, 500.0, 100.0],
            "payment": [0.0, 100.0, 150.0, 250.0],
            "minimum_due": [40.0, 60.0, 95.0, 80.0],
            "days_past_due": pl.Series([0, 0, 12, 0], dtype=pl.Int32),
            "external_debt": [None, 2000.0, None, None],
        }
    )
    found = values(quiet_account(4).with_columns(months.get_columns()))
    expected = {
        "late_months_3": 1.0,
        "worst_days_past_due_24": 12.0,
        "months_on_time": 1.0,
        "utilization_now": 0.8,
        "utilization_mean_3": (0.6 + 0.95 + 0.8) / 3,
        "months_above_90_6": 1.0,
        "utilization_rise_6": math.nan,
        "spend_to_income_3": 300.0 / 5000.0,
        "spend_growth": 300.0 / 400.0,
        "payment_to_balance_now": 250.0 / 950.0,
        "payment_to_balance_3": 500.0 / 1950.0,
        "minimum_only_months_6": 0.0,
        "missed_minimum_months_6": 0.0,
        "paid_in_full_months_6": 0.0,
        "external_debt_to_income": 0.4,
        "total_debt_to_income": 2800.0 / 5000.0,
        "months_observed": 4.0,
        "carried_on_time_3": (600.0 + 800.0) / 2,
        "idle_months": 0.0,
        "limit_now": 1000.0,
    }
    for name, value in each(expected.items()):
        half_step = 0.5 * BY_NAME[name].step + 1e-9
        assert found[name] == pytest.approx(value, abs=half_step, nan_ok=True), name


@pytest.mark.parametrize(
    ("late", "expected"),
    [([0, 0, 0], 200.0), ([3, 0, 0], 300.0), ([0, 0, 9], 50.0), ([1, 2, 3], math.nan)],
)
def test_carried_on_time_covers_only_months_without_a_late_payment(
    late: list[int], expected: float
) -> None:
    """The balances are -50 (overpaid, so 0 is owed), 100 and 500."""
    months = pl.DataFrame(
        {"balance": [-50.0, 100.0, 500.0], "days_past_due": pl.Series(late, dtype=pl.Int32)}
    )
    found = values(quiet_account(3).with_columns(months.get_columns()))["carried_on_time_3"]
    assert found == pytest.approx(expected, nan_ok=True)


def test_as_of_is_the_last_month_and_unknown_is_null_in_the_frame() -> None:
    features = build(check(quiet_account(2)))
    assert features.accounts["as_of"].to_list() == [datetime.date(2024, 2, 1)]
    frame = features.frame()
    assert frame.columns == [
        "account_id",
        "product",
        "as_of",
        *(feature.name for feature in CATALOGUE),
    ]
    assert frame["spend_growth"].to_list() == [None]
    assert not any(frame[name].is_nan().any() for name in features.names)


def test_the_error_names_a_feature_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="expected a feature of the catalogue, got 'age'"):
        build(check(quiet_account())).column("age")


def test_no_protected_attribute_is_a_feature_or_a_statement_column() -> None:
    protected = (
        "age",
        "gender",
        "sex",
        "region",
        "marriage",
        "marital",
        "education",
        "ethnic",
        "religion",
        "disab",
        "nation",
    )
    names = [*BY_NAME, *quiet_account().columns]
    words = [word for name in names for word in name.split("_")]
    assert not [
        word
        for word in words
        if any(word == p or (len(p) > 4 and word.startswith(p)) for p in protected)
    ]


def test_every_feature_has_texts_and_a_group_unless_it_is_a_fact() -> None:
    assert len(BY_NAME) == len(CATALOGUE)
    assert 40 <= len(MODEL_FEATURES) <= 60
    for feature in each(CATALOGUE):
        assert feature.en
        assert feature.zh
        assert (feature.direction == 0) == (feature.group == "")
