"""The whole decision with a memory, month by month with the answers put in force."""

from __future__ import annotations

import dataclasses

import polars as pl
import pytest

from features.months import add_months
from serving.decision.bundle import Bundle
from serving.decision.pipeline import stages
from serving.decision.policy.dates import local_date
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import change_of
from serving.decision.policy.prior import Prior, after
from serving.decision.result import Decision
from tests.support import checks
from tests.support.each import each

WHEN = checks.WHEN
ACCOUNTS = 100


@pytest.fixture(scope="module")
def cut_windows(windows: pl.DataFrame, bundle: Bundle) -> pl.DataFrame:
    """The windows of 100 accounts, among them as many that are cut as there are."""
    decided = stages(windows, bundle, WHEN).decisions
    cut = [one.account_id for one in decided if one.action in ("reduce", "suspend")]
    others = [one.account_id for one in decided if one.account_id not in set(cut)]
    names = (cut + others)[:ACCOUNTS]
    return windows.filter(pl.col("account_id").is_in(names))


def later(windows: pl.DataFrame, months: int, limits: dict[str, list[float]]) -> pl.DataFrame:
    """The same statements so many months later; the latest show the limits left meanwhile."""
    moved = windows.with_columns(pl.col("month").dt.offset_by(f"{months}mo")).sort("month")
    parts = []
    for part in moved.partition_by("account_id", maintain_order=True):
        known = part["credit_limit"].to_list()
        left = limits[part["account_id"][0]][:months]
        shown = (known + left)[-len(known) :] if left else known
        parts.append(part.with_columns(pl.Series("credit_limit", shown)))
    return pl.concat(parts)


def ask_monthly(windows: pl.DataFrame, bundle: Bundle, months: int) -> list[list[Decision]]:
    """The decisions of each month, by account, with the answers of the months before in force."""
    limits: dict[str, list[float]] = {name: [] for name in windows["account_id"].unique()}
    priors: dict[str, Prior] = {}
    decided: list[list[Decision]] = []
    for month in range(months):
        day = add_months(WHEN.date(), month)
        decided_at = WHEN.replace(year=day.year, month=day.month, day=day.day)
        result = stages(later(windows, month, limits), bundle, decided_at, priors)
        today = local_date(decided_at, bundle.policy)
        priors = {}
        for place, decision in enumerate(result.decisions):
            account, outcome = result.accounts[place], result.outcomes[place]
            limits[decision.account_id].append(decision.new_limit)
            prior = after(account.prior, change_of(outcome, account, decision.decision_id, today))
            if prior is not None:
                priors[decision.account_id] = prior
        decided.append(result.decisions)
    return decided


@pytest.mark.parametrize(
    "months",
    [pytest.param(8, marks=pytest.mark.brief), pytest.param(24, marks=pytest.mark.slow)],
)
def test_who_is_asked_again_with_nothing_changed_gets_the_same_answer(
    cut_windows: pl.DataFrame, bundle: Bundle, months: int
) -> None:
    first, *rest = ask_monthly(cut_windows, bundle, months)
    taken = sum(one.action in ("reduce", "suspend") for one in first)
    assert taken > 10
    for decisions in each(rest):
        for decision, answer in zip(decisions, first, strict=True):
            assert decision.action == "keep", decision
            assert decision.new_limit == answer.new_limit
            assert decision.suspended == answer.suspended
    looks = [one.notice for decisions in rest for one in decisions if one.notice is not None]
    assert {notice.kind for notice in looks} == {"still_reduced"}
    assert len(looks) == taken * ((months - 1) // 3)


def test_an_account_without_a_limit_is_referred_once(windows: pl.DataFrame, bundle: Bundle) -> None:
    """Its utilization is unknown, which it never was in training."""
    strict = dataclasses.replace(bundle, never_missing=("utilization_now",))
    decided = stages(windows, bundle, WHEN).decisions
    kept = next(one.account_id for one in decided if one.action == "keep")
    window = windows.filter(pl.col("account_id") == kept).with_columns(
        credit_limit=pl.lit(0.0), balance=pl.lit(0.0)
    )
    first, *rest = ask_monthly(window, strict, 12)
    assert first[0].review_because == ("unseen_missing",)
    for [decision] in each(rest):
        assert (decision.action, decision.notice) == ("keep", None)


def test_the_cut_itself_is_no_reason_for_a_second_one(
    cut_windows: pl.DataFrame, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the log-odds rise with the share of the reduced limit that is used."""

    def as_they_are(accounts: list[Account], *_: object) -> list[Account]:
        return accounts

    monkeypatch.setattr("serving.decision.pipeline.measure_without_cut", as_they_are)
    *_, last = ask_monthly(cut_windows, bundle, 8)
    assert any(one.action in ("reduce", "suspend", "review") for one in last)
