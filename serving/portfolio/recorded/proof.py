"""Whether the decisions in a folder are those that the audit log has of the run.

The audit log has each decision with its bytes, and of the accounts that plainly keep their limit
the root of a Merkle tree: a row that was changed, added or left out gives another root.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.privacy.record_secrets import open_secrets
from serving.audit_log.reader import Reader
from serving.portfolio.errors import PortfolioError
from serving.portfolio.recorded.keeps import keep_rows, keeps_of, keeps_root
from serving.portfolio.recorded.merkle import MerkleTree
from serving.portfolio.recorded.record import Recorded, overtaken_accounts, recorded_parts
from serving.portfolio.run import MANIFEST
from serving.storage.database import COMMAND_SECONDS, open_database
from serving.storage.settings import StorageSettings

_DECISIONS_A_QUERY = 200


@dataclass(frozen=True, slots=True)
class KeepProof:
    """That an account plainly kept its limit in a run.

    Attributes:
        row: The bytes of its row.
        place: Of the row among those of its file, from 0.
        count: The rows of the file.
        path: The hashes that lead from the row to the root, see :mod:`.merkle`.
        root: What the audit log has.
    """

    row: bytes
    place: int
    count: int
    path: list[bytes]
    root: bytes


def check_run(folder: Path, record: StorageSettings) -> Iterator[str]:
    """What in a folder is not as the audit log has it: a sentence each, none if all is.

    Raises:
        PortfolioError: The folder holds no run that was recorded.
        StorageError: There is no audit log, or it cannot be read.
    """
    manifest = _manifest(folder)
    with closing(open_database(record, COMMAND_SECONDS)) as database:
        secrets = open_secrets(database, record, create=False)
        reader = Reader(database, secrets)
        parts = _parts(manifest, reader)
        for partition in manifest["partitions"]:
            part = parts.get(partition["name"])
            if part is None:
                yield f"{partition['name']}: the audit log has nothing of it"
                continue
            for name in partition["decisions"]:
                yield from _check_file(folder, name, part, manifest["run"], reader, secrets)


def prove_keep(folder: Path, record: StorageSettings, account_id: str) -> KeepProof:
    """The proof that an account plainly kept its limit in the run of a folder.

    Raises:
        PortfolioError: The run has no such account, or it has a decision of its own.
        StorageError: There is no audit log, or it cannot be read.
    """
    manifest = _manifest(folder)
    with closing(open_database(record, COMMAND_SECONDS)) as database:
        secrets = open_secrets(database, record, create=False)
        parts = _parts(manifest, Reader(database, secrets))
    for partition in manifest["partitions"]:
        for name in partition["decisions"]:
            keeps = keeps_of(pl.read_parquet(folder / name))
            place = keeps["account_id"].index_of(account_id)
            if place is None:
                continue
            rows = keep_rows(keeps, manifest["run"], secrets)
            tree = MerkleTree(rows)
            root = bytes.fromhex(parts[partition["name"]].roots[name])
            return KeepProof(rows[place], place, len(rows), tree.proof(place), root)
    raise PortfolioError(
        f"{folder}: no account {account_id} without a decision of its own; "
        "decisions are in the audit log"
    )


def _manifest(folder: Path) -> dict[str, Any]:
    place = folder / MANIFEST
    if not place.exists():
        raise PortfolioError(f"{folder}: expected the folder of a run, found no {MANIFEST}")
    manifest: dict[str, Any] = json.loads(place.read_text("utf-8"))
    if manifest["state"] != "finished" or not manifest["records"]:
        raise PortfolioError(f"{folder}: expected a finished run that was recorded")
    return manifest


def _parts(manifest: dict[str, Any], reader: Reader) -> dict[str, Recorded]:
    parts = recorded_parts(reader, manifest["tenant"], manifest["run"])
    return {part.partition: part for part in parts}


def _check_file(
    folder: Path,
    name: str,
    part: Recorded,
    run: str,
    reader: Reader,
    secrets: Secrets,
) -> Iterator[str]:
    table = pl.read_parquet(folder / name)
    if keeps_root(keeps_of(table), run, secrets) != part.roots[name]:
        yield f"{name}: the accounts that keep their limit are not those of the audit log"
    overtaken = set(overtaken_accounts(part.partition, folder))
    decided = table.filter(pl.col("decision_id").is_not_null())
    rows = decided.select("decision_id", "account_id", "answer").iter_rows()
    while some := list(islice(rows, _DECISIONS_A_QUERY)):
        stored = reader.by_ids([decision_id for decision_id, _, _ in some])
        for decision_id, account_id, answer in some:
            if account_id in overtaken:
                continue
            row = stored.get(decision_id)
            if row is None:
                yield f"{name}: the audit log has no decision on account {account_id}"
            elif not row.erased and row.response_body != answer:
                yield f"{name}: the answer on account {account_id} is not that of the audit log"
