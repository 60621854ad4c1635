"""The errors that a user of the commands can correct; any other error keeps its traceback."""

from __future__ import annotations

from bentoml.exceptions import BentoMLException

from features.console import OptionError
from features.schema import StatementError
from serving.auth.keys import KeyRefused
from serving.decision.bundle import BundleError
from serving.decision.config.strict_toml import ConfigError
from serving.decision.result import ProductError
from serving.operations.client import ServiceError
from serving.operations.pack import PackError
from serving.portfolio.errors import PortfolioError
from serving.portfolio.spread.connect import ClusterError
from serving.storage.bundles.store import NoStoredModel
from serving.storage.errors import StorageError
from serving.web.telemetry.settings import TelemetryError


class NothingDone(ValueError):
    """What was asked for is not there or not plausible, so the command did nothing."""


class NotActivated(ValueError):
    """A bundle that was refused; the one that decided goes on."""


class RequestFileError(ValueError):
    """A request in a file is invalid: the message names the file and the wrong fields."""


USER_ERRORS = (
    BentoMLException,
    BundleError,
    ClusterError,
    ConfigError,
    KeyRefused,
    NoStoredModel,
    NotActivated,
    NothingDone,
    OSError,
    OptionError,
    PackError,
    PortfolioError,
    ProductError,
    RequestFileError,
    ServiceError,
    StatementError,
    StorageError,
    TelemetryError,
)


def exit_code(error: Exception) -> int:
    """1 if the command did nothing because of what is there, 2 for every other error."""
    return 1 if isinstance(error, NothingDone) else 2


def error_text(error: Exception) -> str:
    """The error on one line."""
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    return " ".join(text.split())
