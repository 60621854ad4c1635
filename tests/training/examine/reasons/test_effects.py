from __future__ import annotations

import dataclasses
import math
from typing import get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.schema import check
from features.types import Mask, Vector
from features.window import Window, lay_out
from serving.decision.bundle import Bundle
from serving.decision.pipeline import stages
from tests.support.accounts import window
from tests.support.checks import WHEN
from tests.support.each import each
from tests.support.year_replay import LEVELS, MEDIAN_OF, NUMBERS, YEAR, YearReplay
from training.examine.reasons.effects import (
    ACCOUNTS_PER_BLOCK,
    DRIVEN,
    Driven,
    compute_effects,
    levels_of,
    medians_of,
)


@pytest.fixture(scope="module")
def was(windows: pl.DataFrame) -> Window:
    return lay_out(check(windows))


@pytest.fixture(scope="module")
def products(windows: pl.DataFrame) -> list[str]:
    names: list[str] = (
        windows.group_by("account_id", maintain_order=True).first()["product"].to_list()
    )
    return names


@pytest.fixture(scope="module")
def found(
    was: Window,
    products: list[str],
    bundle: Bundle,
) -> NDArray[np.float64]:
    return compute_effects(was, products, bundle)


def test_a_level_is_the_median_of_the_account_s_own_product() -> None:
    medians = {
        "pay_later": {feature: 0.12 * place for place, feature in enumerate(MEDIAN_OF.values(), 1)},
        "cash_loan": dict.fromkeys(MEDIAN_OF.values(), math.nan),
    }
    found = levels_of(medians, ["cash_loan", "pay_later", "pay_later"])
    for place, name in enumerate(MEDIAN_OF, 1):
        # The feature is the cash of six months, the level that of one.
        expected = 0.12 * place / (6 if name == "cash" else 1)
        own = [math.nan, expected, expected]
        assert getattr(found, name) == pytest.approx(own, nan_ok=True), name


def at_levels(bundle: Bundle, **given: float) -> Bundle:
    """The bundle with these levels for every product; the other medians as they are."""
    changed = {}
    for name, value in given.items():
        changed[MEDIAN_OF[name]] = value * (6.0 if name == "cash" else 1.0)
    comparisons = {
        product: dataclasses.replace(own, medians={**own.medians, **changed})
        for product, own in bundle.comparisons.items()
    }
    return dataclasses.replace(bundle, comparisons=comparisons)


def effects_of_one(statements: pl.DataFrame, bundle: Bundle) -> dict[str, float]:
    row = compute_effects(lay_out(statements), [statements["product"][0]], bundle)[0]
    return dict(zip(DRIVEN, row.tolist(), strict=True))


def test_an_account_has_the_same_effects_alone_and_among_others(
    windows: pl.DataFrame,
    products: list[str],
    found: NDArray[np.float64],
    bundle: Bundle,
) -> None:
    table = check(windows)
    accounts = table.partition_by("account_id", maintain_order=True)
    assert len(accounts) > 3 * ACCOUNTS_PER_BLOCK
    first_of_block = range(ACCOUNTS_PER_BLOCK, len(accounts), ACCOUNTS_PER_BLOCK)
    edges = [*first_of_block, *(first - 1 for first in first_of_block)]
    shortest = sorted(range(len(accounts)), key=lambda place: accounts[place].height)[:20]
    for place in {0, len(accounts) - 1, *edges, *shortest, *range(0, len(accounts), 40)}:
        alone = compute_effects(lay_out(accounts[place]), [products[place]], bundle)[0]
        assert alone.tobytes() == found[place].tobytes()
    # Other blocks, and other neighbours within them.
    for some in (slice(101, None), slice(None, None, 3)):
        among_others = compute_effects(
            lay_out(pl.concat(accounts[some])),
            products[some],
            bundle,
        )
        assert among_others.tobytes() == found[some].tobytes()


def test_no_accounts_have_no_effects(was: Window, bundle: Bundle) -> None:
    assert compute_effects(was, [], bundle).shape == (0, len(DRIVEN))


def of_the_last_year(was: Window, name: str) -> NDArray[np.float64]:
    """A column in the replayed months, NaN elsewhere: (12, accounts)."""
    start = np.minimum(YEAR, was.months_observed - 1)
    return np.where(
        np.arange(YEAR)[:, None] < start,
        was[name][:YEAR],
        np.nan,
    )


def no_worse(
    was: Window,
    products: list[str],
    bundle: Bundle,
) -> dict[Driven, Mask]:
    """Accounts at or better than the reference.

    A payment has to be so in every month, other acts over the year; what results from the time
    before, where the year begins.
    """
    level = levels_of(medians_of(bundle), products)
    places = np.arange(len(products))
    start = np.minimum(YEAR, was.months_observed - 1).astype(np.int64)
    income = was.last_known("income")

    def never(worse: Mask) -> Mask:
        good: Mask = np.logical_not(np.any(worse, axis=0))
        return good

    year = {name: of_the_last_year(was, name) for name in (*NUMBERS, "owed_before")}
    is_replayed = np.arange(YEAR)[:, None] < start

    def total(column: str) -> Vector:
        summed: Vector = np.where(is_replayed, np.nan_to_num(year[column]), 0.0).sum(axis=0)
        return summed

    def more_often(column: str, counts: Vector) -> Mask:
        more: Mask = total(column) > np.floor(counts * start / YEAR)
        return more

    begins = {
        name: was[name][start, places] for name in ("balance", "credit_limit", "external_debt")
    }
    least = np.minimum(level.paid_share, 1.0) * year["owed_before"]
    asks = more_often("limit_requests", level.limit_requests)
    applies = more_often("credit_inquiries", level.inquiries)
    return {
        "repayment": never((year["payment"] < least) | (year["days_past_due"] > 0)),
        "high_utilization": ~(begins["balance"] > level.used * begins["credit_limit"]),
        "overspending": ~(total("spend") > level.spend * income * start),
        "cash_reliance": ~(total("cash_advance") > level.cash * total("credit_limit")),
        "credit_seeking": ~(asks | applies),
        "external_debt": ~(begins["external_debt"] > level.debt * income),
    }


def test_a_behaviour_no_worse_than_the_reference_has_no_effect(
    was: Window,
    products: list[str],
    found: NDArray[np.float64],
    bundle: Bundle,
) -> None:
    # Levels that some of the accounts keep to.
    changed = at_levels(
        bundle,
        paid_share=0.3,
        spend=0.3,
        cash=0.05,
        used=0.4,
        limit_requests=12.0,
        inquiries=12.0,
        debt=1.5,
    )
    for chosen, effects in ((bundle, found), (changed, compute_effects(was, products, changed))):
        groups = no_worse(was, products, chosen)
        assert tuple(groups) == DRIVEN
        for place, good in enumerate(each(groups.values())):
            effect = effects[:, place]
            known = ~np.isnan(effect)
            assert (effect[good & known] == 0.0).all(), DRIVEN[place]
            assert (effect[~good & known] != 0.0).any(), DRIVEN[place]
            if chosen is changed:
                assert 20 < (good & known).sum() < len(good) - 20, DRIVEN[place]


def test_unknown_amounts_have_unknown_effects(
    was: Window,
    products: list[str],
    found: NDArray[np.float64],
    bundle: Bundle,
) -> None:
    columns = ("income", "spend", "external_debt")
    unknown = {name: np.isnan(was[name]).all(axis=0) for name in columns}
    single = was.months_observed == 1
    no_effect: dict[Driven, Mask] = {
        "overspending": single | unknown["income"] | unknown["spend"],
        "external_debt": single | unknown["income"] | unknown["external_debt"],
    }
    for place, group in enumerate(DRIVEN):
        expected = no_effect.get(group, single)
        assert np.array_equal(np.isnan(found[:, place]), expected), group
    for name in ("income", "external_debt"):
        assert 20 < unknown[name].sum() < len(single) - 20
    assert single.sum() > 5


@settings(max_examples=40)
@given(drawn=window(), unknown=st.sets(st.sampled_from(sorted(MEDIAN_OF))))
def test_an_effect_is_known_where_its_level_and_amounts_are_known(
    drawn: pl.DataFrame,
    unknown: set[str],
    bundle: Bundle,
) -> None:
    """With nulls of all kinds, arrears, overpaid balances and a limit of 0."""
    statements = check(drawn)
    effects = effects_of_one(statements, at_levels(bundle, **dict.fromkeys(unknown, math.nan)))
    level = {name: name not in unknown for name in MEDIAN_OF}
    ever = {name: statements[name].null_count() < statements.height for name in NUMBERS}
    requests = level["limit_requests"] and ever["limit_requests"]
    inquiries = level["inquiries"] and ever["credit_inquiries"]
    expected: dict[str, bool] = {
        "repayment": level["paid_share"],
        "high_utilization": level["used"],
        "overspending": level["spend"] and ever["income"] and ever["spend"],
        "cash_reliance": level["cash"] and ever["cash_advance"],
        "credit_seeking": requests or inquiries,
        "external_debt": level["debt"] and ever["income"] and ever["external_debt"],
    }
    has_a_year = statements.height > 1
    known = {group: not math.isnan(effect) for group, effect in effects.items()}
    assert known == {group: is_known and has_a_year for group, is_known in expected.items()}
    assert all(math.isfinite(effects[group]) for group, is_known in known.items() if is_known)


def test_an_effect_is_the_fall_of_the_log_odds(
    windows: pl.DataFrame,
    found: NDArray[np.float64],
    bundle: Bundle,
) -> None:
    """The replayed statements, by the rules of tests.support, go the ordinary way to log-odds."""
    accounts = check(windows).partition_by("account_id", maintain_order=True)
    terms, share = bundle.policy.terms, bundle.advice.search.instalment_share
    large = np.flatnonzero(np.nansum(np.abs(found), axis=1) > 0.5)
    places = [place for place in large if accounts[place].height > 1][:25]
    assert len(places) == 25
    replayed = []
    for place in places:
        own = levels_of(medians_of(bundle), [accounts[place]["product"][0]])
        level = {name: float(getattr(own, name)[0]) for name in MEDIAN_OF}
        rows = accounts[place].to_dicts()
        for variant, group in enumerate([None, *DRIVEN]):
            name = f"{place:04}-{variant}"
            statements = YearReplay(rows, group, level, terms, share).statements()
            replayed += [row | {"account_id": name} for row in statements]
    table = pl.DataFrame(
        replayed,
        schema=accounts[0].schema,
        infer_schema_length=None,
    )
    log_odds = stages(table, bundle, WHEN).scores.log_odds.reshape(len(places), -1)
    fall = log_odds[:, :1] - log_odds[:, 1:]
    expected = found[places]
    known = ~np.isnan(expected)
    assert fall[known] == pytest.approx(expected[known], abs=1e-9)


def test_the_window_is_not_changed(
    windows: pl.DataFrame,
    products: list[str],
    bundle: Bundle,
) -> None:
    window = lay_out(check(windows))
    before = {name: window[name].tobytes() for name in NUMBERS}
    compute_effects(window, products, bundle)
    assert {name: window[name].tobytes() for name in NUMBERS} == before


def test_every_driven_group_is_one_of_the_wording(bundle: Bundle) -> None:
    undriven = {"short_history", "capacity"}
    assert set(get_args(Driven)) == set(bundle.wording.groups) - undriven
    assert set(LEVELS) == set(DRIVEN)
