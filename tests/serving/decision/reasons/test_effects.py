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

from features.catalogue import BY_NAME
from features.schema import check
from features.window import Window, lay_out
from serving.decision.bundle import Bundle
from serving.decision.pipeline import stages
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
from tests.support.year_replay import LEVELS, MEDIAN_OF, NUMBERS, YEAR


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
