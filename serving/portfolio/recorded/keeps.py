"""The accounts of a partition that plainly keep their limit, as one digest that can be proven.

Each such account is a row of the partition's decisions.  What the audit log has of them is the root
of a Merkle tree over the rows, in their order.  A row's bytes begin with a salt, which only the
keys of the audit log give: who sees the proof of one row can guess nothing of its neighbours.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable
from itertools import repeat

import polars as pl
from pydantic_core import to_json

from serving.audit_log.privacy.key_file import Secrets
from serving.portfolio.block import CONTRIBUTIONS
from serving.portfolio.recorded.merkle import MerkleTree

_SALT_BYTES = 16
_LEAST_PLAIN, _LARGEST_PLAIN = 1e-4, 1e15  # beyond them `repr` writes an exponent, or soon will
_ENCODER = json.JSONEncoder(default=str, ensure_ascii=False, separators=(",", ":"))


def keeps_of(decisions: pl.DataFrame) -> pl.DataFrame:
    """The rows without a decision of their own in the audit log."""
    return decisions.filter(pl.col("decision_id").is_null())


def keep_rows(keeps: pl.DataFrame, run: str, secrets: Secrets) -> list[bytes]:
    """The bytes of each row: salt, then its columns as JSON, but for contributions."""
    told = keeps.drop(CONTRIBUTIONS, strict=False)
    # Column by column: to write each row by itself takes five times as long.
    form, varying = [], []
    for column in told:
        name = _ENCODER.encode(column.name)
        if _is_constant(column):
            [value] = _write_values(column.head(1))
            form.append(f"{name}:{value}".replace("%", "%%"))
        else:
            form.append(f"{name}:%s")
            varying.append(_write_values(column))
    row_form = "{" + ",".join(form) + "}"
    # Without a column that varies, as of one row, each row is the form alone.
    values = zip(*varying, strict=True) if varying else repeat(())
    rows = []
    for account_id, row in zip(told["account_id"].to_list(), values, strict=False):
        salt = _salt(run, account_id, secrets)
        text = row_form % row
        rows.append(salt + text.encode())
    return rows


def keeps_root(keeps: pl.DataFrame, run: str, secrets: Secrets) -> str:
    """The root of the Merkle tree over these rows, hexadecimal."""
    return MerkleTree(keep_rows(keeps, run, secrets)).root.hex()


def _is_constant(column: pl.Series) -> bool:
    """Whether all rows have the same text in a column; certain only if it is true."""
    if column.is_empty():
        return False
    # 0.0 is equal to -0.0, and another text.
    return column.is_null().all() or (not column.dtype.is_float() and column.n_unique() == 1)


def _write_values(column: pl.Series) -> Iterable[str]:
    """Each value as JSON."""
    if _is_plain_number(column):
        # A tenth of the time of `repr`, and the same text.
        return to_json(column.to_list())[1:-1].decode().split(",")
    values = column.to_list()
    if column.dtype.is_float() or column.name == "account_id":
        return map(_ENCODER.encode, values)
    # Few values, each many times.
    written = {value: _ENCODER.encode(value) for value in set(values)}
    return map(written.__getitem__, values)


def _is_plain_number(column: pl.Series) -> bool:
    """Whether all are floats that every writer of JSON writes alike: without an exponent."""
    if column.is_empty() or column.null_count() or not column.dtype.is_float():
        return False
    size = column.abs()
    is_plain = size.is_between(_LEAST_PLAIN, _LARGEST_PLAIN)
    return bool((is_plain | (size == 0.0)).all())


def _salt(run: str, account_id: str, secrets: Secrets) -> bytes:
    content = f"portfolio\0{run}\0{account_id}".encode()
    return hmac.digest(secrets.digest_key, content, "sha256")[:_SALT_BYTES]
