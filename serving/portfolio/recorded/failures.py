"""What a database that fails tells the user of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from serving.storage.database import Database
from serving.storage.errors import StorageError


@contextmanager
def name_failures(database: Database) -> Iterator[None]:
    """Raise :class:`StorageError` with the address and the cause where the database fails.

    The text of SQLAlchemy's own errors has the statement with its values, which identify customers.
    """
    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or type(error).__name__
        shown = database.url.render_as_string(hide_password=True)
        raise StorageError(
            f"the audit log at {shown}: {cause}; what is stored stays, "
            "and the same command goes on where it stopped"
        ) from error
