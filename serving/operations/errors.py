"""The errors that a user of the commands can correct; any other error keeps its traceback."""

from __future__ import annotations

from bentoml.exceptions import BentoMLException

from features.schema import StatementError
from serving.auth.keys import KeyRefused
from serving.decision.bundle import BundleError
from serving.decision.result import ProductError
from serving.operations.client import ServiceError
from serving.operations.pack import PackError
from serving.storage.errors import StorageError
from serving.storage.models import NoStoredModel


class RequestFileError(ValueError):
    """A request in a file is invalid: the message names the file and the wrong fields."""


USER_ERRORS = (
    BentoMLException,
    BundleError,
    KeyRefused,
    NoStoredModel,
    OSError,
    PackError,
    ProductError,
    RequestFileError,
    ServiceError,
    StatementError,
    StorageError,
)


def error_text(error: Exception) -> str:
    """The error on one line."""
    return " ".join(str(error).split())
