"""Migrations: an older schema gains what it lacks, a new one has it from the start."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from serving.audit_log.log import AuditLog
from serving.auth.keys import KeyTerms, create, list_keys
from serving.storage.database import Database
from serving.storage.errors import StorageError
from serving.storage.tables import MIGRATIONS


@pytest.fixture(params=["record", "postgres"])
def audit_log(request: pytest.FixtureRequest) -> AuditLog:
    """A new audit log in each kind of database."""
    opened: AuditLog = request.getfixturevalue(request.param)
    return opened


@pytest.fixture
def database(audit_log: AuditLog) -> Database:
    return audit_log.database


def columns_of(database: Database, table: str) -> list[str]:
    columns: list[dict[str, Any]] = sa.inspect(database.engine).get_columns(table)  # type: ignore[assignment]
    return [column["name"] for column in columns]


def test_a_table_of_keys_without_owners_gains_them(audit_log: AuditLog) -> None:
    database, secrets = audit_log.database, audit_log.secrets
    _, old = create(database, secrets, "lender", ["score"])
    with database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE api_keys DROP COLUMN owner")
    assert "owner" not in columns_of(database, "api_keys")
    for _ in range(2):  # the second time it is there already
        with database.writing() as connection:
            MIGRATIONS[1](connection)
        assert "owner" in columns_of(database, "api_keys")
    _, new = create(database, secrets, "lender", ["review"], KeyTerms(owner="Li Na"))
    assert list_keys(database, secrets) == [old, new]


def test_a_schema_of_a_newer_version_is_refused(database: Database) -> None:
    with database.writing() as connection:
        connection.exec_driver_sql(f"UPDATE schema_version SET version = {len(MIGRATIONS) + 1}")
    shown = database.url.render_as_string(hide_password=False)
    with pytest.raises(StorageError, match="a newer Clearline wrote it"):
        Database(shown)
