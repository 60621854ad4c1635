"""The accounts of a partition that plainly keep their limit, as one digest that can be proven.

Each such account is a row of the partition's decisions.  What the audit log has of them is the root
of a Merkle tree over the rows, in their order.  A row's bytes begin with a salt, which only the
keys of the audit log give: who sees the proof of one row can guess nothing of its neighbours.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable

import polars as pl

from serving.audit_log.privacy.key_file import Secrets
from serving.portfolio.block import CONTRIBUTIONS
from serving.portfolio.recorded.merkle import MerkleTree

_SALT_BYTES = 16
_ENCODER = json.JSONEncoder(default=str, ensure_ascii=False, separators=(",", ":"))


def keeps_of(decisions: pl.DataFrame) -> pl.DataFrame:
    """The rows without a decision of their own in the audit log."""
    return decisions.filter(pl.col("decision_id").is_null())


def keep_rows(keeps: pl.DataFrame, run: str, secrets: Secrets) -> list[bytes]:
    """The bytes of each row: salt, then its columns as JSON, but for contributions."""
    told = keeps.drop(CONTRIBUTIONS, strict=False)
    # Column by column: to write each row by itself takes three times as long.
    names = [f"{_ENCODER.encode(name)}:%s" for name in told.columns]
    form = "{" + ",".join(names) + "}"
    values = zip(*(_write_values(column) for column in told), strict=True)
    rows = []
    for account_id, row in zip(told["account_id"], values, strict=True):
        rows.append(_salt(run, account_id, secrets) + (form % row).encode())
    return rows


def keeps_root(keeps: pl.DataFrame, run: str, secrets: Secrets) -> str:
    """The root of the Merkle tree over these rows, hexadecimal."""
    return MerkleTree(keep_rows(keeps, run, secrets)).root.hex()


def _write_values(column: pl.Series) -> Iterable[str]:
    """Each value as JSON."""
    values = column.to_list()
    is_float = column.dtype.is_float()
    if is_float and column.null_count() == 0 and column.is_finite().all():
        return map(float.__repr__, values)
    if is_float or column.name == "account_id":
        return map(_ENCODER.encode, values)
    # Few values, each many times.
    written = {value: _ENCODER.encode(value) for value in set(values)}
    return map(written.__getitem__, values)


def _salt(run: str, account_id: str, secrets: Secrets) -> bytes:
    content = f"portfolio\0{run}\0{account_id}".encode()
    return hmac.digest(secrets.digest_key, content, hashlib.sha256)[:_SALT_BYTES]
