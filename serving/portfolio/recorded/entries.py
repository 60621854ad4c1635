"""The rows of the audit log for the decisions of a portfolio, kept in a file until they are stored.

A row has all that the endpoint stores of a decision: the statements with the prior that was used,
and the bytes of the answer.  They are packed here, where partitions are decided in parallel: rows
are stored one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic_core import from_json, to_json

from features.schema import NAMES
from features.statements import Statements
from serving.api.answers import AnsweredDecision
from serving.audit_log.entry import NewEntry
from serving.audit_log.memory import REVIEW_ON
from serving.audit_log.privacy.content import pack, pack_request
from serving.portfolio.block import Basis, Block, Past
from serving.reviews.workflow import review_by_policy
from serving.schemas.prior import make_prior
from serving.storage.timestamps import decode_time, encode_time

CALLER = "portfolio"  # a run is a command, which has no API key
_NUMBERS = NAMES[3:]  # after the account, the month and the product
_PACKED = ("asked", "answered", "in_force")
_SCHEMA = {
    "entry_id": pl.String,
    "account_id": pl.String,
    "at": pl.String,
    "metadata": pl.String,
    "asked": pl.Binary,
    "answered": pl.Binary,
    "in_force": pl.Binary,
    "due": pl.Date,
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
    """The rows of the decisions of a block, in order of account.

    ``statements`` are its own; their amounts are rounded, as those of a request are.
    """
    if not block.decisions:
        return pl.DataFrame(schema=_SCHEMA)
    is_decided = block.table["decision_id"].is_not_null()
    own = statements.take(np.flatnonzero(is_decided.to_numpy()))
    answers = block.table["answer"].filter(is_decided)
    balances = own.window.now("balance").tolist()
    rows = []
    for decision, content, balance in zip(block.decisions, answers, balances, strict=True):
        answered = AnsweredDecision(decision, content)
        rows.append(_row(answered, balance, basis, past))
    for row, request in zip(rows, _pack_requests(own, past), strict=True):
        metadata = row["metadata"] | {"run": run}
        row["metadata"] = to_json(metadata).decode()
        row["asked"] = request
    return pl.DataFrame(rows, schema=_SCHEMA)


def count_entries(file: Path) -> int:
    """The decisions of a file of :func:`entries_table`."""
    counted = pl.scan_parquet(file).select(pl.len()).collect()
    return int(counted.item())


def read_entries(
    file: Path,
    tenant: str,
    first: int = 0,
    count: int | None = None,
) -> Iterator[list[NewEntry]]:
    """What is stored together of each decision: its row, and that of the review it opens.

    ``count`` decisions from the place ``first`` on; None = all that follow.
    """
    rows = pl.scan_parquet(file).slice(first, count).collect()
    for row in rows.iter_rows(named=True):
        decision = NewEntry(
            entry_id=row["entry_id"],
            kind="decision",
            subject=row["entry_id"],
            tenant=tenant,
            caller=CALLER,
            at=decode_time(row["at"]),
            account=row["account_id"],
            metadata=from_json(row["metadata"]),
            packed=tuple(row[name] for name in _PACKED),
            due=row["due"],
            follows=row["follows"],
        )
        if row["decide_by"] is None:
            yield [decision]
        else:
            yield [decision, review_by_policy(decision, row["decide_by"])]


def _row(answered: AnsweredDecision, balance: float, basis: Basis, past: Past) -> dict[str, Any]:
    decision = answered.decision
    account_id = decision.account_id
    metadata = answered.metadata("portfolio", with_advice=False, bundle=basis.bundle)
    metadata["prior"] = "record"
    if account_id in past.ended and decision.notice is None:
        metadata[REVIEW_ON] = None
    follows = past.newest_events.get(account_id, 0) if REVIEW_ON in metadata else None
    in_force = answered.left_in_force(balance, basis.bundle)
    is_review = decision.action == "review"
    return {
        "entry_id": decision.decision_id,
        "account_id": account_id,
        "at": encode_time(decision.decided_at),
        "metadata": metadata,
        "answered": pack(answered.content),
        "in_force": None if in_force is None else pack(in_force),
        "due": None if decision.notice is None else decision.notice.send_by,
        "follows": follows,
        "decide_by": decision.review_on if is_review else None,
    }


def _pack_requests(statements: Statements, past: Past) -> Iterator[bytes]:
    """The request of each account, packed: the bytes of :class:`serving.schemas.decision.Request`.

    It is written by column, as it is packed: a model of it would have to be taken apart again.
    """
    table = statements.table.select(pl.col("month").dt.strftime("%Y-%m"), *_NUMBERS)
    columns = [(to_json(name) + b":", _write_values(table[name])) for name in table.columns]
    months_observed = statements.window.months_observed.astype(np.int64).tolist()
    first = 0
    for place, account_id in enumerate(statements.account_ids):
        last = first + months_observed[place]
        about = {
            "account_id": account_id,
            "product": statements.products[place],
            "currency": "CNY",
        }
        prior = make_prior(past.priors.get(account_id))
        own = [name + b",".join(values[first:last]) for name, values in columns]
        yield pack_request(to_json(about)[:-1] + b",", own, b',"prior":' + to_json(prior) + b"}")
        first = last


def _write_values(column: pl.Series) -> list[bytes]:
    """Each value as JSON; no value has a comma."""
    return to_json(column.to_list())[1:-1].split(b",")
