from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from features.limits import LARGEST_AMOUNT
from features.schema import check
from tests.support.each import each
from training.fit.reason_quality.stability import (
    SCHEMA,
    nudge,
    stability_row,
    stability_under_nudges,
)
from training.fit.reason_quality.stated import CutReasons, StatedReasons, reasons_by_other


def reasons(*groups: str, leaders: int = 1) -> StatedReasons:
    count = len(groups)
    return StatedReasons(groups, frozenset(groups[:leaders]), groups, (0.5,) * count)


def value_of(row: Mapping[str, object], name: str) -> float:
    value = row[name]
    assert isinstance(value, float)
    return value


OURS = [reasons("a", "b"), reasons("a", "b", leaders=2), reasons("a", "b"), reasons("a")]


def test_shares_are_of_the_cuts_that_both_make() -> None:
    other = [reasons("a", "c"), reasons("b", "a"), reasons("b", "a"), None]
    row = stability_row("x", OURS, [other])
    assert row.keys() == SCHEMA.keys()
    assert (row["others"], row["accounts"], row["cut_too"]) == (1, 3, 0.75)
    assert row["same_first"] == pytest.approx(1 / 3)
    # Of the second account our "b" is an equal of "a"; of the third it is not.
    assert row["among_equals"] == pytest.approx(2 / 3)
    assert row["same_set"] == pytest.approx(2 / 3)


def test_several_others_count_each_cut_once_and_accounts_in_the_interval() -> None:
    same, none = list(OURS), [None] * 4
    twice = stability_row("x", OURS, [same, same])
    once = stability_row("x", OURS, [same])
    assert twice["same_first_low"] == once["same_first_low"]
    assert stability_row("x", OURS, [same, none])["cut_too"] == 0.5
    other = [reasons("b"), *OURS[1:]]
    row = stability_row("x", OURS, [same, other])
    assert row["same_first"] == pytest.approx(7 / 8)
    assert row["least_among"] == pytest.approx(3 / 4)


def test_without_a_cut_of_both_the_shares_are_null() -> None:
    row = stability_row("x", OURS, [[None] * 4])
    assert (row["accounts"], row["cut_too"]) == (0, 0.0)
    for name in each(SCHEMA.keys() - {"against", "others", "accounts", "cut_too"}):
        assert row[name] is None


def test_an_account_without_a_reason_agrees_with_none_but_its_like() -> None:
    none = StatedReasons((), frozenset(), (), ())
    row = stability_row("x", [none, OURS[0]], [[none, none]])
    assert row["same_first"] == row["among_equals"] == 0.5


def test_the_same_bundle_states_the_same(cuts: CutReasons) -> None:
    again = reasons_by_other(cuts, cuts.bundle)
    row = stability_row("again", cuts.stated, [again])
    assert row["cut_too"] == row["same_first"] == row["among_equals"] == row["same_set"] == 1.0


def test_a_bundle_that_states_almost_nothing_states_other_reasons(cuts: CutReasons) -> None:
    """The control: where almost no group is large enough, almost no first reason is the same."""
    strict = replace(cuts.bundle.wording, minimum_contribution=100.0)
    other = reasons_by_other(cuts, replace(cuts.bundle, wording=strict))
    row = stability_row("strict", cuts.stated, [other])
    assert row["cut_too"] == 1.0
    # Those without a reason have none again, and a serious delinquency is always one.
    without = sum(not own.groups for own in cuts.stated) / len(cuts)
    assert value_of(row, "same_first") < without + 0.1
    assert value_of(row, "among_equals") < without + 0.1


def test_a_nudge_changes_one_amount_by_a_thousandth_in_whole_fen(cuts: CutReasons) -> None:
    before = cuts.statements
    for name in each(["balance", "income", "payment", "credit_limit"]):
        for share in (0.001, -0.001):
            after = nudge(before, name, share)
            check(after)
            assert after.drop(name).equals(before.drop(name))
            expected = (1 + share * np.sign(before[name])) * before[name]
            assert np.nanmax(np.abs(after[name] - expected)) <= 0.006
            assert after[name].null_count() == before[name].null_count()


def test_a_nudge_stays_within_the_range_of_amounts() -> None:
    values = [LARGEST_AMOUNT, 0.01, 0.0, -50.0, None]
    table = pl.DataFrame({"balance": values}, schema={"balance": pl.Float64})
    up, down = (nudge(table, "balance", share)["balance"].to_list() for share in (0.5, -0.9))
    assert up == [LARGEST_AMOUNT, 0.02, 0.0, -25.0, None]
    assert down[1:] == [0.01, 0.0, -95.0, None]


def test_a_nudge_changes_few_reasons(cuts: CutReasons) -> None:
    row = stability_under_nudges(cuts)
    assert row["others"] == 16
    assert value_of(row, "same_first") > 0.95
    assert value_of(row, "cut_too") > 0.9
