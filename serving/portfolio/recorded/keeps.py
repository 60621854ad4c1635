"""The accounts of a partition that plainly keep their limit, as one digest that can be proven.

Each such account is a row of the partition's decisions.  What the audit log has of them is the root
of a Merkle tree over the rows, in their order.  A row's bytes begin with a salt, which only the
keys of the audit log give: who sees the proof of one row can guess nothing of its neighbours.
"""

from __future__ import annotations

import hashlib
import hmac
import json

import polars as pl

from serving.audit_log.privacy.key_file import Secrets
from serving.portfolio.block import CONTRIBUTIONS

_SALT_BYTES = 16


def keeps_of(decisions: pl.DataFrame) -> pl.DataFrame:
    """The rows without a decision of their own in the audit log."""
    return decisions.filter(pl.col("decision_id").is_null())


def keep_rows(keeps: pl.DataFrame, run: str, secrets: Secrets) -> list[bytes]:
    """The bytes of each row: salt, then its columns as JSON, but for contributions."""
    told = keeps.drop(CONTRIBUTIONS, strict=False)
    rows = []
    for row in told.iter_rows(named=True):
        salt = _salt(run, row["account_id"], secrets)
        text = json.dumps(row, default=str, ensure_ascii=False, separators=(",", ":"))
        rows.append(salt + text.encode())
    return rows


def _salt(run: str, account_id: str, secrets: Secrets) -> bytes:
    content = f"portfolio\0{run}\0{account_id}".encode()
    return hmac.digest(secrets.digest_key, content, hashlib.sha256)[:_SALT_BYTES]
