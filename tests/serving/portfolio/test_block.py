from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

import polars as pl
import pytest

from features.build import FEATURE_NAMES, matrix_of, values_of
from features.statements import read_table
from serving.decision.bundle import Bundle
from serving.decision.pipeline import run_stages
from serving.decision.policy.compiled import plain_keep
from serving.decision.policy.compiled.plain_keep import Scored, plain_keeps
from serving.decision.result import ProductError
from serving.decision.scoring.score import AdditivityError, log_odds_of
from serving.portfolio.block import CONTRIBUTIONS, SCHEMA, Basis, decide_block
from tests.support import checks
from tests.support.each import each


@pytest.fixture(scope="module")
def accounts(windows: pl.DataFrame) -> list[pl.DataFrame]:
    return windows.partition_by("account_id", maintain_order=True)[::4]


def block_answers(bundle: Bundle) -> checks.Answerer:
    """Answers from a block of all accounts, those that plainly keep their limits too."""

    def answers(windows: Sequence[pl.DataFrame]) -> list[bytes]:
        basis = Basis(bundle, checks.WHEN, with_all_answers=True)
        table = decide_block(read_table(pl.concat(windows, how="diagonal")), basis).table
        by_account = dict(table.select("account_id", "answer").iter_rows())
        return [by_account[window["account_id"][0]] for window in windows]

    return answers


def test_the_answers_of_a_block_are_those_of_each_account_alone(
    accounts: list[pl.DataFrame], bundle: Bundle
) -> None:
    checks.check_one_is_many(block_answers(bundle), accounts, bundle)


def test_the_order_of_rows_and_columns_does_not_matter(
    accounts: list[pl.DataFrame], bundle: Bundle
) -> None:
    checks.check_order_and_input(block_answers(bundle), accounts)


def test_arrays_tell_of_plain_accounts_what_their_decisions_say(
    windows: pl.DataFrame, bundle: Bundle
) -> None:
    """With and without the answers, each column is the same to the last bit."""
    read = read_table(windows)
    some = decide_block(read, Basis(bundle, checks.WHEN)).table
    full = decide_block(read, Basis(bundle, checks.WHEN, with_all_answers=True)).table
    plain = some["answer"].is_null()
    assert 50 < plain.sum() < some.height - 50
    told = [name for name in SCHEMA if name not in ("answer", "decision_id")]
    assert some.select(told).equals(full.select(told), null_equal=True)
    assert some.filter(~plain).equals(full.filter(~plain))
    assert some.schema == dict(SCHEMA)


def plain_and_not(windows: pl.DataFrame, bundle: Bundle) -> list[tuple[bool, bool]]:
    """Of each account: whether arrays call it a plain keep, and whether its decision is one."""
    found = run_stages(windows, bundle, checks.WHEN)
    matrix = matrix_of(found.values, bundle.features)
    log_odds = log_odds_of(matrix, bundle.scorer, threads=1)
    scored = Scored(found.values, found.statements.window.products, log_odds)
    is_plain = plain_keeps(scored, bundle).tolist()
    return [
        (
            told,
            decision.action == "keep" and decision.notice is None and decision.arm is None,
        )
        for told, decision in zip(is_plain, found.decisions, strict=True)
    ]


def test_no_other_account_is_called_a_plain_keep(windows: pl.DataFrame, bundle: Bundle) -> None:
    pairs = plain_and_not(windows, bundle)
    assert (True, False) not in pairs
    # Nearly all that keep their limits are told so.
    assert pairs.count((False, True)) <= 0.1 * pairs.count((True, True))


def test_without_the_rules_an_account_with_a_rule_would_be_called_one(
    windows: pl.DataFrame, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_keep, "rule_may_apply", lambda *of: of[1].log_odds > 1e9)
    assert (True, False) in plain_and_not(windows, bundle)


def test_an_unknown_value_that_no_training_row_lacked_is_never_plain(
    windows: pl.DataFrame, bundle: Bundle
) -> None:
    values = values_of(read_table(windows).window)
    name = bundle.never_missing[0]
    values[:, FEATURE_NAMES.index(name)] = float("nan")
    scored = Scored(values, read_table(windows).window.products, values[:, 0] * 0.0 - 9.0)
    assert not plain_keeps(scored, bundle).any()


def test_tables_with_other_log_odds_than_lightgbm_are_found(
    windows: pl.DataFrame, bundle: Bundle
) -> None:
    tables = bundle.scorer.leaf_values
    assert tables is not None
    moved = dataclasses.replace(tables, values=tables.values * (1 + 1e-15))
    scorer = dataclasses.replace(bundle.scorer, leaf_values=moved)
    other = dataclasses.replace(bundle, scorer=scorer)
    read = read_table(windows)
    with pytest.raises(AdditivityError, match=r"account \S+: expected the log-odds of LightGBM"):
        decide_block(read, Basis(other, checks.WHEN))


def test_contributions_are_the_scorer_s(accounts: list[pl.DataFrame], bundle: Bundle) -> None:
    read = read_table(pl.concat(accounts))
    table = decide_block(read, Basis(bundle, checks.WHEN, with_contributions=True)).table
    expected = run_stages(read, bundle, checks.WHEN).scores.contributions
    for row, contributions in each(zip(table[CONTRIBUTIONS], expected, strict=True)):
        assert row.to_list() == contributions.tolist()


def test_what_the_function_refuses_is_refused(accounts: list[pl.DataFrame], bundle: Bundle) -> None:
    read = read_table(pl.concat(accounts))
    early = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    with pytest.raises(ValueError, match="no month is in the future"):
        decide_block(read, Basis(bundle, early))
    product = accounts[0]["product"][0]
    known = {name: one for name, one in bundle.comparisons.items() if name != product}
    without = dataclasses.replace(bundle, comparisons=known)
    with pytest.raises(ProductError, match=product):
        decide_block(read, Basis(without, checks.WHEN))
