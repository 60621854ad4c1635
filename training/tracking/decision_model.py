"""The registered model as MLflow loads it: statements or features in, decisions out.

MLflow copies this file into the model ("models from code", no pickle) and runs it alone, where this
project need not be installed.  So it imports nothing of the project at the top:
:meth:`DecisionModel.load_context` takes ``features`` and ``serving.decision`` from the archive that
the model carries, and decides with the bundle beside it.
"""

from __future__ import annotations

import datetime
import importlib
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlflow.models
import mlflow.pyfunc
import numpy as np
import pandas as pd
import polars as pl

PACKAGES = ("features", "serving")  # those of the archive
# How much an answer holds; a later one adds to the one before.  docs/modelling/model.md has them.
DETAILS = ("score", "decision", "full")
_TEXT = pl.Struct({"en": pl.String, "zh": pl.String})
_REASON_FEATURE = pl.Struct(
    {
        "name": pl.String,
        "value": pl.Float64,
        "reference_value": pl.Float64,
        "unit": pl.String,
        "contribution": pl.Float64,
    }
)
_REASON = pl.Struct(
    {
        "rank": pl.Int64,
        "code": pl.String,
        "cause": pl.String,
        "share": pl.Float64,
        "contribution": pl.Float64,
        "leader": pl.Boolean,
        "text": _TEXT,
        "features": pl.List(_REASON_FEATURE),
    }
)
_COMPARISON = pl.Struct(
    {
        "en": pl.String,
        "zh": pl.String,
        "size": pl.Int64,
        "chosen": pl.String,
        "policy": pl.String,
        "bundle": pl.String,
    }
)
# The columns of an answer to statements, and their types: a column of nulls alone has none.
_SCORE: dict[str, Any] = {
    "account_id": pl.String,
    "as_of": pl.String,
    "probability": pl.Float64,
    "log_odds": pl.Float64,
    "cut_off": pl.Float64,
    "above_cut_off": pl.Boolean,
}
_DECISION: dict[str, Any] = {
    "product": pl.String,
    "decided_at": pl.String,
    "action": pl.String,
    "credit_limit": pl.Float64,
    "new_limit": pl.Float64,
    "proposed_limit": pl.Float64,
    "effective_on": pl.String,
    "review_on": pl.String,
    "review_because": pl.List(pl.String),
    "reasons": pl.List(_REASON),
    "leaders": pl.Int64,
    "comparison": _COMPARISON,
}
_NULLABLE = {"proposed_limit", "effective_on", "review_on", "comparison"}
_importing = threading.Lock()


class DecisionModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined, unused-ignore]
    """The decisions of a bundle, to the bit those of the endpoint that serves it."""

    def load_context(self, context: Any) -> None:
        """Load the code and the bundle that the model carries.

        Raises ValueError (BundleError) if the bundle is damaged, or if this machine answers its
        golden rows differently.
        """
        with own_modules(Path(context.artifacts["code"])):
            self._schema = importlib.import_module("features.schema")
            self._pipeline = importlib.import_module("serving.decision.pipeline")
            self._scoring = importlib.import_module("serving.decision.scoring.score")
            golden = importlib.import_module("serving.decision.golden")
            self.bundle = golden.load_without_advice(Path(context.artifacts["bundle"]))

    def predict(
        self,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return the decisions on a table of statements, or the scores of a table of features.

        ``model_input`` is a table of pandas or Polars, or a list of records, with either the
        columns of :mod:`features.schema`, several rows an account, or ``product`` and the features
        of the model, one row an account.  The answer is a table of pandas (of Polars for Polars):
        one row an account by ``account_id``, or the rows of the features in their order.

        ``params`` may hold ``detail``: ``score``, ``decision`` or ``full`` (with contributions),
        "" = all but the contributions; and ``decided_at``: ISO 8601 with a time zone, "" = now.

        Raises ValueError for statements, features or parameters that cannot be answered.
        """
        detail, decided_at = _read_params(params or {})
        table = _as_polars(model_input)
        if table.is_empty():
            raise ValueError("expected the statements or features of accounts, got no row")
        if "month" in table.columns:
            columns, types = self._decide(table, detail or "decision", decided_at)
        else:
            columns, types = self._score(table, detail or "score")
        if isinstance(model_input, pl.DataFrame):
            return pl.DataFrame(columns, schema=types)
        for name in _NULLABLE & columns.keys():
            # As objects: pandas' NaN would become NaN in the JSON of `mlflow models serve`.
            columns[name] = pd.Series(columns[name], dtype=object)
        is_features = isinstance(model_input, pd.DataFrame) and "month" not in table.columns
        # Its rows are those of the features, so a column of it may be assigned to their table.
        return pd.DataFrame(columns, index=model_input.index if is_features else None)

    def _decide(
        self,
        statements: pl.DataFrame,
        detail: str,
        decided_at: datetime.datetime,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the columns of the answer and their types."""
        prepared = _prepare_statements(statements, self._schema.COLUMNS)
        # As the endpoint does with the amounts of a request.
        prepared = self._schema.round_amounts(self._schema.conform(prepared))
        stages = self._pipeline.stages(prepared, self.bundle, decided_at)
        rows = [_encode(decision) for decision in stages.decisions]
        types = _SCORE if detail == "score" else _SCORE | _DECISION
        columns = {name: [row[name] for row in rows] for name in types}
        if detail == "full":
            explained, explained_types = self._explain(stages.scores)
            columns |= explained
            types = types | explained_types
        return columns, types

    def _score(self, table: pl.DataFrame, detail: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the columns of the answer and their types."""
        if detail == "decision":
            raise ValueError(
                "params: expected a detail of 'score' or 'full' for features, got 'decision'; "
                "action, limit and reasons follow from statements"
            )
        names = self.bundle.features
        if missing := [name for name in ("product", *names) if name not in table.columns]:
            raise ValueError(
                "expected statements, with a column 'month', or the features of the model, "
                f"got a table with the columns {table.columns}, without {missing}"
            )
        matrix = _matrix(table.select(names))
        products = table["product"].cast(pl.String).to_list()
        scores = self._scoring.score(matrix, products, self.bundle.scorer)
        cut_offs = {product: self.bundle.policy.cut_off(product) for product in set(products)}
        cut_off = np.array([cut_offs[product] for product in products])
        columns = {
            "probability": scores.probability,
            "log_odds": scores.log_odds,
            "cut_off": cut_off,
            "above_cut_off": scores.probability > cut_off,
        }
        types = {name: _SCORE[name] for name in columns}
        if detail == "full":
            explained, explained_types = self._explain(scores)
            columns |= explained
            types |= explained_types
        return columns, types

    def _explain(self, scores: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the columns of the contributions and their types."""
        names = self.bundle.features
        rows = scores.contributions.tolist()
        contributions = [dict(zip(names, row, strict=True)) for row in rows]
        columns = {"base_log_odds": scores.base_log_odds, "contributions": contributions}
        by_feature = pl.Struct(dict.fromkeys(names, pl.Float64))
        return columns, {"base_log_odds": pl.Float64, "contributions": by_feature}


@contextmanager
def own_modules(archive: Path) -> Iterator[None]:
    """Import the packages of an archive inside the block, whatever the process has loaded.

    Afterwards ``sys.modules`` and ``sys.path`` are as before: the project's own code, and models
    with other code, keep their modules.  MLflow's ``code_paths`` would instead leave the folder of
    the first model in ``sys.path``, and its modules to every later model of the process.
    """
    with _importing:
        outside = _remove_modules()
        sys.path.insert(0, str(archive))
        try:
            yield
        finally:
            sys.path.remove(str(archive))
            _remove_modules()
            sys.modules.update(outside)


def _remove_modules() -> dict[str, Any]:
    names = [name for name in sys.modules if name.partition(".")[0] in PACKAGES]
    return {name: sys.modules.pop(name) for name in names}


def _read_params(params: dict[str, Any]) -> tuple[str, datetime.datetime]:
    """Return the detail ("" = the default of the input) and the time of the decision."""
    if unknown := sorted(set(params) - {"detail", "decided_at"}):
        raise ValueError(f"params: expected 'detail' and 'decided_at', got {unknown}")
    detail, decided_at = params.get("detail", ""), params.get("decided_at", "")
    if detail not in ("", *DETAILS):
        raise ValueError(f"params: expected a detail of {DETAILS}, got {detail!r}")
    if not decided_at:
        return detail, datetime.datetime.now(datetime.UTC)
    try:
        time = datetime.datetime.fromisoformat(decided_at)
    except (TypeError, ValueError):
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError(
            "params: expected decided_at as ISO 8601 with a time zone, such as "
            f"2026-11-27T09:00:00Z, got {decided_at!r}"
        )
    return detail, time


def _as_polars(model_input: Any) -> pl.DataFrame:
    if isinstance(model_input, pl.DataFrame):
        return model_input
    if isinstance(model_input, list | dict):
        # Of a JSON request to `mlflow models serve`: records, or lists by column.
        model_input = pd.DataFrame(model_input)
    if not isinstance(model_input, pd.DataFrame):
        kind = type(model_input).__name__
        raise ValueError(f"expected a table of pandas or Polars, or records, got {kind}")
    # NaN is pandas' null.
    return pl.from_pandas(model_input, nan_to_null=True)


def _prepare_statements(statements: pl.DataFrame, columns: Sequence[Any]) -> pl.DataFrame:
    """Return the table with months as dates, and with whole numbers where they came as floats.

    pandas has neither dates nor, with nulls among them, whole numbers.  A column that may be null
    may be left out.  Everything else is checked by the schema.
    """
    prepared = {name: statements[name] for name in statements.columns}
    prepared["month"] = _as_months(prepared["month"])
    for column in columns:
        if column.name not in prepared and column.null != "never":
            prepared[column.name] = pl.repeat(
                None,
                statements.height,
                dtype=pl.Null,
                eager=True,
            )
        values = prepared.get(column.name)
        if values is None or column.kind != "whole_number" or not values.dtype.is_float():
            continue
        if values.is_nan().any() or (values != values.round()).any():
            continue  # the schema refuses its type
        prepared[column.name] = values.cast(pl.Int64)
    return pl.DataFrame(prepared)


def _as_months(months: pl.Series) -> pl.Series:
    if months.dtype != pl.String:
        is_time = isinstance(months.dtype, pl.Datetime)
        return months.cast(pl.Date) if is_time else months
    dates = (months.str.slice(0, 7) + "-01").str.to_date("%Y-%m-%d", strict=False)
    is_month = months.str.contains(r"^\d{4}-\d{2}(-01([T ]00:00.*)?)?$") & dates.is_not_null()
    if not is_month.fill_null(True).all():
        wrong = months.filter(~is_month.fill_null(True))
        raise ValueError(
            f"month: expected YYYY-MM or the first day of a month, got {wrong[0]!r} "
            f"and {len(wrong) - 1} more"
        )
    return dates


def _matrix(features: pl.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the features, float64 (rows, features), NaN = unknown."""
    for column in features:
        is_number = column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)
        if not is_number or column.cast(pl.Float64).is_infinite().any():
            raise ValueError(f"{column.name}: expected finite numbers or null, got {column.dtype}")
    return features.cast(pl.Float64).fill_null(np.nan).to_numpy(order="c")


def _encode(decision: Any) -> dict[str, Any]:
    """Return a decision with the names and texts that the endpoint's answer has."""
    decided_at = decision.decided_at.astimezone(datetime.UTC)
    encoded = asdict(decision)
    encoded["as_of"] = f"{decision.as_of:%Y-%m}"
    encoded["decided_at"] = f"{decided_at:%Y-%m-%dT%H:%M:%S.%fZ}"
    for name in ("effective_on", "review_on"):
        day = encoded[name]
        encoded[name] = None if day is None else day.isoformat()
    encoded["above_cut_off"] = decision.probability > decision.cut_off
    encoded["review_because"] = list(decision.review_because)
    for reason in encoded["reasons"]:
        reason["features"] = list(reason["features"])
    encoded["reasons"] = list(encoded["reasons"])
    return encoded


mlflow.models.set_model(DecisionModel())
