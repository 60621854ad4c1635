"""A query that never ends by itself."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from serving.storage.database import Database

ENDLESS = sa.text(
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c"
)


def count_without_end(database: Database) -> list[Any]:
    """Run it as a read."""
    with database.reading() as connection:
        return list(connection.execute(ENDLESS))
