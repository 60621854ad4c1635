"""Golden rows: statements with the answers that they must get, run whenever a bundle is loaded.

A digest shows that the bytes are the ones that were written; the golden rows show that this machine and these libraries
make of them what the machine that wrote them did.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from features import schema
from serving.decision.bundle import Bundle, BundleError, refusing

if TYPE_CHECKING:
    from serving.decision import Stages

# Sums of a few hundred leaves in another order of additions differ by 1e-13; another tree taken, by 1e-3.
TOLERANCE = 1e-9
Flow = Callable[[pl.DataFrame, Bundle, datetime.datetime], "Stages"]


def make(bundle: Bundle, statements: pl.DataFrame, decided_at: datetime.datetime, flow: Flow) -> str:
    """The golden file's text for these windows.  Account names are replaced: no customer is named in a bundle."""
    names = statements["account_id"].unique(maintain_order=True)
    renamed = {name: f"golden-{number:02d}" for number, name in enumerate(names, start=1)}
    windows = statements.with_columns(pl.col("account_id").replace_strict(renamed))
    made = flow(windows, bundle, decided_at)
    rows = made.statements.with_columns(pl.col("month").dt.strftime("%Y-%m-%d")).rows()
    answers = [
        {
            "account_id": decision.account_id,
            "log_odds": decision.log_odds,
            "base_log_odds": decision.base_log_odds,
            "contributions": contributions,
            "action": decision.action,
            "new_limit": decision.new_limit,
            "reasons": [reason.code for reason in decision.reasons],
        }
        for decision, contributions in zip(made.decisions, made.scores.contributions.tolist(), strict=True)
    ]
    content = {"decided_at": decided_at.isoformat(), "statements": rows, "answers": answers}
    return json.dumps(content, allow_nan=False) + "\n"


def verify(bundle: Bundle, flow: Flow) -> None:
    """Run the golden rows; :class:`BundleError` names the first account whose answer differs, and in what."""
    with refusing("golden.json"):
        _verify(bundle, flow)


def _verify(bundle: Bundle, flow: Flow) -> None:
    content = json.loads(bundle.golden_text)
    records = [dict(zip(schema.NAMES, row, strict=True)) for row in content["statements"]]
    if not records:
        raise BundleError("golden.json: expected at least one account")
    for record in records:
        record["month"] = datetime.date.fromisoformat(record["month"])
    made = flow(schema.table(records), bundle, datetime.datetime.fromisoformat(content["decided_at"]))
    for answer, decision, contributions in zip(content["answers"], made.decisions, made.scores.contributions, strict=True):
        same = {
            "account_id": answer["account_id"] == decision.account_id,
            "log_odds": abs(answer["log_odds"] - decision.log_odds) <= TOLERANCE,
            "base_log_odds": abs(answer["base_log_odds"] - decision.base_log_odds) <= TOLERANCE,
            "contributions": bool(np.allclose(answer["contributions"], contributions, rtol=0, atol=TOLERANCE)),
            "action": answer["action"] == decision.action,
            "new_limit": answer["new_limit"] == decision.new_limit,
            "reasons": answer["reasons"] == [reason.code for reason in decision.reasons],
        }
        if different := [name for name, equal in same.items() if not equal]:
            raise BundleError(f"golden.json: {answer['account_id']} is answered differently here in {different}")
