"""The accounts of the default data that the benchmarks decide on."""

from __future__ import annotations

import datetime

import polars as pl

from serving.decision.result import Stages


def those_of(made: Stages, account: str) -> list[str]:
    """The accounts that the model cuts ("cut"), or whose limit is kept ("kept")."""
    return [
        decision.account_id
        for decision, outcome in zip(made.decisions, made.outcomes, strict=True)
        if (outcome.by_model if account == "cut" else decision.action == "keep")
    ]


def of_accounts(made: Stages, account_ids: list[str]) -> list[pl.DataFrame]:
    theirs = made.statements.filter(pl.col("account_id").is_in(account_ids))
    return theirs.partition_by("account_id", maintain_order=True)


def on_the_day(month: datetime.date) -> datetime.datetime:
    return datetime.datetime(month.year, month.month, 28, tzinfo=datetime.UTC)
