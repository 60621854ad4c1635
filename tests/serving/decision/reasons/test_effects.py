from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.catalogue import BY_NAME
from features.ledger import Terms
from features.schema import check
from features.window import Window, lay_out
from serving.decision.bundle import Bundle
from serving.decision.pipeline import stages
from serving.decision.reasons.counterfactual import Levels, replay_year
from serving.decision.reasons.effects import (
    ACCOUNTS_PER_BLOCK,
    DRIVEN,
    Driven,
    compute_effects,
    effects_by_group,
    levels_of,
)
from serving.decision.reasons.ranking import Evidence, group_of, principal_reasons
from serving.decision.reasons.wording import number
from serving.decision.result import Stages
from tests.support.accounts import window
from tests.support.checks import WHEN

YEAR = 12
HALF_A_CENT = 0.005
FREE = Terms(monthly_rate=0.0, cash_fee=0.0, late_fee=0.0)
LEVELS: dict[Driven, tuple[str, ...]] = {
    "late_payment": (),
    "high_utilization": ("used",),
    "overspending": ("spend",),
    "weak_repayment": ("paid_share",),
    "cash_reliance": ("cash",),
    "credit_seeking": ("limit_requests", "inquiries"),
    "external_debt": ("debt",),
}
# The feature whose median in the reference is the level.
MEDIAN_OF = {
    "paid_share": "payment_to_balance_12",
    "spend": "spend_to_income_12",
    "debt": "external_debt_to_income",
    "cash": "cash_to_limit_6",
    "used": "utilization_mean_12",
    "limit_requests": "limit_requests_12",
    "inquiries": "credit_inquiries_12",
}
NUMBERS = (
    "credit_limit", "balance", "spend", "cash_advance", "payment", "minimum_due", "days_past_due", "limit_requests",
    "credit_inquiries", "external_debt", "income",
)  # fmt: skip

levels_drawn = st.fixed_dictionaries(
    {
        "paid_share": st.sampled_from([0.0, 0.07, 0.3, 1.0, 1.4, math.nan]),
        "spend": st.sampled_from([0.0, 0.05, 0.4, math.nan]),
        "debt": st.sampled_from([0.0, 0.3, 2.0, math.nan]),
        "cash": st.sampled_from([0.0, 0.01, 0.2, math.nan]),
        "used": st.sampled_from([0.0, 0.1, 0.6, math.nan]),
        "limit_requests": st.sampled_from([0.0, 0.5, 5.0, 14.0, math.nan]),
        "inquiries": st.sampled_from([0.0, 1.0, 7.0, math.nan]),
    }
)
terms_drawn = st.sampled_from(
    [Terms(), FREE, Terms(0.03, 0.02, 0.2, 0.05, 100.0), Terms(minimum_share=0.5)]
)


def levels(courses: int, **known: float) -> Levels:
    """These levels for everybody; not known where none is given."""
    return Levels(
        **{
            field.name: np.full(courses, known.get(field.name, np.nan))
            for field in dataclasses.fields(Levels)
        }
    )


def ways(
    statements: pl.DataFrame, level: Mapping[str, float], terms: Terms, instalment_share: float
) -> dict[str, NDArray[Any]]:
    """One account as it was, then with one behaviour after the other at the level, in the order of
    DRIVEN.
    """
    courses = 1 + len(DRIVEN)
    given_to = {name: 1 + DRIVEN.index(group) for group, names in LEVELS.items() for name in names}
    only = Levels(
        **{
            name: np.where(np.arange(courses) == place, level[name], np.nan)
            for name, place in given_to.items()
        },
    )
    on_time = np.array([False, *(group == "late_payment" for group in DRIVEN)])
    many = lay_out(statements).take(np.zeros(courses, dtype=np.int64))
    return replay_year(many, only, on_time, terms, instalment_share)


def same_to_the_cent(some: NDArray[Any], others: NDArray[Any]) -> bool:
    return np.allclose(some, others, rtol=0.0, atol=HALF_A_CENT, equal_nan=True)


# The rules told a second time, for one account, one month after the other, without an array.


def cents(amount: float) -> float:
    return float(np.round(amount, 2))


def asked(balance: float, uncovered: int, terms: Terms) -> float:
    owed = max(balance, 0.0)
    if owed <= terms.minimum_amount:
        return cents(owed)
    return cents(
        max(min(owed * min(terms.minimum_share * (1 + uncovered), 1.0), owed), terms.minimum_amount)
    )


def uncovered(due: float, days: int, payment: float) -> int:
    instalments = days // 30 + 1
    if due <= HALF_A_CENT:
        return 0
    paid = payment + HALF_A_CENT if payment > 0 else 0.0
    return instalments - math.floor(instalments * min(paid / due, 1.0))


def by_ledger(
    balance: float, due: float, days: int, acts: tuple[float, float, float, int], terms: Terms
) -> tuple[float, float, int]:
    """(balance, minimum due, days past due) after a month: spend, cash, payment, days late."""
    spend, cash, payment, late = acts
    left = uncovered(due, days, payment)
    charges = terms.monthly_rate * max(balance - payment, 0.0) + terms.late_fee * max(
        due - payment, 0.0
    )
    after = cents(balance - payment + spend + cash + charges + terms.cash_fee * cash)
    return after, asked(after, left, terms), 30 * left if left else late if due > HALF_A_CENT else 0


def told_due(row: dict[str, Any], terms: Terms) -> float:
    due = row["minimum_due"]
    return asked(row["balance"], row["days_past_due"] // 30, terms) if due is None else due


def lived_again(
    rows: list[dict[str, Any]],
    group: Driven | None,
    level: Mapping[str, float],
    terms: Terms,
    instalment_share: float,
) -> list[dict[str, Any]]:
    """The statements that would have been, oldest first."""
    at = {
        name: level[name]
        for name in (LEVELS[group] if group else ())
        if not math.isnan(level[name])
    }
    incomes = [row["income"] for row in rows if row["income"] is not None]
    first = max(len(rows) - 1 - YEAR, 0)
    then = rows[first]
    balance, due, days, spared, at_hand = (
        then["balance"],
        told_due(then, terms),
        then["days_past_due"],
        0.0,
        0.0,
    )
    if "used" in at:
        balance = min(balance, cents(at["used"] * then["credit_limit"]))
    due = cents(due * (max(balance, 0.0) / then["balance"] if then["balance"] > 0 else 1.0))
    if "debt" in at and incomes and then["external_debt"] is not None:
        spared = max(then["external_debt"] - at["debt"] * incomes[-1], 0.0)
    told = [dict(row) for row in rows[: first + 1]]
    for place in range(first + 1, len(rows)):
        was, earlier = rows[place], rows[place - 1]
        drawn, spend = was["cash_advance"] or 0.0, was["spend"] or 0.0
        late = was["days_past_due"] if was["days_past_due"] < 30 else 0
        # What the lender booked beside the terms.
        acts = (spend, drawn, was["payment"], late)
        expected = by_ledger(
            earlier["balance"], told_due(earlier, terms), earlier["days_past_due"], acts, terms
        )
        unexplained, more_days = (
            cents(was["balance"] - expected[0]),
            max(was["days_past_due"] - expected[2], 0),
        )
        # What comes to hand, and what is paid of it.
        money = at_hand + was["payment"] + instalment_share * spared
        owed, owed_then = max(balance, 0.0), max(earlier["balance"], 0.0)
        payment = was["payment"] if was["payment"] > owed_then else min(was["payment"], owed)
        if was["payment"] > owed_then and owed > was["payment"]:
            payment = was["payment"]
        if group == "late_payment" and was["days_past_due"] > 0:
            payment = max(payment, due)
        if "paid_share" in at and was["days_past_due"] < 30:
            payment = max(payment, min(at["paid_share"], 1.0) * owed)
        if payment < owed and money > payment:
            payment = min(owed, money)
        payment = cents(payment)
        money -= payment
        # Cash: no more than the level, and what is at hand first.
        wanted = cents(min(drawn, at["cash"] * was["credit_limit"]) if "cash" in at else drawn)
        money -= drawn - wanted
        instead = min(max(money, 0.0), wanted)
        money -= instead
        cash = cents(wanted - instead)
        if "spend" in at and incomes:
            spend = min(spend, at["spend"] * incomes[-1])
        spend = cents(spend)
        # The books: the terms, and what this lender booked beside them.
        was_due, share = due, owed / owed_then if owed_then > 0 else 1.0
        balance, due, days = by_ledger(
            balance,
            due,
            days,
            (spend, cash, payment, 0 if group == "late_payment" else late),
            terms,
        )
        balance = cents(
            balance + (unexplained if unexplained > 0 else unexplained * min(share, 1.0))
        )
        days = min(
            days
            + (
                0
                if group == "late_payment" or was_due <= 0 < told_due(earlier, terms)
                else more_days
            ),
            was["days_past_due"],
        )
        if was["minimum_due"] is None:
            due = asked(balance, days // 30, terms)
        else:
            due = (
                cents(due * was["minimum_due"] / expected[1])
                if expected[1] > 0
                else cents(was["minimum_due"])
            )
        # Elsewhere.
        spared = spared * (1.0 + terms.monthly_rate - instalment_share) + min(money, 0.0)
        back = min(max(money, 0.0), max(-spared, 0.0))
        spared, at_hand = spared + back, max(money, 0.0) - back
        if "used" in at:
            at_hand = 0.0
        # A year's count is spread over its months; the last statement is of the twelfth.
        month = YEAR - (len(rows) - place)
        new = {
            "balance": balance,
            "spend": spend,
            "cash_advance": cash,
            "payment": payment,
            "minimum_due": due,
        }
        new |= {"days_past_due": days}
        for name, count in (
            ("limit_requests", "limit_requests"),
            ("credit_inquiries", "inquiries"),
        ):
            new[name] = was[name]
            if was[name] is not None and count in at:
                of_month = math.floor(at[count] * (month + 1) / YEAR) - math.floor(
                    at[count] * month / YEAR
                )
                new[name] = min(was[name], of_month)
        if was["external_debt"] is not None:
            new["external_debt"] = max(was["external_debt"] - spared, 0.0)
        told.append(
            was | {name: None if was[name] is None else value for name, value in new.items()}
        )
    return told


@settings(max_examples=150)
@given(window(), levels_drawn, terms_drawn, st.sampled_from([0.0, 0.05, 0.4]))
def test_an_account_is_lived_again_by_the_rules(
    drawn: pl.DataFrame, level: dict[str, float], terms: Terms, share: float
) -> None:
    statements = check(drawn)
    rows = statements.to_dicts()
    found = ways(statements, level, terms, share)
    for place, group in enumerate([None, *DRIVEN]):
        told = lived_again(rows, group, level, terms, share)
        for name in NUMBERS:
            expected = np.array([row[name] for row in told], dtype=np.float64)
            assert same_to_the_cent(found[name][::-1, place], expected), (group, name)


@settings(max_examples=150)
@given(window(), terms_drawn, st.sampled_from([0.0, 0.05]))
def test_a_year_in_which_nothing_is_changed_is_the_year_that_was(
    drawn: pl.DataFrame, terms: Terms, share: float
) -> None:
    """Whatever a lender's books say, and whatever the terms are: the minimum, the charges and the
    days are the lender's own.
    """
    statements = check(drawn)
    was = lay_out(statements)
    unknown = levels(1)
    again = replay_year(was, unknown, np.zeros(1, dtype=np.bool_), terms, share)
    for name in NUMBERS:
        assert np.array_equal(again[name], was[name], equal_nan=True), name


@settings(max_examples=60)
@given(
    window(),
    st.sampled_from([Terms(), Terms(minimum_share=0.5), Terms(0.05, 0.1, 0.02, 0.5, 500.0)]),
)
def test_who_was_never_late_was_never_late(drawn: pl.DataFrame, terms: Terms) -> None:
    """The terms may ask for more than the lender did; the effect of late payment is exactly 0, and
    so is any act's of who does as well as the reference."""
    statements = check(drawn.with_columns(pl.lit(0, dtype=pl.Int32).alias("days_past_due")))
    was = lay_out(statements)
    again = replay_year(was, levels(1), np.ones(1, dtype=np.bool_), terms, 0.05)
    for name in NUMBERS:
        assert np.array_equal(again[name], was[name], equal_nan=True), name


def test_who_is_left_alone_lives_the_same_year_again(windows: pl.DataFrame) -> None:
    was = lay_out(check(windows))
    accounts = len(was.months_observed)
    nobody = np.zeros(accounts, dtype=np.bool_)
    again = replay_year(was, levels(accounts), nobody, Terms(), 0.05)
    for name in NUMBERS:
        assert same_to_the_cent(again[name], was[name]), name
    # And who is not, does not.
    for changed in (
        replay_year(was, levels(accounts, used=0.1), nobody, Terms(), 0.05),
        replay_year(was, levels(accounts), ~nobody, Terms(), 0.05),
    ):
        assert not same_to_the_cent(changed["balance"], was["balance"])


def test_nothing_is_changed_before_the_year_nor_where_it_was_not_known(
    windows: pl.DataFrame,
) -> None:
    was = lay_out(check(windows))
    accounts = len(was.months_observed)
    zero = {field.name: 0.0 for field in dataclasses.fields(Levels)}
    again = replay_year(
        was, levels(accounts, **zero), np.ones(accounts, dtype=np.bool_), Terms(), 0.05
    )
    for name in NUMBERS:
        assert np.array_equal(again[name][YEAR:], was[name][YEAR:], equal_nan=True)
        assert np.array_equal(np.isnan(again[name]), np.isnan(was[name]))
    assert not same_to_the_cent(again["balance"][YEAR - 1], was["balance"][YEAR - 1])


@dataclasses.dataclass(frozen=True)
class Books:
    """What a year of a course came to, (months, ways), oldest first; ``at_hand`` is the money that
    must be left.
    """

    owed_in_all: NDArray[Any]
    at_hand: NDArray[Any]
    borrowed: NDArray[Any]
    paid_off: NDArray[Any]
    cash: NDArray[Any]
    spent_less: NDArray[Any]


ACTS: tuple[Driven, ...] = (
    "late_payment",
    "overspending",
    "weak_repayment",
    "cash_reliance",
    "credit_seeking",
)
PLENTY = 1e7  # debt elsewhere of which any part may go without its coming to an end


def books(
    statements: pl.DataFrame, level: Mapping[str, float], terms: Terms, share: float
) -> Books:
    """The books of the ways of acting otherwise, from the statements alone: all that came in and
    went out, and the charges.
    """
    months = min(YEAR, statements.height - 1)
    lived = ways(statements, level, terms, share)
    acting = [1 + DRIVEN.index(group) for group in ACTS]
    new = {name: lived[name][: months + 1, acting][::-1] for name in NUMBERS}
    was = {
        name: statements[name].to_numpy()[-months - 1 :][:, None].astype(np.float64)
        for name in NUMBERS
    }
    spared = was["external_debt"] - new["external_debt"]
    before, due, unpaid = (
        new["balance"][:-1],
        new["minimum_due"][:-1],
        new["balance"][:-1] - new["payment"][1:],
    )
    charges = (
        terms.monthly_rate * np.maximum(unpaid, 0.0) + terms.cash_fee * new["cash_advance"][1:]
    )
    charges = (
        charges
        + terms.late_fee * np.maximum(due - new["payment"][1:], 0.0)
        - terms.monthly_rate * spared[:-1]
    )
    flows = was["cash_advance"][1:] - was["payment"][1:] + charges
    # As much as was drawn and not paid: whatever else was done with it.
    must_be_owed = was["balance"][0] + np.cumsum(flows + new["spend"][1:], axis=0)
    owed = new["balance"][1:] - spared[1:]
    return Books(
        owed,
        owed - must_be_owed,
        spared[:-1] * (1.0 + terms.monthly_rate - share) - spared[1:],
        new["payment"][1:] >= np.maximum(before, 0.0) - 0.02,
        new["cash_advance"][1:],
        np.cumsum(was["spend"][1:] - new["spend"][1:], axis=0),
    )


def fully_known(drawn: pl.DataFrame, terms: Terms) -> pl.DataFrame:
    """The acts of a window, with books that are the ledger's from the first statement on."""
    plenty = pl.lit(PLENTY).alias("external_debt")
    rows = (
        drawn.with_columns(pl.col(name).fill_null(123) for name in NUMBERS)
        .with_columns(plenty)
        .to_dicts()
    )
    rows[0]["minimum_due"] = asked(rows[0]["balance"], rows[0]["days_past_due"] // 30, terms)
    for earlier, row in itertools.pairwise(rows):
        late = row["days_past_due"] if row["days_past_due"] < 30 else 0
        acts = (row["spend"], row["cash_advance"], row["payment"], late)
        standing = by_ledger(
            earlier["balance"], earlier["minimum_due"], earlier["days_past_due"], acts, terms
        )
        row["balance"], row["minimum_due"], row["days_past_due"] = standing
    return check(pl.DataFrame(rows, schema=drawn.schema))


@settings(max_examples=120)
@given(
    window(),
    levels_drawn,
    st.sampled_from([(FREE, 0.0), (Terms(), 0.0), (FREE, 0.05), (Terms(), 0.05)]),
)
def test_money_comes_from_somewhere_and_goes_somewhere(
    drawn: pl.DataFrame, level: dict[str, float], charged: tuple[Terms, float]
) -> None:
    """Nobody has less than nothing at hand, or borrows while there is some, or holds it while owing
    here or drawing cash.
    """
    cent_a_month = 0.01 * YEAR + 1e-6
    made = books(fully_known(drawn, charged[0]), level, *charged)
    assert (made.at_hand >= -cent_a_month).all()
    assert (made.at_hand[made.borrowed > cent_a_month] <= cent_a_month).all()
    holding = made.at_hand > cent_a_month
    assert made.paid_off[holding].all()
    assert (made.cash[holding] <= cent_a_month).all()


@settings(max_examples=120)
@given(window(), levels_drawn)
def test_only_who_spends_less_owes_less_in_all(
    drawn: pl.DataFrame, level: dict[str, float]
) -> None:
    statements = fully_known(drawn, FREE)
    # Without interest and fees, what was drawn and not paid is what must be owed, but for what was
    # not bought.
    made = books(statements, level, FREE, 0.0)
    was = {
        name: statements[name].to_numpy()[-len(made.cash) :]
        for name in ("spend", "cash_advance", "payment")
    }
    start = statements["balance"].to_numpy()[-min(YEAR, statements.height - 1) - 1]
    in_all = (
        start + np.cumsum(was["spend"] + was["cash_advance"] - was["payment"])
        if len(made.cash)
        else np.zeros(0)
    )
    net = made.owed_in_all - made.at_hand
    assert np.allclose(net, in_all[:, None] - made.spent_less, rtol=0.0, atol=1e-6)
    spending = ACTS.index("overspending")
    assert (np.delete(made.spent_less, spending, axis=1) == 0).all()
    assert (np.delete(made.owed_in_all, spending, axis=1) >= in_all[:, None] - 1e-6).all()


def test_each_behaviour_moves_money_in_its_own_direction(windows: pl.DataFrame) -> None:
    """Of 300 simulated accounts: who pays more owes less here and as much more elsewhere; who
    spends less owes less in all.
    """
    level = {
        "paid_share": 0.5,
        "spend": 0.01,
        "debt": 0.0,
        "cash": 0.0,
        "used": 0.0,
        "limit_requests": 0.0,
        "inquiries": 0.0,
    }
    seen = dict.fromkeys(ACTS, 0)
    for account in windows.partition_by("account_id", maintain_order=True)[:300]:
        made = books(fully_known(account, FREE), level, FREE, 0.0)
        for place, group in enumerate(ACTS):
            spared = made.spent_less[:, place]
            seen[group] += bool(
                (made.borrowed[:, place] > 1.0).any()
                if group != "overspending"
                else (spared > 1.0).any()
            )
            assert group == "overspending" or (spared == 0).all()
    assert min(seen[group] for group in ACTS if group != "credit_seeking") > 20
    assert seen["credit_seeking"] == 0


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
def found(was: Window, products: list[str], bundle: Bundle) -> NDArray[np.float64]:
    return compute_effects(was, products, bundle)


def test_a_level_is_the_median_of_the_accounts_own_product_a_month_or_a_year() -> None:
    medians = {
        "pay_later": {feature: 0.12 * place for place, feature in enumerate(MEDIAN_OF.values(), 1)},
        "cash_loan": dict.fromkeys(MEDIAN_OF.values(), math.nan),
    }
    found = levels_of(medians, ["cash_loan", "pay_later", "pay_later"])
    for place, name in enumerate(MEDIAN_OF, 1):
        months = 6 if name == "cash" else 1  # the feature has six months' cash, the level one's
        expected = 0.12 * place / months
        assert getattr(found, name) == pytest.approx([math.nan, expected, expected], nan_ok=True), (
            name
        )


def at_levels(bundle: Bundle, **given: float) -> Bundle:
    """The bundle with these levels, whatever the product; the other medians as they are."""
    times = {"cash": 6.0}
    put = {MEDIAN_OF[name]: value * times.get(name, 1.0) for name, value in given.items()}
    return dataclasses.replace(
        bundle, medians={product: {**own, **put} for product, own in bundle.medians.items()}
    )


def one(statements: pl.DataFrame, bundle: Bundle) -> dict[str, float]:
    return dict(
        zip(
            DRIVEN,
            compute_effects(lay_out(statements), [statements["product"][0]], bundle)[0].tolist(),
            strict=True,
        )
    )


def test_an_account_has_the_same_effects_alone_and_among_others(
    windows: pl.DataFrame, products: list[str], found: NDArray[np.float64], bundle: Bundle
) -> None:
    table = check(windows)
    accounts = table.partition_by("account_id", maintain_order=True)
    assert len(accounts) > 3 * ACCOUNTS_PER_BLOCK
    edges = [
        edge + side
        for edge in range(ACCOUNTS_PER_BLOCK, len(accounts), ACCOUNTS_PER_BLOCK)
        for side in (-1, 0)
    ]
    shortest = sorted(range(len(accounts)), key=lambda place: accounts[place].height)[:20]
    for place in {0, len(accounts) - 1, *edges, *shortest, *range(0, len(accounts), 40)}:
        alone = compute_effects(lay_out(accounts[place]), [products[place]], bundle)[0]
        assert alone.tobytes() == found[place].tobytes()
    # Other blocks, and other neighbours within them.
    assert (
        compute_effects(lay_out(pl.concat(accounts[101:])), products[101:], bundle).tobytes()
        == found[101:].tobytes()
    )
    assert (
        compute_effects(lay_out(pl.concat(accounts[::3])), products[::3], bundle).tobytes()
        == found[::3].tobytes()
    )


def test_no_accounts_have_no_effects(was: Window, bundle: Bundle) -> None:
    assert compute_effects(was, [], bundle).shape == (0, len(DRIVEN))


def of_the_last_year(was: Window, name: str) -> NDArray[np.float64]:
    """A column in the months that are lived again, NaN elsewhere: (12, accounts)."""
    start = np.minimum(YEAR, was.months_observed - 1)
    return np.where(np.arange(YEAR)[:, None] < start, was[name][:YEAR], np.nan)


def better(was: Window, products: list[str], bundle: Bundle) -> dict[Driven, NDArray[np.bool_]]:
    """Who is at or better than the reference: in every month where it is an act, else where the
    year begins.
    """
    level = levels_of(bundle.medians, products)
    places = np.arange(len(products))
    start = np.minimum(YEAR, was.months_observed - 1).astype(np.int64)
    income = was.last_known("income")

    def never(worse: NDArray[np.bool_]) -> NDArray[np.bool_]:
        good: NDArray[np.bool_] = np.logical_not(np.any(worse, axis=0))
        return good

    year = {name: of_the_last_year(was, name) for name in (*NUMBERS, "owed_before")}
    monthly = YEAR - 1 - np.arange(YEAR)[:, None]
    asks: NDArray[np.bool_] = np.zeros((YEAR, len(products)), dtype=np.bool_)
    for name, counts in (
        ("limit_requests", level.limit_requests),
        ("credit_inquiries", level.inquiries),
    ):
        asks |= year[name] > np.floor(counts * (monthly + 1) / YEAR) - np.floor(
            counts * monthly / YEAR
        )
    return {
        "late_payment": never(year["days_past_due"] > 0),
        "high_utilization": never(
            was["balance"][start, places][None]
            > (level.used * was["credit_limit"][start, places])[None]
        ),
        "overspending": never(year["spend"] > level.spend * income),
        "weak_repayment": never(
            (year["payment"] < np.minimum(level.paid_share, 1.0) * year["owed_before"])
            & (year["days_past_due"] < 30)
        ),
        "cash_reliance": never(year["cash_advance"] > level.cash * year["credit_limit"]),
        "credit_seeking": never(asks),
        "external_debt": never(
            was["external_debt"][start, places][None] > (level.debt * income)[None]
        ),
    }


def test_who_is_no_worse_than_the_reference_is_left_alone(
    was: Window, products: list[str], found: NDArray[np.float64], bundle: Bundle
) -> None:
    # Levels that parts of the accounts keep to.
    some = at_levels(
        bundle,
        paid_share=0.3,
        spend=0.3,
        cash=0.05,
        used=0.4,
        limit_requests=12.0,
        inquiries=12.0,
        debt=1.5,
    )
    for given_bundle, given_effects in (
        (bundle, found),
        (some, compute_effects(was, products, some)),
    ):
        for place, (group, good) in enumerate(better(was, products, given_bundle).items()):
            effect = given_effects[:, place]
            assert DRIVEN[place] == group
            assert (effect[good & ~np.isnan(effect)] == 0.0).all(), group
            assert (effect[~good & ~np.isnan(effect)] != 0.0).any(), group
            if given_bundle is some:
                assert 20 < (good & ~np.isnan(effect)).sum() < len(good) - 20, group


def test_what_is_not_known_has_no_effect_that_could_be_said(
    was: Window, products: list[str], found: NDArray[np.float64], bundle: Bundle
) -> None:
    never_told = {
        name: np.isnan(was[name]).all(axis=0) for name in ("income", "spend", "external_debt")
    }
    single = was.months_observed == 1
    none = np.zeros_like(single)
    unsaid = dict.fromkeys(DRIVEN, none)
    unsaid |= {"overspending": never_told["income"] | never_told["spend"]}
    unsaid |= {"external_debt": never_told["income"] | never_told["external_debt"]}
    for place, group in enumerate(DRIVEN):
        assert np.array_equal(np.isnan(found[:, place]), single | unsaid[group]), group
    for name in ("income", "external_debt"):
        assert 20 < never_told[name].sum() < len(single) - 20
    assert single.sum() > 5


@settings(max_examples=40)
@given(drawn=window(), unknown=st.sets(st.sampled_from(sorted(MEDIAN_OF))))
def test_an_effect_is_said_where_its_level_and_amounts_are_known(
    drawn: pl.DataFrame, unknown: set[str], bundle: Bundle
) -> None:
    """Whatever a lender sends: nulls of all kinds, arrears, overpaid balances, a limit of 0."""
    statements = check(drawn)
    told = one(statements, at_levels(bundle, **dict.fromkeys(unknown, math.nan)))
    levels_known = {name: name not in unknown for name in MEDIAN_OF}
    ever = {name: statements[name].null_count() < statements.height for name in NUMBERS}
    expected: dict[Driven, bool] = {
        "late_payment": True,
        "high_utilization": levels_known["used"],
        "overspending": levels_known["spend"] and ever["income"] and ever["spend"],
        "weak_repayment": levels_known["paid_share"],
        "cash_reliance": levels_known["cash"] and ever["cash_advance"],
        "credit_seeking": (levels_known["limit_requests"] and ever["limit_requests"])
        or (levels_known["inquiries"] and ever["credit_inquiries"]),
        "external_debt": levels_known["debt"] and ever["income"] and ever["external_debt"],
    }
    assert {group: not math.isnan(effect) for group, effect in told.items()} == {
        group: said and statements.height > 1 for group, said in expected.items()
    }
    assert all(math.isfinite(effect) for effect in effects_by_group(list(told.values())).values())


def test_an_effect_is_the_fall_of_the_log_odds(
    windows: pl.DataFrame, found: NDArray[np.float64], bundle: Bundle
) -> None:
    """The statements that would have been, told by the rules above, go the ordinary way to
    log-odds.
    """
    accounts = check(windows).partition_by("account_id", maintain_order=True)
    terms, share = bundle.policy.terms, bundle.advice.search.instalment_share
    places = [
        place
        for place in np.flatnonzero(np.nansum(np.abs(found), axis=1) > 0.5)
        if accounts[place].height > 1
    ][:25]
    told, expected = [], []
    for place in places:
        own = levels_of(bundle.medians, [accounts[place]["product"][0]])
        level = {name: float(getattr(own, name)[0]) for name in MEDIAN_OF}
        rows = accounts[place].to_dicts()
        for way, group in enumerate([None, *DRIVEN]):
            told += [
                row | {"account_id": f"{place:04}-{way}"}
                for row in lived_again(rows, group, level, terms, share)
            ]
        expected.append(found[place])
    table = pl.DataFrame(told, schema=accounts[0].schema, infer_schema_length=None)
    log_odds = stages(table, bundle, WHEN).scores.log_odds.reshape(len(places), -1)
    fall = log_odds[:, :1] - log_odds[:, 1:]
    known = ~np.isnan(np.array(expected))
    assert fall[known] == pytest.approx(np.array(expected)[known], abs=1e-9)
    assert len(places) == 25


def test_the_window_is_not_changed(
    windows: pl.DataFrame, products: list[str], bundle: Bundle
) -> None:
    window = lay_out(check(windows))
    before = {name: window[name].tobytes() for name in NUMBERS}
    compute_effects(window, products, bundle)
    assert {name: window[name].tobytes() for name in NUMBERS} == before


@given(
    st.lists(
        st.one_of(st.just(math.nan), st.floats(-3, 3)), min_size=len(DRIVEN), max_size=len(DRIVEN)
    )
)
def test_groups_whose_effect_is_not_known_are_left_out(row: list[float]) -> None:
    assert effects_by_group(row) == {
        group: row[k] for k, group in enumerate(DRIVEN) if row[k] == row[k]
    }
    with pytest.raises(ValueError, match="zip"):
        effects_by_group(row[1:])


def test_every_driven_group_is_one_of_the_wording(bundle: Bundle) -> None:
    assert set(get_args(Driven)) == set(bundle.wording.groups) - {"short_history", "capacity"}
    assert set(LEVELS) == set(DRIVEN)


@pytest.fixture(scope="module")
def made(windows: pl.DataFrame, bundle: Bundle) -> Stages:
    return stages(windows, bundle, WHEN)


def weights(made: Stages, place: int) -> dict[str, float]:
    """The weight of each group: its contributions, or its effect where that is known and more."""
    evidence = made.evidence[place]
    sums: dict[str, float] = {}
    for name, contribution in evidence.contributions.items():
        sums[group_of(name)] = sums.get(group_of(name), 0.0) + contribution
    return {
        group: max(total, evidence.effects.get(group, -math.inf)) for group, total in sums.items()
    }


def looks_worse(evidence: Evidence) -> set[str]:
    """The groups in a feature of which the account's value is worse than the median, and reads
    otherwise.
    """
    groups = set()
    for name in evidence.contributions:
        feature, value, median = BY_NAME[name], evidence.values[name], evidence.reference[name]
        if (value - median) * feature.direction > 0 and number(value, feature.unit, "en") != number(
            median, feature.unit, "en"
        ):
            groups.add(feature.group)
    return groups


def test_who_is_cut_has_effects_and_who_is_not_has_none(
    made: Stages, found: NDArray[np.float64]
) -> None:
    cut = [outcome.by_model for outcome in made.outcomes]
    assert 40 < sum(cut) < len(cut) - 40
    for evidence, by_model, row in zip(made.evidence, cut, found.tolist(), strict=True):
        worse = looks_worse(evidence)
        assert evidence.effects == (
            {g: e for g, e in effects_by_group(row).items() if g in worse} if by_model else {}
        )


def test_nobody_is_told_an_effect_of_what_they_do_as_well_as_others(
    made: Stages, found: NDArray[np.float64]
) -> None:
    left_out = 0
    for decision, outcome, evidence, row in zip(
        made.decisions, made.outcomes, made.evidence, found.tolist(), strict=True
    ):
        worse = looks_worse(evidence)
        for reason in decision.reasons if outcome.by_model else ():
            if reason.effect is not None:
                assert reason.code in worse
                assert reason.contribution is not None
                if reason.effect > reason.contribution:
                    first = reason.features[0]
                    assert first.value is not None
                    assert first.reference_value is not None
                    assert (first.value - first.reference_value) * BY_NAME[first.name].direction > 0
        left_out += outcome.by_model and any(
            effect > 0 and group not in worse for group, effect in effects_by_group(row).items()
        )
    assert left_out > 3


def test_the_sentence_is_of_what_the_effect_set_where_that_looks_worse(made: Stages) -> None:
    level_first = 0
    for decision in made.decisions:
        for reason in decision.reasons:
            if (
                reason.effect is not None
                and reason.contribution is not None
                and reason.effect > reason.contribution
            ):
                own = {MEDIAN_OF[name] for name in LEVELS.get(reason.code, ())}  # type: ignore[call-overload]
                shown = [feature.name for feature in reason.features]
                assert not own & set(shown[1:]) or shown[0] in own
                level_first += shown[0] in own
    assert level_first > 10


def test_a_reasons_share_is_of_all_weights_that_push(made: Stages) -> None:
    stated = 0
    for place, (decision, outcome) in enumerate(zip(made.decisions, made.outcomes, strict=True)):
        reasons = [reason for reason in decision.reasons if reason.share is not None]
        if not outcome.by_model:
            assert not reasons
            continue
        weighed = weights(made, place)
        push = sum(weight for weight in weighed.values() if weight > 0)
        told = [weighed[reason.code] for reason in reasons]
        assert told == sorted(told, reverse=True)
        assert [reason.share for reason in reasons] == pytest.approx(
            [weight / push for weight in told]
        )
        assert [reason.effect for reason in reasons] == [
            made.evidence[place].effects.get(reason.code) for reason in reasons
        ]
        # Nothing that weighs more is left unsaid.
        unsaid = [
            weight
            for group, weight in weighed.items()
            if group not in {reason.code for reason in reasons}
        ]
        assert len(reasons) < 4 or max(unsaid) <= told[-1]
        stated += len(reasons)
    assert stated > 100


def test_effects_order_reasons_otherwise_than_contributions_alone(
    made: Stages, bundle: Bundle
) -> None:
    moved = first = 0
    for decision, outcome, evidence in zip(
        made.decisions, made.outcomes, made.evidence, strict=True
    ):
        if outcome.by_model:
            alone = principal_reasons(
                dataclasses.replace(evidence, effects={}), outcome.hits, True, bundle.wording
            )
            moved += [r.code for r in alone] != [r.code for r in decision.reasons]
            first += alone[0].code != decision.reasons[0].code
    assert moved > 10
    assert first > 3


def test_a_reason_for_what_followed_is_said_like_any_other(made: Stages) -> None:
    """Its features did not push by themselves; it has a sentence and what the sentence speaks of
    all the same.
    """
    only = [
        reason
        for decision in made.decisions
        for reason in decision.reasons
        if reason.contribution is not None and reason.contribution <= 0
    ]
    assert len(only) > 3
    for reason in only:
        assert reason.effect is not None
        assert reason.effect > 0
        assert reason.features
        assert {group_of(feature.name) for feature in reason.features} == {reason.code}
        assert reason.text.en
        assert reason.text.zh
        assert not set("{}") & set(reason.text.en + reason.text.zh)


def test_without_a_history_reasons_are_the_contributions(
    windows: pl.DataFrame, made: Stages, bundle: Bundle
) -> None:
    last = windows.group_by("account_id", maintain_order=True).last().select(windows.columns)
    alone = stages(last, bundle, WHEN)
    cut = [place for place, outcome in enumerate(alone.outcomes) if outcome.by_model]
    assert len(cut) > 10
    for place in cut:
        evidence, reasons = alone.evidence[place], alone.decisions[place].reasons
        assert evidence.effects == {}
        own = [reason for reason in reasons if reason.share is not None]
        assert own
        assert all(reason.effect is None for reason in own)
        pushing = sum(weight for weight in weights(alone, place).values() if weight > 0)
        assert [reason.share for reason in own] == pytest.approx(
            [(reason.contribution or 0.0) / pushing for reason in own]
        )
    # With their histories, most of them have effects.
    assert sum(bool(made.evidence[place].effects) for place in cut) > len(cut) / 4
