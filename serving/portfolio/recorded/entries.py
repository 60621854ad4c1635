"""The rows of the audit log for the decisions of a portfolio, kept in a file until they are stored.

A row has all that the endpoint stores of a decision: the statements with the prior that was used,
and the bytes of the answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from features.schema import NAMES
from features.statements import Statements
from serving.api.answers import AnsweredDecision
from serving.audit_log.entry import NewEntry
from serving.audit_log.memory import REVIEW_ON
from serving.decision.result import Decision
from serving.portfolio.block import Basis, Block, Past
from serving.reviews.workflow import review_by_policy
from serving.schemas.decision import Request
from serving.schemas.prior import make_prior
from serving.storage.timestamps import decode_time, encode_time

CALLER = "portfolio"  # a run is a command, which has no API key
_NUMBERS = NAMES[3:]  # after the account, the month and the product
_SCHEMA = {
    "entry_id": pl.String,
    "account_id": pl.String,
    "at": pl.String,
    "metadata": pl.String,
    "request_body": pl.Binary,
    "response_body": pl.Binary,
    "due": pl.Date,
    "in_force": pl.Binary,
    "follows": pl.Int64,
    "decide_by": pl.Date,
}


def entries_table(
    block: Block,
    statements: Statements,
    basis: Basis,
    past: Past,
    run: str,
) -> pl.DataFrame:
    """The rows of the decisions of a block, in order of account; ``statements`` are its own."""
    asked = _statements_of(statements, {decision.account_id for decision in block.decisions})
    answers = dict(block.table.select("account_id", "answer").iter_rows())
    rows = []
    for decision in block.decisions:
        name = decision.account_id
        rows.append(_row(decision, answers[name], asked[name], basis, past))
    for row in rows:
        row["metadata"] = json.dumps(row["metadata"] | {"run": run}, ensure_ascii=False)
    return pl.DataFrame(rows, schema=_SCHEMA)


def read_entries(file: Path, tenant: str) -> Iterator[list[NewEntry]]:
    """What is stored together of each decision: its row, and that of the review it opens."""
    for row in pl.read_parquet(file).iter_rows(named=True):
        decision = NewEntry(
            entry_id=row["entry_id"],
            kind="decision",
            subject=row["entry_id"],
            tenant=tenant,
            caller=CALLER,
            at=decode_time(row["at"]),
            account=row["account_id"],
            metadata=json.loads(row["metadata"]),
            request_body=row["request_body"],
            response_body=row["response_body"],
            due=row["due"],
            in_force=row["in_force"],
            follows=row["follows"],
        )
        if row["decide_by"] is None:
            yield [decision]
        else:
            yield [decision, review_by_policy(decision, row["decide_by"])]


def _row(
    decision: Decision,
    content: bytes,
    asked: list[dict[str, Any]],
    basis: Basis,
    past: Past,
) -> dict[str, Any]:
    account_id = decision.account_id
    answered = AnsweredDecision(decision, content)
    metadata = answered.metadata("portfolio", with_advice=False, bundle=basis.bundle)
    metadata["prior"] = "record"
    if account_id in past.ended and decision.notice is None:
        metadata[REVIEW_ON] = None
    follows = past.newest_events.get(account_id, 0) if REVIEW_ON in metadata else None
    request = Request.model_validate(
        {
            "account_id": account_id,
            "product": decision.product,
            "currency": "CNY",
            "statements": asked,
            "prior": None,
        }
    )
    request = request.model_copy(update={"prior": make_prior(past.priors.get(account_id))})
    is_review = decision.action == "review"
    return {
        "entry_id": decision.decision_id,
        "account_id": account_id,
        "at": encode_time(decision.decided_at),
        "metadata": metadata,
        "request_body": request.model_dump_json().encode(),
        "response_body": content,
        "due": None if decision.notice is None else decision.notice.send_by,
        "in_force": answered.in_force(request, basis.bundle),
        "follows": follows,
        "decide_by": decision.review_on if is_review else None,
    }


def _statements_of(statements: Statements, names: set[str]) -> dict[str, list[dict[str, Any]]]:
    """The statements of these accounts as a request has them."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for account_id, month, _, *numbers in statements.rows():
        if account_id in found:
            values = dict(zip(_NUMBERS, numbers, strict=True))
            found[account_id].append({"month": f"{month:%Y-%m}"} | values)
    return found
