"""Hold-out accounts as requests to the service, for trying a model."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from features.schema import COLUMNS, check, round_amounts
from serving.decision.bundle import Bundle
from serving.decision.pipeline import decide_many
from serving.decision.result import Decision
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.label_file import last_labelled_month
from training.data.labels import as_date, select_windows, soon_after
from training.data.observation import observe
from training.data.splits import assign_splits

LOOKED_THROUGH = 2000  # hold-out accounts that are decided to find one


class NoSuchAccount(LookupError):
    """No hold-out account gets the requested action."""


def hold_out(source: Source, config: DataConfig) -> pl.DataFrame:
    """Return the latest windows of the accounts that no tree was fitted on.

    If the data have labels, these are the windows of all labelled accounts: a fit splits them into
    folds and holds no account out.
    """
    statements = source.statements
    if source.labels is not None:
        return select_windows(statements, last_labelled_month(source.labels))
    observe(statements, config.default_days)  # refuses a stray month, which would be the last one
    last_month = as_date(statements["month"].max())
    windows = select_windows(statements, last_month)
    accounts = windows["account_id"].unique(maintain_order=True)
    is_test = assign_splits(accounts, config) == "test"
    unseen = accounts.filter(pl.Series(is_test))
    return windows.join(
        unseen.to_frame(),
        on="account_id",
        how="semi",
        maintain_order="left",
    )


def find(
    windows: pl.DataFrame,
    bundle: Bundle,
    action: str,
    number: int,
) -> tuple[pl.DataFrame, Decision]:
    """Return window and decision of the ``number``-th account (from 1) that gets this action.

    Accounts with most reasons come first, then those with the deepest cut.  Raises ValueError for a
    number below 1, :class:`NoSuchAccount` if there are fewer such accounts.
    """
    if number < 1:
        raise ValueError(f"number: expected 1 for the first account, or more, got {number}")
    if windows.is_empty():
        raise NoSuchAccount("the hold-out has no statements")
    accounts = windows["account_id"].unique(maintain_order=True)
    first_accounts = accounts.head(LOOKED_THROUGH).to_list()
    statements = windows.filter(pl.col("account_id").is_in(first_accounts))
    decided_at = soon_after(statements["month"].max())
    decisions = decide_many(statements, bundle, decided_at)
    matching = [decision for decision in decisions if decision.action == action]
    if len(matching) < number:
        raise NoSuchAccount(
            f"expected {number} hold-out accounts with action {action}, found {len(matching)}"
        )
    ranked = sorted(matching, key=_most_to_see_first)
    chosen = ranked[number - 1]
    window = statements.filter(pl.col("account_id") == chosen.account_id)
    return window, chosen


def _most_to_see_first(decision: Decision) -> tuple[int, float, str]:
    remaining = 1.0
    if decision.credit_limit > 0:
        remaining = decision.new_limit / decision.credit_limit
    # The id last, so that ties have an order and the same account is found again.
    return (-len(decision.reasons), remaining, decision.account_id)


def request(statements: pl.DataFrame) -> dict[str, object]:
    """Return the request of one account's window as JSON values; unknown values are null.

    Raises StatementError for statements that the service would refuse.
    """
    statements = check(round_amounts(statements))
    month = pl.col("month").dt.strftime("%Y-%m")
    rows = statements.with_columns(month).to_dicts()
    # The API has the account and its product once, not on every statement.
    once = ("account_id", "product")
    columns = [column.name for column in COLUMNS if column.name not in once]
    return {
        "account_id": rows[0]["account_id"],
        "product": rows[0]["product"],
        "currency": "CNY",
        "statements": [{name: row[name] for name in columns} for row in rows],
    }


def write_sample(
    source: Source,
    config: DataConfig,
    bundle: Bundle,
    wanted: tuple[str, int],
    file: Path,
) -> dict[str, object]:
    """Write the request of a hold-out account as a JSON file, and return it.

    ``config`` is that of the bundle's fit: with another split, the hold-out would contain accounts
    that the trees saw.  ``wanted`` is an action and a number, as in :func:`find`.
    """
    statements, _ = find(hold_out(source, config), bundle, *wanted)
    content = request(statements)
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
    file.write_text(text + "\n", "utf-8")
    return content
