"""No serious delinquency of the last twelve months goes untold where the model cuts."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import pytest

from serving.decision.bundle import Bundle, read
from serving.decision.pipeline import stages
from serving.decision.result import Decision
from tests.support.each import each
from tests.support.paths import GOLDEN, ROOT
from tests.support.policies import cut_more
from tests.support.sentences import WORDING

DECIDED_AT = datetime.datetime(2026, 11, 20, 8, 30, tzinfo=datetime.UTC)
STATEMENTS = ROOT / "tests" / "golden" / "answers" / "statements.parquet"
SERIOUS = 60  # days


@pytest.fixture(scope="module")
def golden() -> Bundle:
    return cut_more(read(GOLDEN))


def decided_by_model(bundle: Bundle) -> Iterator[tuple[Decision, int]]:
    """The accounts that the model cuts or proposes to cut, with their longest delay of a year."""
    result = stages(pl.read_parquet(STATEMENTS), bundle, DECIDED_AT)
    delays = {
        str(account[0]): int(own["days_past_due"].tail(12).max() or 0)  # type: ignore[arg-type]
        for account, own in result.statements.group_by("account_id", maintain_order=True)
    }
    for decision, outcome in zip(result.decisions, result.outcomes, strict=True):
        if outcome.by_model and decision.notice is not None:
            yield decision, delays[decision.account_id]


def untold(bundle: Bundle) -> list[str]:
    """The accounts whose notice does not tell a serious delay, in either language."""
    serious = [found for found in decided_by_model(bundle) if found[1] >= SERIOUS]
    silent = []
    for decision, days in each(serious):
        assert decision.notice is not None
        text = decision.notice.text
        if f"{days} days late" not in text.en or f"逾期{days}天" not in text.zh:
            silent.append(decision.account_id)
    return silent


def test_a_serious_delinquency_of_the_year_is_told(golden: Bundle) -> None:
    assert untold(golden) == []


def test_without_such_facts_some_would_not_be(golden: Bundle) -> None:
    """The control."""
    assert untold(replace(golden, wording=replace(golden.wording, never_silent=())))


def test_a_fact_that_is_no_reason_is_told_as_one_that_counted_little(golden: Bundle) -> None:
    known = golden.wording.notice["also_known"].en.split("{")[0]
    told = [
        decision
        for decision, _ in decided_by_model(golden)
        if decision.notice is not None and known in decision.notice.text.en
    ]
    for decision in each(told):
        assert decision.notice is not None
        sentence = decision.notice.text.en.split(known)[1].split("\n")[0]
        for reason in decision.reasons:
            assert sentence not in reason.text.en


def test_only_an_instalment_that_is_not_paid_is_called_overdue(golden: Bundle) -> None:
    """A payment that came some days late was made, and there is nothing more to pay of it."""
    bundle = replace(golden, wording=WORDING)
    statements = pl.read_parquet(STATEMENTS)
    is_last = pl.col("month") == pl.col("month").max().over("account_id")
    is_on_time = pl.col("days_past_due") == 0
    days_late = pl.when(is_last & is_on_time).then(7).otherwise(pl.col("days_past_due"))
    kind = statements["days_past_due"].dtype
    late = statements.with_columns(days_late.cast(kind).alias("days_past_due"))
    result = stages(late, bundle, DECIDED_AT)
    seen = set()
    for decision, evidence in zip(result.decisions, result.evidence, strict=True):
        if decision.notice is None:
            continue
        days = evidence.values["days_past_due_now"]
        is_unpaid = days >= 30
        assert ("Please pay the overdue part" in decision.notice.text.en) == is_unpaid
        assert ("逾期部分请尽快还清" in decision.notice.text.zh) == is_unpaid
        seen.add((days > 0, is_unpaid))
    assert seen == {(True, False), (True, True)}
