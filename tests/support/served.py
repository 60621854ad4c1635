"""Services that run for tests: where they are, their keys, and requests as a lender sends them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from serving.audit_log.privacy.key_file import Secrets, read_secrets
from serving.auth import keys
from serving.auth.caller import SCOPES
from serving.auth.local_token import read_token, token_file
from serving.operations.audit import open_audit_log
from serving.operations.client import settings_for
from serving.reviews.past_decision import earlier_of
from serving.schemas.prior import Prior
from serving.storage.database import Database
from serving.storage.settings import read_settings
from tests.support.checks import Past
from tests.support.paths import ROOT

FAST = keys.KeyTerms(rate=10_000)
# Settings of a service that finds no training library, as where it is deployed.  LightGBM imports
# those that it finds, which takes a start of two processes seconds.
AS_DEPLOYED = {"PYTHONPATH": str(ROOT / "tests" / "support" / "absent")}


def to_be_killed(folder: Path) -> dict[str, str]:
    """The settings AS_DEPLOYED of a service that is killed: the temporary folders that it cannot
    remove are in this folder.
    """
    return AS_DEPLOYED | {"TMPDIR": str(folder)}


class Server(NamedTuple):
    """A running service without keys: its URL, its log so far, and the tag of its model."""

    url: str
    log: Path
    tag: str

    @property
    def id_key(self) -> bytes:
        """The key of the decisions' ids."""
        return read_secrets(self.log.parent / "secrets.json").id_key

    def recall(self, answer: Mapping[str, Any]) -> Past:
        """What the service decided with: the prior in the answer, and the earlier decision."""
        prior, since = answer["prior"], answer["since_last"]
        known = None if prior is None else Prior.model_validate_json(json.dumps(prior))
        if since is None:
            return None if known is None else known.to_decision(), None
        settings = read_settings(settings_for(self.log.parent))
        with open_audit_log(settings) as audit_log:
            row = audit_log.reader.by_id(since["decision_id"])
        return None if known is None else known.to_decision(), earlier_of(row)

    @property
    def token(self) -> str:
        """What a client on this machine sends instead of a key."""
        return local_token(self.log.parent)

    @property
    def headers(self) -> dict[str, str]:
        """What a client on this machine sends."""
        return local_headers(self.log.parent)


class Guarded(NamedTuple):
    """A running service with keys: its URL, its log, its database and its keys by name.

    The names are those of :func:`create_keys`.
    """

    url: str
    log: Path
    record: str
    keys: dict[str, str]


def local_token(folder: Path) -> str:
    """The token of a service without keys whose audit log is in this folder."""
    token = read_token(token_file(read_settings(settings_for(folder))))
    assert token is not None, f"expected a token in {folder}"
    return token


def local_headers(folder: Path) -> dict[str, str]:
    """What a client on this machine sends to this service."""
    return {"authorization": f"Bearer {local_token(folder)}"}


def as_requests(statements: pl.DataFrame) -> list[dict[str, Any]]:
    """Return statements as a lender sends them, made without serving.schemas.decision.

    They say that nothing is in force, so an account may be decided on by many tests.
    """
    with_text = statements.with_columns(pl.col("month").dt.strftime("%Y-%m"))
    by_account = with_text.group_by("account_id", maintain_order=True)
    return [
        {
            "account_id": account,
            "product": rows["product"][0],
            "currency": "CNY",
            "statements": rows.drop("account_id", "product").to_dicts(),
            "prior": None,
        }
        for (account,), rows in by_account
    ]


def cut_batch(body: str) -> list[bytes]:
    """Return the bytes of each answer in the body of a batch."""
    head, tail = '{"decisions":[', "]}"
    assert body.startswith(head)
    assert body.endswith(tail)
    place, answers, decoder = len(head), [], json.JSONDecoder()
    while place < len(body) - len(tail):
        _, end = decoder.raw_decode(body, place)
        answers.append(body[place:end].encode())
        place = end + 1
    return answers


def create_keys(database: Database, secrets: Secrets) -> dict[str, str]:
    """Create keys of all kinds and return them by name.

    Live keys are named ``tenant/scope`` and ``tenant/all``, of the tenants north and south; they
    have no owner. ``Li Na`` and ``Wang Wei`` are the keys of reviewers of the north. The others are
    ``expired``, ``revoked`` and ``slow``, with one request in 100 s.
    """
    by_name: dict[str, str] = {}
    for tenant in ("north", "south"):
        for scope in SCOPES:
            by_name[f"{tenant}/{scope}"], _ = keys.create(database, secrets, tenant, [scope], FAST)
        by_name[f"{tenant}/all"], _ = keys.create(database, secrets, tenant, SCOPES, FAST)
    for owner in ("Li Na", "Wang Wei"):
        terms = keys.KeyTerms(rate=10_000, owner=owner)
        by_name[owner], _ = keys.create(database, secrets, "north", ["review"], terms)
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=30)
    by_name["expired"], _ = keys.create(
        database, secrets, "old", SCOPES, keys.KeyTerms(days=29), long_ago
    )
    by_name["revoked"], revoked = keys.create(database, secrets, "old", SCOPES)
    keys.revoke(database, secrets, revoked.key_id)
    by_name["slow"], _ = keys.create(database, secrets, "slow", SCOPES, keys.KeyTerms(rate=0.01))
    return by_name
