from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.ledger import Terms
from features.months import add_months
from serving.decision.config.economics import FIFTHS, LearntEconomics
from tests.support.each import each
from tests.support.policies import POLICY_TEXT
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.labels import Labelled, label_accounts
from training.fit.bundle import BundleConfig, choose_references
from training.fit.config import FitError
from training.fit.economics.learn import FEWEST, SHRINK, learn_economics
from training.fit.economics.tables import economics_table
from training.fit.fit import Fitted

TERMS = Terms()
AS_OF = datetime.date(2025, 6, 1)


@pytest.fixture(scope="module")
def learnt(data: Labelled) -> LearntEconomics:
    return learn_economics(data, TERMS)


def with_amounts(data: Labelled, rows: list[dict[str, object]]) -> Labelled:
    """The frame with these rows followed; what a row does not state is of no effect."""
    base = {
        "product": "pay_later",
        "as_of": AS_OF,
        "credit_limit": 10_000.0,
        "balance": 1_000.0,
        "cut": None,
        "default": None,
        "balance_at_default": None,
        "unpaid": 0.0,
        "shortfall": 0.0,
        "cash": 0.0,
    }
    assert data.amounts is not None
    stated = [{"account_id": f"a{place}", **base, **row} for place, row in enumerate(rows)]
    return replace(data, amounts=pl.DataFrame(stated, data.amounts.schema))


def defaults(count: int, drawn: float, **more: object) -> list[dict[str, object]]:
    """Rows that default after 3 months, owing ``drawn`` CNY more than at as_of."""
    balance = float(str(more.get("balance", 1_000.0)))
    row = {"default": 3.0, "balance_at_default": balance + drawn}
    return [{**row, **more} for _ in range(count)]


def follow_one_by_one(
    source: Source, data: Labelled
) -> dict[tuple[str, object], dict[str, float | None]]:
    """What each row for fitting owed and drew later, statement by statement in plain Python."""
    config = DataConfig()
    found: dict[tuple[str, object], dict[str, float | None]] = {}
    by_account = {
        str(account): {row["month"]: row for row in rows.iter_rows(named=True)}
        for (account,), rows in source.statements.group_by("account_id")
    }
    rows = data.features.accounts.filter(pl.Series(data.split != "test"))
    for account, _, as_of in rows.iter_rows():
        months = by_account[account]
        before, sums = months[as_of], {"unpaid": 0.0, "shortfall": 0.0, "cash": 0.0}
        cut: int | None = None
        default: int | None = None
        owed: float | None = None
        for number in range(1, config.horizon_months + 1):
            now = months.get(add_months(as_of, number))
            if now is None:
                break
            sums["unpaid"] += max(before["balance"] - now["payment"], 0.0)
            sums["shortfall"] += max(before["minimum_due"] - now["payment"], 0.0)
            sums["cash"] += now["cash_advance"]
            if cut is None and now["credit_limit"] < before["credit_limit"]:
                cut = number
            if default is None and now["days_past_due"] >= config.default_days:
                default, owed = number, now["balance"]
            before = now
        found[account, as_of] = {**sums, "cut": cut, "default": default, "balance_at_default": owed}
    return found


def test_each_row_is_followed_as_its_statements_say(source: Source, data: Labelled) -> None:
    assert data.amounts is not None
    expected = follow_one_by_one(source, data)
    assert data.amounts.height == len(expected)
    cut_before = 0
    for row in each(data.amounts.iter_rows(named=True)):
        own = expected[row["account_id"], row["as_of"]]
        for name in ("cut", "default", "balance_at_default"):
            assert row[name] == own[name], (row["account_id"], row["as_of"], name)
        for name in ("unpaid", "shortfall", "cash"):
            assert row[name] == pytest.approx(own[name], abs=1e-6), (row["account_id"], name)
        cut_before += None not in (own["cut"], own["default"])
    assert cut_before > 0


def test_nothing_is_learnt_from_the_hold_out(source: Source, data: Labelled) -> None:
    """Test accounts that owe a hundred times as much change nothing."""
    assert data.amounts is not None
    test = data.features.accounts.filter(pl.Series(data.split == "test"))["account_id"].unique()
    assert not data.amounts["account_id"].is_in(test.implode()).any()
    is_test = pl.col("account_id").is_in(test.implode())
    inflated = pl.when(is_test).then(pl.col("balance") * 100.0).otherwise("balance")
    changed = replace(source, statements=source.statements.with_columns(balance=inflated))
    again = label_accounts(changed, DataConfig())
    assert learn_economics(again, TERMS) == learn_economics(data, TERMS)


def test_the_pool_is_the_share_of_sums_of_uncut_defaults(
    data: Labelled, learnt: LearntEconomics
) -> None:
    assert data.amounts is not None
    for product, one in each(learnt.items()):
        own = data.amounts.filter(product=product)
        left_out = {"cut": 0, "drawn": 0}
        drawn = unused = 0.0
        accounts = set()
        for row in own.filter(pl.col("default").is_not_null()).iter_rows(named=True):
            owed = max(row["balance"], 0.0)
            if row["cut"] is not None and row["cut"] <= row["default"]:
                left_out["cut"] += 1
            elif row["credit_limit"] <= owed:
                left_out["drawn"] += 1
            else:
                drawn += max(row["balance_at_default"], 0.0) - owed
                unused += row["credit_limit"] - owed
                accounts.add(row["account_id"])
        assert (one.cut_before, one.fully_drawn) == (left_out["cut"], left_out["drawn"])
        assert one.credit_conversion.accounts == len(accounts) > 50
        assert sum(cell.rows for cell in one.conversions) == one.credit_conversion.rows
        # Shrunk by what five accounts of the other product weigh.
        weight = len(accounts) / (len(accounts) + SHRINK)
        pool = one.credit_conversion.value
        assert weight * drawn / unused <= pool <= weight * drawn / unused + 1.0 - weight


def test_the_margin_is_what_good_uncut_accounts_are_charged(
    data: Labelled, learnt: LearntEconomics
) -> None:
    assert data.amounts is not None
    for product, one in each(learnt.items()):
        good = data.amounts.filter(
            pl.col("default").is_null(), pl.col("cut").is_null(), product=product
        )
        earned = 0.0
        for row in good.iter_rows(named=True):
            earned += TERMS.monthly_rate * row["unpaid"] + TERMS.late_fee * row["shortfall"]
            earned += TERMS.cash_fee * row["cash"]
        limits = float(good["credit_limit"].to_numpy().sum())
        assert one.margin.value == pytest.approx(earned / limits)
        assert one.margin.rows == good.height


def test_a_planted_conversion_is_found_in_its_cell(data: Labelled) -> None:
    """A tenth of the unused limit is drawn below 20 % of utilization, half of it above 60 %."""
    rows = defaults(200, drawn=900.0) + defaults(200, drawn=2_000.0, balance=6_000.0)
    one = learn_economics(with_amounts(data, rows), TERMS)["pay_later"]
    assert one.credit_conversion.value == pytest.approx(2_900 / 13_000)
    cells = [cell.value for cell in one.conversions]
    assert cells[0] == pytest.approx(0.1, abs=0.005)
    assert cells[3] == pytest.approx(0.5, abs=0.01)
    # A cell without a default has the product's.
    assert cells[1] == cells[2] == cells[4] == one.credit_conversion.value
    assert one.conversions[1].low is None


def test_a_cut_before_the_default_is_left_out_and_counted(data: Labelled) -> None:
    whole = defaults(50, drawn=900.0)
    for month, expected in each(((2.0, 0.1), (3.0, 0.1), (4.0, 0.55))):
        rows = whole + defaults(50, drawn=9_000.0, cut=month)
        one = learn_economics(with_amounts(data, rows), TERMS)["pay_later"]
        # A cut on the statement of the default came first; a later one changes nothing.
        assert one.credit_conversion.value == pytest.approx(expected)
        assert one.cut_before == (50 if month <= 3.0 else 0)


def test_accounts_that_owe_less_at_default_convert_0_and_not_less(data: Labelled) -> None:
    one = learn_economics(with_amounts(data, defaults(60, drawn=-500.0)), TERMS)["pay_later"]
    assert one.credit_conversion.value == 0.0
    assert {cell.value for cell in one.conversions} == {0.0}
    one = learn_economics(with_amounts(data, defaults(60, drawn=20_000.0)), TERMS)["pay_later"]
    assert one.credit_conversion.value == 1.0


def test_a_product_without_a_default_has_the_conversion_of_all(data: Labelled) -> None:
    other: dict[str, object] = {"product": "cash_loan"}
    rows = [*defaults(60, drawn=900.0), other]
    learnt = learn_economics(with_amounts(data, rows), TERMS)
    assert learnt["cash_loan"].credit_conversion.value == pytest.approx(0.1)
    assert learnt["cash_loan"].credit_conversion.low is None


def test_few_accounts_are_shrunk_and_have_no_interval(data: Labelled) -> None:
    rows = defaults(100, drawn=900.0) + defaults(FEWEST - 1, drawn=4_000.0, balance=6_000.0)
    one = learn_economics(with_amounts(data, rows), TERMS)["pay_later"]
    few, pool = one.conversions[3], one.credit_conversion.value
    weight = (FEWEST - 1) / (FEWEST - 1 + SHRINK)
    assert few.value == pytest.approx(weight + (1 - weight) * pool)
    assert (few.low, few.high) == (None, None)


def test_intervals_resample_accounts_and_not_rows(data: Labelled) -> None:
    """Each account ten times over says no more than once."""
    random = np.random.default_rng(0)
    drawn = random.uniform(0.0, 9_000.0, 80).tolist()
    once = [row for amount in drawn for row in defaults(1, drawn=amount)]
    named: list[dict[str, object]] = [
        {**row, "account_id": f"b{place}"} for place, row in enumerate(once)
    ]
    single = learn_economics(with_amounts(data, named), TERMS)["pay_later"].credit_conversion
    repeated = learn_economics(with_amounts(data, named * 10), TERMS)["pay_later"].credit_conversion
    assert single.low is not None
    assert single.high is not None
    assert (repeated.low, repeated.high) == pytest.approx((single.low, single.high))
    assert single.low < single.value < single.high
    assert single.high - single.low == pytest.approx(4 * 2_600 / 9_000 / 80**0.5, rel=0.25)


def test_the_table_has_every_estimate(learnt: LearntEconomics) -> None:
    table = economics_table(learnt)
    assert table.height == len(learnt) * (2 + FIFTHS)
    row = table.filter(product="pay_later", utilization="20 to 40 %").row(0, named=True)
    assert row["value"] == learnt["pay_later"].conversions[1].value
    assert row["cut_before"] == learnt["pay_later"].cut_before


def test_without_defaults_the_policy_has_to_state_them(
    data: Labelled, fitted: Fitted, tmp_path: Path
) -> None:
    assert learn_economics(with_amounts(data, [{}, {}]), TERMS) == {}
    assert learn_economics(replace(data, amounts=None), TERMS) == {}
    stated = {"margin": 0.06, "credit_conversion": 0.6}
    lines = [line for line in POLICY_TEXT.splitlines() if line.split(" = ")[0] not in stated]
    config = BundleConfig(reference_size=20, policy=tmp_path / "policy.toml")
    unfollowed = replace(data, amounts=None)
    (tmp_path / "policy.toml").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(FitError, match=r"state margin and credit_conversion in \[economics\]"):
        choose_references(fitted, unfollowed, config)
    numbers = "\n".join(f"{name} = {number}" for name, number in stated.items())
    text = "\n".join(lines).replace("[economics]", f"[economics]\n{numbers}")
    (tmp_path / "policy.toml").write_text(text, encoding="utf-8")
    assert set(choose_references(fitted, unfollowed, config)) == {"pay_later", "cash_loan"}
