"""What a notebook shows of the objects that the functions return."""

from __future__ import annotations

import datetime
import importlib
from typing import Any, get_type_hints

import polars as pl
import pytest

from features.display import MAX_LENGTH
from serving.decision.bundle import Bundle
from serving.decision.pipeline import advise_many, decide_many
from tests.support.each import each
from training import api
from training.data.dataset import Source
from training.data.labels import Labelled
from training.fit.fit import Fitted

# Where the classes of the results are.
_RESULTS = (
    "compare.models.compare",
    "compare.peers.compare",
    "compare.policies.lab",
    "data.ingest.ingest",
    "examine.run",
    "fit.run",
    "release.monitor.monitor",
    "release.promote",
    "release.report.report",
    "tune.tune",
)
NOW = datetime.datetime(2026, 10, 15, tzinfo=datetime.UTC)


def test_every_result_is_short(
    bundle: Bundle, data: Labelled, source: Source, fitted: Fitted, windows: pl.DataFrame
) -> None:
    some = windows.filter(pl.col("account_id").is_in(windows["account_id"].unique().sort()[:60]))
    results: list[Any] = [bundle, data, source, fitted, data.features]
    results += decide_many(some, bundle, NOW)
    results += advise_many(some, bundle, NOW)
    for result in each(results):
        assert len(repr(result)) <= MAX_LENGTH + 100, type(result)
        assert result._repr_html_().startswith("<table>")


@pytest.mark.parametrize("command", api.COMMANDS.values(), ids=list(api.COMMANDS))
def test_every_command_s_result_is_shown_as_a_table(command: Any) -> None:
    result = returned(command)
    assert result in (dict, str) or hasattr(result, "_repr_html_"), result


def returned(command: Any) -> Any:
    """The class that a command returns; its annotation is a name that only mypy imports."""
    names: dict[str, Any] = {}
    for module in _RESULTS:
        names |= vars(importlib.import_module(f"training.{module}"))
    names |= vars(api)
    hint = get_type_hints(command, names)["return"]
    return getattr(hint, "__origin__", hint)


def test_completion_knows_the_commands_and_nothing_else() -> None:
    names = dir(api)
    assert set(api.COMMANDS) <= set(names)
    assert all(callable(getattr(api, name)) for name in names)
    assert not {"Path", "annotations", "COMMANDS", "datetime"} & set(names)
