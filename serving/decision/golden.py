"""Golden rows: statements with the answers that they must get, run whenever a bundle is loaded.

A digest shows that the bytes are the ones that were written; the golden rows show that this machine
and these libraries make of them what the machine that wrote them did.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import polars as pl

from features import schema
from serving.decision.bundle import Bundle, BundleError, read, refusing
from serving.decision.pipeline import stages

# Sums of a few hundred leaves in another order of additions differ by 1e-13; another tree taken, by
# 1e-3.
TOLERANCE = 1e-9


def load(folder: Path) -> Bundle:
    """The bundle in ``folder``, its bytes verified and its golden rows answered as they were when
    it was written.

    Load it in the process that decides: LightGBM's threads do not survive a fork, and a child's
    prediction of many rows hangs. Raises :class:`BundleError`.
    """
    bundle = read(folder)
    verify(bundle)
    return bundle


def make(bundle: Bundle, statements: pl.DataFrame, decided_at: datetime.datetime) -> str:
    """The golden file's text for these windows.

    Account names are replaced: no customer is named in a bundle.
    """
    names = statements["account_id"].unique(maintain_order=True)
    renamed = {name: f"golden-{number:02d}" for number, name in enumerate(names, start=1)}
    windows = statements.with_columns(pl.col("account_id").replace_strict(renamed))
    made = stages(windows, bundle, decided_at)
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
        for decision, contributions in zip(
            made.decisions, made.scores.contributions.tolist(), strict=True
        )
    ]
    content = {"decided_at": decided_at.isoformat(), "statements": rows, "answers": answers}
    return json.dumps(content, allow_nan=False) + "\n"


def verify(bundle: Bundle) -> None:
    """Run the golden rows; :class:`BundleError` names the first account whose answer differs, and
    in what.
    """
    with refusing("golden.json"):
        _verify(bundle)


def _verify(bundle: Bundle) -> None:
    content = json.loads(bundle.golden_text)
    records = [dict(zip(schema.NAMES, row, strict=True)) for row in content["statements"]]
    if not records:
        raise BundleError("golden.json: expected at least one account")
    for record in records:
        record["month"] = datetime.date.fromisoformat(record["month"])
    made = stages(
        schema.table(records), bundle, datetime.datetime.fromisoformat(content["decided_at"])
    )
    for answer, decision, contributions in zip(
        content["answers"], made.decisions, made.scores.contributions, strict=True
    ):
        same = {
            "account_id": answer["account_id"] == decision.account_id,
            "log_odds": abs(answer["log_odds"] - decision.log_odds) <= TOLERANCE,
            "base_log_odds": abs(answer["base_log_odds"] - decision.base_log_odds) <= TOLERANCE,
            "contributions": bool(
                np.allclose(answer["contributions"], contributions, rtol=0, atol=TOLERANCE)
            ),
            "action": answer["action"] == decision.action,
            "new_limit": answer["new_limit"] == decision.new_limit,
            "reasons": answer["reasons"] == [reason.code for reason in decision.reasons],
        }
        if different := [name for name, equal in same.items() if not equal]:
            raise BundleError(
                f"golden.json: {answer['account_id']} is answered differently here in {different}"
            )
