"""The tables of validity, against counts by hand."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import polars as pl
import pytest

from tests.support.each import each
from training.examine.advice.follow import FOLLOWED, FollowedPlans
from training.examine.advice.plan_risk import PlanRisk
from training.examine.advice.tables import validity, validity_by_month
from training.examine.truth.cut_accounts import CutAccounts

ARMS = [field.name for field in fields(PlanRisk)]


def planted(cut: CutAccounts, seed: int = 0) -> tuple[FollowedPlans, PlanRisk]:
    """Drawn results; a closed account keeps no promise."""
    random = np.random.default_rng(seed)
    promised = random.integers(0, 4, len(cut))
    asked = promised > 0
    shape = (FOLLOWED, len(cut))
    names = [field.name for field in fields(FollowedPlans)][2:]
    masks = {name: (random.random(shape) < 0.3) & asked for name in names}
    masks["kept"] = (random.random(shape) < 0.7) & asked & ~masks["closed"]
    numbers = [random.integers(0, 5, len(cut)) / 4 for _ in ARMS]
    return FollowedPlans(promised, asked, **masks), PlanRisk(*numbers)


def with_thin_histories(cut: CutAccounts) -> CutAccounts:
    """The cohort with six months at most of every other account's statements.

    Of the few accounts with a thin history that the model cuts, all may keep their promises.
    """
    every_other = pl.col("account_id").is_in(cut.statements["account_id"].unique().sort()[::2])
    month = pl.int_range(pl.len()).over("account_id")
    return replace(cut, statements=cut.statements.filter(~every_other | (month < 6)))


def test_the_table_counts_plans_and_futures_of_each_segment(cut_accounts: CutAccounts) -> None:
    followed, risks = planted(cut_accounts)
    table = validity(cut_accounts, followed, risks)
    assert table["segment"].to_list() == list(cut_accounts.segments())
    for row in each(table.iter_rows(named=True)):
        members = np.flatnonzero(cut_accounts.segments()[row["segment"]])
        plans = [account for account in members if followed.promised[account] > 0]
        pairs = [
            (future, account)
            for account in plans
            for future in range(FOLLOWED)
            if not followed.closed[future, account]
        ]
        quiet = [pair for pair in pairs if not followed.shocked[pair]]
        assert (row["accounts"], row["plans"]) == (len(members), len(plans))
        assert row["months"] == pytest.approx(
            np.mean([followed.promised[account] for account in plans])
        )
        assert row["kept"] == pytest.approx(np.mean([followed.kept[pair] for pair in pairs]))
        assert row["kept_unshocked"] == pytest.approx(
            np.mean([followed.kept[pair] for pair in quiet])
        )
        assert row["fell"] == pytest.approx(
            np.mean([risks.plan[a] < risks.carry_on[a] for a in plans])
        )
        assert row["rose"] == pytest.approx(
            np.mean([risks.plan[a] > risks.carry_on[a] for a in plans])
        )
        assert row["fell"] + row["tied"] + row["rose"] == pytest.approx(1.0)
        assert row["fell_limit_back"] == pytest.approx(
            np.mean([risks.limit_back[a] < risks.carry_on[a] for a in plans])
        )
        told = {"risk_plan": "plan", "risk_limit_back": "limit_back", "risk_carry_on": "carry_on"}
        told |= {"default_on_the_way": "on_the_way", "default_during": "during"}
        for column, arm in told.items():
            assert row[column] == pytest.approx(np.mean([getattr(risks, arm)[a] for a in plans]))


def test_intervals_hold_the_share_and_count_accounts(cut_accounts: CutAccounts) -> None:
    cut = with_thin_histories(cut_accounts)
    table = validity(cut, *planted(cut))
    assert (table["plans"] >= 30).all()
    for name, low, high in (
        ("kept", "kept_low", "kept_high"),
        ("kept_unshocked", "kept_unshocked_low", "kept_unshocked_high"),
    ):
        assert ((table[low] < table[name]) & (table[name] < table[high])).all()
        width = (table[high] - table[low]) / np.sqrt(
            table[name] * (1 - table[name]) / table["plans"]
        )
        assert width.is_between(3.0, 4.5).all(), "of accounts: of futures too it were half as wide"


def test_the_months_make_the_whole(cut_accounts: CutAccounts) -> None:
    followed, risks = planted(cut_accounts)
    months = validity_by_month(followed)
    assert months["month"].to_list() == [1, 2, 3]
    assert months["plans"].sum() == (followed.promised > 0).sum()
    open_ones = replace(followed, closed=np.zeros_like(followed.closed))
    months = validity_by_month(open_ones)
    mean = float(np.average(months["kept"], weights=months["plans"]))
    assert mean == pytest.approx(validity(cut_accounts, open_ones, risks)["kept"][0])


def test_where_everybody_was_struck_the_unshocked_are_unknown(cut_accounts: CutAccounts) -> None:
    followed, risks = planted(cut_accounts)
    struck = replace(followed, shocked=np.ones_like(followed.shocked))
    for table in (validity(cut_accounts, struck, risks), validity_by_month(struck)):
        for column in ("kept_unshocked", "kept_unshocked_low", "kept_unshocked_high"):
            assert table[column].null_count() == table.height
        assert table["kept"].null_count() == 0


def test_without_a_promise_there_is_nothing_to_tell(cut_accounts: CutAccounts) -> None:
    followed, risks = planted(cut_accounts)
    nobody = np.zeros_like(followed.promised)
    silent = replace(followed, promised=nobody)
    assert validity(cut_accounts, silent, risks).is_empty()
    assert validity_by_month(silent).is_empty()
    assert isinstance(validity_by_month(silent), pl.DataFrame)
