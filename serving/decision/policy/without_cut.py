"""The log-odds that an account would have if its limit had not been cut.

A cut raises the share of the limit that is used, and so the log-odds, though the customer does
nothing.  Before the model cuts an account again, it is scored on the same statements with the limit
from before the first cut in force: nobody is cut twice for one thing.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from features.build import build_from_window, latest_accounts
from features.window import lay_out
from serving.decision.bundle import Bundle
from serving.decision.policy.again import may_cut_again
from serving.decision.policy.limit import Account
from serving.decision.scoring.score import log_odds_of


def measure_without_cut(
    accounts: Sequence[Account],
    account_ids: Sequence[str],
    statements: pl.DataFrame,
    bundle: Bundle,
    today: datetime.date,
) -> list[Account]:
    """The accounts, with ``log_odds_without_cut`` where the model might cut again.

    ``statements`` are checked and have the accounts in this order.  For most accounts nothing is
    computed: none is in force, or the log-odds that they have allow no second cut.
    """
    measured = list(accounts)
    places = [
        place
        for place, account in enumerate(accounts)
        if _is_reduced(account) and may_cut_again(account, bundle.policy, today)
    ]
    if not places:
        return measured
    restated = _restate(
        statements,
        [account_ids[place] for place in places],
        [accounts[place] for place in places],
    )
    window = lay_out(restated)
    features = build_from_window(window, latest_accounts(restated, window))
    log_odds = log_odds_of(
        features.matrix(bundle.features),
        bundle.scorer,
        threads=1,
    )
    for place, value in zip(places, log_odds.tolist(), strict=True):
        measured[place] = replace(accounts[place], log_odds_without_cut=value)
    return measured


def _is_reduced(account: Account) -> bool:
    cut = account.cut_in_force
    return cut is not None and not cut.suspended and account.limit < cut.limit_before


def _restate(
    statements: pl.DataFrame,
    account_ids: Sequence[str],
    accounts: Sequence[Account],
) -> pl.DataFrame:
    """The statements of these accounts with the limit of before in all months since the cut."""
    cuts = pl.DataFrame(
        {
            "account_id": account_ids,
            "_cut_on": [cut.first_cut_on for a in accounts if (cut := a.cut_in_force)],
            "_before": [account.limit_measured for account in accounts],
        },
        schema_overrides={"account_id": statements.schema["account_id"]},
    )
    own = statements.join(
        cuts,
        on="account_id",
        how="inner",
        maintain_order="left",
    )
    is_since = pl.col("month").dt.month_end() >= pl.col("_cut_on")
    highest = pl.max_horizontal("credit_limit", "_before")
    limit = pl.when(is_since).then(highest).otherwise("credit_limit")
    return own.with_columns(credit_limit=limit).drop("_cut_on", "_before")
