"""The log-odds that an account would have if its limit had not been cut.

A cut raises the share of the limit that is used, and so the log-odds, though the customer does
nothing.  Before the model cuts an account again, it is scored on the same statements with the limit
from before the first cut in force: nobody is cut twice for one thing.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from features.build import matrix_of, values_of
from features.months import month_index
from features.statements import Statements
from features.window import Window
from serving.decision.bundle import Bundle
from serving.decision.policy.again import may_cut_again
from serving.decision.policy.limit import Account
from serving.decision.scoring.score import log_odds_of


def measure_without_cut(
    accounts: Sequence[Account],
    statements: Statements,
    bundle: Bundle,
    today: datetime.date,
) -> list[Account]:
    """The accounts, with ``log_odds_without_cut`` where the model might cut again.

    ``statements`` have the accounts in this order.  For most accounts nothing is computed: none is
    in force, or the log-odds that they have allow no second cut.
    """
    measured = list(accounts)
    places = [
        place
        for place, account in enumerate(accounts)
        if _is_reduced(account) and may_cut_again(account, bundle.policy, today)
    ]
    if not places:
        return measured
    own = statements.window.take(np.array(places))
    restated = _restate(own, [accounts[place] for place in places])
    log_odds = log_odds_of(
        matrix_of(values_of(restated), bundle.features),
        bundle.scorer,
        threads=1,
    )
    for place, value in zip(places, log_odds.tolist(), strict=True):
        measured[place] = replace(accounts[place], log_odds_without_cut=value)
    return measured


def _is_reduced(account: Account) -> bool:
    cut = account.cut_in_force
    return cut is not None and not cut.suspended and account.limit < cut.limit_before


def _restate(window: Window, accounts: Sequence[Account]) -> Window:
    """The window with the limit of before in all months since the cut, of the cut on."""
    limit = window["credit_limit"]
    as_of = [month_index(account.as_of) for account in accounts]
    cuts = [account.cut_in_force for account in accounts]
    cut_on = [month_index(cut.first_cut_on) for cut in cuts if cut and cut.first_cut_on]
    before = np.array([account.limit_measured for account in accounts])
    months_ago = np.arange(len(limit))[:, np.newaxis]
    is_since = np.array(as_of) - months_ago >= np.array(cut_on)
    # A month without a statement stays without: the larger of NaN and a limit is NaN.
    return window.replace("credit_limit", np.where(is_since, np.maximum(limit, before), limit))
