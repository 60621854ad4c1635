"""Golden rows: statements with the answers that they must get, run whenever a bundle is loaded.

A digest shows that a file has the bytes that were written.  The golden rows show that this machine
and its libraries compute from them what the writing machine computed.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from features import schema
from features.statements import Row, read_rows
from features.types import Vector
from serving.decision.bundle import Bundle, BundleError, content_errors, read
from serving.decision.pipeline import advise_many, decide, stages
from serving.decision.policy.one_limit import load_loops
from serving.decision.result import Decision

# The sum of a few hundred leaves differs by 1e-13 in another order of additions, and by 1e-3 if one
# tree takes another path.
TOLERANCE = 1e-9


def load(folder: Path) -> Bundle:
    """The bundle in ``folder``, its bytes verified and its golden rows run.

    Load it in the process that decides: LightGBM's threads do not survive a fork, and a prediction
    of many rows in the child process would hang.

    Raises:
        BundleError: The bundle is damaged, or a golden row gets another answer.
    """
    bundle = load_without_advice(folder)
    with content_errors("golden.json"):
        # Accounts that are cut are among them: so the loops of advice are compiled by now too.
        statements, decided_at = _rows_of(bundle)
        advise_many(statements, bundle, decided_at)
    return bundle


def load_without_advice(folder: Path) -> Bundle:
    """:func:`load`, but the loops of advice are not compiled yet, which takes a new machine ten
    seconds.

    Raises:
        BundleError: As :func:`load` does.
    """
    bundle = read(folder)
    verify(bundle)
    load_loops(bundle.policy)
    return bundle


def make(bundle: Bundle, statements: pl.DataFrame, decided_at: datetime.datetime) -> str:
    """The text of golden.json for these windows.

    Account names are replaced, so that a bundle does not identify a customer.
    """
    names = statements["account_id"].unique(maintain_order=True)
    renamed = {name: f"golden-{number:02d}" for number, name in enumerate(names, start=1)}
    windows = statements.with_columns(pl.col("account_id").replace_strict(renamed))
    result = stages(windows, bundle, decided_at)
    rows = result.statements.with_columns(pl.col("month").dt.strftime("%Y-%m-%d")).rows()
    contributions = result.scores.contributions.tolist()
    answers = [
        {
            "account_id": decision.account_id,
            "log_odds": decision.log_odds,
            "base_log_odds": decision.base_log_odds,
            "contributions": contributions[place],
            "action": decision.action,
            "new_limit": decision.new_limit,
            "reasons": [reason.code for reason in decision.reasons],
        }
        for place, decision in enumerate(result.decisions)
    ]
    content = {"decided_at": decided_at.isoformat(), "statements": rows, "answers": answers}
    return json.dumps(content, allow_nan=False) + "\n"


def verify(bundle: Bundle) -> None:
    """Run the golden rows.

    Raises:
        BundleError: An answer differs; the message names the account and the fields.
    """
    with content_errors("golden.json"):
        _verify(bundle)


def _verify(bundle: Bundle) -> None:
    statements, decided_at = _rows_of(bundle)
    result = stages(statements, bundle, decided_at)
    rows = zip(
        json.loads(bundle.golden_text)["answers"],
        result.decisions,
        result.scores.contributions,
        strict=True,
    )
    for answer, decision, contributions in rows:
        if different := _differences(answer, decision, contributions):
            raise BundleError(
                f"golden.json: {answer['account_id']} is answered differently here in {different}"
            )
    _verify_alone(result.decisions, result.statements.rows(), bundle)


def _rows_of(bundle: Bundle) -> tuple[pl.DataFrame, datetime.datetime]:
    """The golden rows' statements, and when they are decided."""
    content = json.loads(bundle.golden_text)
    records = [dict(zip(schema.NAMES, row, strict=True)) for row in content["statements"]]
    if not records:
        raise BundleError("golden.json: expected at least one account")
    for record in records:
        record["month"] = datetime.date.fromisoformat(record["month"])
    decided_at = datetime.datetime.fromisoformat(content["decided_at"])
    return schema.table(records), decided_at


def _verify_alone(decisions: Sequence[Decision], rows: Sequence[Row], bundle: Bundle) -> None:
    """Decide each account as one request of its own is; so its loops are compiled by now too."""
    own: dict[str, list[Row]] = {}
    for row in rows:
        own.setdefault(row[0], []).append(row)
    for decision in decisions:
        alone = decide(read_rows(own[decision.account_id]), bundle, decision.decided_at)
        if alone != decision:
            raise BundleError(
                f"golden.json: {decision.account_id} alone is answered differently from a table"
            )


def _differences(answer: Mapping[str, Any], decision: Decision, contributions: Vector) -> list[str]:
    """The fields in which a decision is not the golden answer."""
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
    return [name for name, equal in same.items() if not equal]
