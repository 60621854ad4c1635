"""Hold-out accounts as requests to the endpoint: what to try a model on."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from features.schema import COLUMNS
from serving.decision.bundle import Bundle
from serving.decision.pipeline import decide_many
from serving.decision.result import Decision
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.labels import select_windows
from training.data.splits import assign_splits

LOOKED_THROUGH = 2000  # hold-out accounts decided in search of one


class NoSuchAccount(LookupError):
    """No hold-out account gets the action that was asked for."""


def hold_out(source: Source, config: DataConfig) -> pl.DataFrame:
    """The latest windows of the accounts that no tree saw; of all labelled accounts, where the data
    are folded.
    """
    if source.labels is not None:
        return select_windows(source.statements, source.labels["as_of"].max())  # type: ignore[arg-type]  # a checked date column
    latest = source.statements["month"].max()
    windows = select_windows(source.statements, latest)  # type: ignore[arg-type]  # a checked date column
    accounts = windows["account_id"].unique(maintain_order=True)
    unseen = accounts.filter(pl.Series(assign_splits(accounts, config) == "test"))
    return windows.join(unseen.to_frame(), on="account_id", how="semi", maintain_order="left")


def find(
    windows: pl.DataFrame, bundle: Bundle, action: str, number: int
) -> tuple[pl.DataFrame, Decision]:
    """Window and decision of the ``number``-th account (from 1) that gets this action: most
    reasons, then deepest cut first.
    """
    if number < 1:
        raise ValueError(f"number: expected 1 for the first account, or more, got {number}")
    accounts = windows["account_id"].unique(maintain_order=True).head(LOOKED_THROUGH)
    looked = windows.filter(pl.col("account_id").is_in(accounts.to_list()))
    last = looked["month"].max()
    if not isinstance(last, datetime.date):
        raise NoSuchAccount("the hold-out has no statements")
    decided_at = datetime.datetime(last.year, last.month, 28, 12, tzinfo=datetime.UTC)
    decisions = [d for d in decide_many(looked, bundle, decided_at) if d.action == action]
    if len(decisions) < number:
        raise NoSuchAccount(
            f"expected {number} hold-out accounts with action {action}, found {len(decisions)}"
        )
    chosen = sorted(decisions, key=_telling)[number - 1]
    return looked.filter(pl.col("account_id") == chosen.account_id), chosen


def _telling(decision: Decision) -> tuple[int, float, str]:
    """In order of how much there is to see."""
    kept = decision.new_limit / decision.credit_limit if decision.credit_limit > 0 else 1.0
    return (-len(decision.reasons), kept, decision.account_id)


def request(statements: pl.DataFrame) -> dict[str, object]:
    """The endpoint's request for one account's window: JSON values, unknown as null."""
    rows = statements.with_columns(pl.col("month").dt.strftime("%Y-%m")).to_dicts()
    columns = [column.name for column in COLUMNS if column.name not in ("account_id", "product")]
    return {
        "account_id": rows[0]["account_id"],
        "product": rows[0]["product"],
        "currency": "CNY",
        "statements": [{name: row[name] for name in columns} for row in rows],
    }


def write(content: Mapping[str, object], file: Path) -> None:
    """The request as a JSON file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n", "utf-8"
    )
