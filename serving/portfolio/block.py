"""Many accounts decided at once: most from arrays alone, the rest one by one.

statements of a block -> features -> log-odds -> plain_keeps()
  plain     a row of the table, from the arrays alone
  the rest  decide_many(), and the bytes of the answer of the endpoint
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from features.build import FEATURE_NAMES, matrix_of, values_of
from features.schema import PRODUCTS
from features.statements import Statements
from features.types import Mask, Matrix, Vector
from serving.decision.bundle import Bundle
from serving.decision.ids import UNKEYED
from serving.decision.pipeline import decide_many
from serving.decision.policy.compiled.plain_keep import Scored, plain_keeps
from serving.decision.policy.dates import local_date
from serving.decision.policy.prior import Prior
from serving.decision.policy.since_last import Earlier
from serving.decision.result import Decision
from serving.decision.scoring.score import (
    AdditivityError,
    log_odds_by_tables,
    probability_of,
    score,
)
from serving.schemas.answer_bytes import write_answer

# One row an account.  Amounts in CNY.  ``decision_id`` and ``answer``, the bytes that the endpoint
# answers, are null for an account that plainly keeps its limit.
SCHEMA: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "account_id": pl.String,
    "product": pl.Enum(PRODUCTS),
    "as_of": pl.Date,
    "action": pl.Enum(["keep", "reduce", "suspend", "restore", "review"]),
    "credit_limit": pl.Float64,
    "new_limit": pl.Float64,
    "proposed_limit": pl.Float64,
    "effective_on": pl.Date,
    "review_on": pl.Date,
    "suspended": pl.Boolean,
    "probability": pl.Float64,
    "log_odds": pl.Float64,
    "cut_off": pl.Float64,
    "first_reason": pl.String,
    "arm": pl.Enum(["treated", "control"]),
    "decision_id": pl.String,
    "answer": pl.Binary,
}
CONTRIBUTIONS = "contributions"  # a further column, where it is asked for
DECIDED_AT_ONCE = 1_000  # accounts; each takes some 50 kB while it is decided
_OF_DECISION = tuple(name for name in SCHEMA if name not in ("first_reason", "answer"))


@dataclass(frozen=True, slots=True)
class Basis:
    """What all accounts of a portfolio are decided with.

    Attributes:
        bundle: The model, its reference population, the policy and the texts.
        decided_at: The time of the decisions, with a time zone.
        id_key: Keys the decisions' ids and draws the control arm.
        with_all_answers: Whether accounts that plainly keep their limit get an id and an answer.
        with_contributions: Whether the table has the contributions of each feature of the model.
    """

    bundle: Bundle
    decided_at: datetime.datetime
    id_key: bytes = UNKEYED
    with_all_answers: bool = False
    with_contributions: bool = False


@dataclass(frozen=True, slots=True)
class Past:
    """What earlier decisions left, by account; an account that is not recorded is in none.

    Attributes:
        priors: What is in force.
        earlier: The latest earlier decisions.
        newest_events: The ``seq`` of the newest event in the audit log.
        ended: The accounts whose cut the lender has taken back since, as a statement shows.
    """

    priors: Mapping[str, Prior] = field(default_factory=dict)
    earlier: Mapping[str, Earlier] = field(default_factory=dict)
    newest_events: Mapping[str, int] = field(default_factory=dict)
    ended: Collection[str] = ()


NO_PAST = Past()


class Block(NamedTuple):
    """``table`` has one row of :data:`SCHEMA` an account, in order of account.

    ``decisions`` are those of the accounts that do not plainly keep their limit.
    """

    table: pl.DataFrame
    decisions: list[Decision]


def decide_block(statements: Statements, basis: Basis, past: Past = NO_PAST) -> Block:
    """Decide on each account as the endpoint decides on it alone, to the last bit.

    Raises:
        StatementError: A month is in the future.
        ProductError: The bundle has no reference population for an account's product.
        PriorError: A prior contradicts itself, the account's statements or the day.
        AdditivityError: The tables of the model give other log-odds than LightGBM.
    """
    values = values_of(statements.window)
    matrix = matrix_of(values, basis.bundle.features)
    # A tenth of the time of LightGBM, which predicts for those that are decided one by one.
    log_odds = log_odds_by_tables(matrix, basis.bundle.scorer)
    accounts = Scored(values, statements.window.products, log_odds)
    is_plain = np.zeros(len(log_odds), dtype=np.bool_)
    if not basis.with_all_answers:
        is_plain = plain_keeps(accounts, basis.bundle)
        is_plain &= _has_no_past(statements, basis, past)

    plain, others = np.flatnonzero(is_plain), np.flatnonzero(~is_plain)
    decisions: list[Decision] = []
    for first in range(0, len(others), DECIDED_AT_ONCE):
        some = statements.take(others[first : first + DECIDED_AT_ONCE])
        decisions += _decide(some, basis, past)
    _check_log_odds(decisions, log_odds[others])
    decided = [_row(decision, basis.bundle) for decision in decisions]
    kept = _keeps(statements, accounts, basis.bundle)[plain]
    table = pl.concat([kept, pl.DataFrame(decided, schema=SCHEMA)]).sort("account_id")
    if basis.with_contributions:
        table = table.with_columns(_contributions(matrix, statements, basis.bundle))
    return Block(table, decisions)


def _check_log_odds(decisions: Sequence[Decision], by_tables: Vector) -> None:
    """Raise :class:`AdditivityError` if a decision, by LightGBM, has other log-odds than these."""
    for decision, expected in zip(decisions, by_tables.tolist(), strict=True):
        if decision.log_odds != expected:
            raise AdditivityError(
                f"account {decision.account_id}: expected the log-odds of LightGBM, "
                f"{decision.log_odds!r}, from the tables of the model, got {expected!r}"
            )


def _has_no_past(statements: Statements, basis: Basis, past: Past) -> Mask:
    """Whether nothing is known of an account, and no statement of it is of a month to come."""
    today = local_date(basis.decided_at, basis.bundle.policy)
    known = past.priors.keys() | past.earlier.keys() | past.newest_events.keys()
    named = zip(statements.account_ids, statements.as_of, strict=True)
    return np.array([name not in known and as_of <= today for name, as_of in named])


def _keeps(statements: Statements, accounts: Scored, bundle: Bundle) -> pl.DataFrame:
    """The rows of the accounts as if all of them kept their limits."""
    limit = accounts.values[:, FEATURE_NAMES.index("limit_now")]
    known: dict[str, Any] = {
        "account_id": statements.account_ids,
        "product": statements.products,
        "as_of": statements.as_of,
        "credit_limit": limit,
        "new_limit": limit,
        "probability": probability_of(accounts.log_odds),
        "log_odds": accounts.log_odds,
        "cut_off": _cut_offs(statements.products, bundle),
    }
    columns = [
        pl.Series(name, known[name], dtype)
        if name in known
        else pl.repeat(None, len(limit), dtype=dtype, eager=True).alias(name)
        for name, dtype in SCHEMA.items()
    ]
    always = {"action": "keep", "suspended": False}
    constants = [pl.lit(value, SCHEMA[name]).alias(name) for name, value in always.items()]
    return pl.DataFrame(columns).with_columns(constants)


def _cut_offs(products: Sequence[str], bundle: Bundle) -> list[float | None]:
    of_product = {product: bundle.policy.cut_off(product) for product in bundle.comparisons}
    return [of_product.get(product) for product in products]


def _decide(statements: Statements, basis: Basis, past: Past) -> list[Decision]:
    names = set(statements.account_ids)
    return decide_many(
        statements,
        basis.bundle,
        basis.decided_at,
        {name: prior for name, prior in past.priors.items() if name in names},
        basis.id_key,
        {name: one for name, one in past.earlier.items() if name in names},
    )


def _row(decision: Decision, bundle: Bundle) -> dict[str, object]:
    row = {name: getattr(decision, name) for name in _OF_DECISION}
    row["first_reason"] = decision.reasons[0].code if decision.reasons else None
    row["answer"] = write_answer(decision, bundle)
    return row


def _contributions(matrix: Matrix, statements: Statements, bundle: Bundle) -> pl.Series:
    """The contributions of the model's features, in the bundle's order, as one list an account."""
    found: Vector = score(matrix, statements.products, bundle.scorer).contributions
    return pl.Series(CONTRIBUTIONS, found.tolist(), pl.List(pl.Float64))
