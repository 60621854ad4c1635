"""A recorded decision: decided on again, or as the earlier decision of the next one."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

from pydantic import ValidationError

from features.schema import COLUMNS, StatementError
from features.statements import Row, Statements, read_rows
from serving.audit_log.entry import Entry
from serving.audit_log.memory import NOTHING, Memory, product_of
from serving.audit_log.rows import StoredRow
from serving.decision.bundle import Bundle
from serving.decision.policy.prior import PriorError
from serving.decision.policy.since_last import Earlier
from serving.decision.result import ProductError
from serving.reviews.errors import conflict
from serving.reviews.workflow import decision_in
from serving.schemas.decision import Request, read_requests
from serving.schemas.statement import AS_STORED
from serving.storage.bundles.held import HeldBundles
from serving.storage.timestamps import decode_time
from serving.web.models import read_json

EARLIER = "earlier"  # in the metadata of a decision: the id of the earlier one, if there was one
_NUMBERS = [column.name for column in COLUMNS if column.kind in ("amount", "whole_number")]
_COLUMNS = {"month", *_NUMBERS}  # of a statement as it is stored
_numbers_of = itemgetter(*_NUMBERS)
# What tells that the same model scored the same statements: base and contributions add up to it.
_SCORES = ("decision_id", "log_odds", "base_log_odds")


class AnswerAgain(Protocol):
    """Decides on a request with a bundle, at a time and with a key of the ids."""

    def __call__(
        self,
        request: Request,
        bundle: Bundle,
        decided_at: datetime.datetime,
        id_key: bytes,
        with_detail: bool = False,
        earlier: Earlier | None = None,
    ) -> bytes:
        """Return the bytes of the answer, with the full vector if wanted."""
        ...


class OtherProductError(ValueError):
    """Accounts come with another product than that of their earlier decisions.

    ``recorded`` is the product of the earlier decisions, by account.
    """

    def __init__(self, products: Mapping[str, str], recorded: Mapping[str, str]) -> None:
        first, *others = recorded
        super().__init__(
            f"product of account {first}: expected {recorded[first]}, that of its earlier "
            f"decisions, got {products[first]}; and {len(others)} more"
        )
        self.recorded = recorded


def past_bundle(decision: Entry, bundles: HeldBundles) -> Bundle:
    """Return the bundle that made a decision; it takes a second if it is not in memory.

    Raises ApiError (409) if it is not stored any more, or cannot be read any more.
    """
    bundle = bundles.find(decision.metadata["model"]["bundle"])
    if bundle is None:
        raise conflict("the bundle that decided is not stored here any more, or is too old to read")
    return bundle


def earlier_id(decision: Entry) -> str | None:
    """Return the id of the earlier decision that one was made with; None if there is none."""
    stored: str | None = decision.metadata.get(EARLIER)
    return stored


def earlier_of(decision: Entry | None) -> Earlier | None:
    """Return a recorded decision as the earlier decision of another; None for none.

    It is None also if the row was erased, or if its statements are refused today: what cannot be
    compared does not refuse the new decision.
    """
    if decision is None or decision.request_body is None or decision.response_body is None:
        return None
    answer = decision_in(decision)
    try:
        statements = _statements_of(decision)
    except (StatementError, ValidationError):
        return None
    return Earlier(
        decision_id=decision.entry_id,
        decided_at=decode_time(answer["decided_at"]),
        action=answer["action"],
        log_odds=float(answer["log_odds"]),
        cut_off=float(answer["cut_off"]),
        statements=statements,
    )


def earlier_by_account(
    products: Mapping[str, str],
    latest: Mapping[str, StoredRow],
) -> dict[str, Earlier]:
    """Return the earlier decisions on accounts, of which `products` has the product of each.

    One on another product cannot be compared, and is left out.
    """
    found: dict[str, Earlier] = {}
    for account, row in latest.items():
        decision = row.entry
        if product_of(decision.metadata) not in (None, products[account]):
            continue
        earlier = earlier_of(decision)
        if earlier is not None:
            found[account] = earlier
    return found


def earlier_of_requests(
    requests: Sequence[Request],
    memories: Mapping[str, Memory],
    latest: Mapping[str, StoredRow],
) -> dict[str, Earlier]:
    """Return :func:`earlier_by_account` of requests.

    Raises :class:`OtherProductError` for accounts that would get the prior of another product. A
    request that states its prior gets none.
    """
    if not (memories or latest):
        return {}  # most requests of a new lender: nothing is known of the accounts
    recalling = {one.account_id: one.product for one in requests if not one.states_prior}
    recorded = other_products(recalling, memories, latest)
    if recorded:
        raise OtherProductError(recalling, recorded)
    products = {one.account_id: one.product for one in requests}
    return earlier_by_account(products, latest)


def other_products(
    products: Mapping[str, str],
    memories: Mapping[str, Memory],
    latest: Mapping[str, StoredRow],
) -> dict[str, str]:
    """Return the recorded products of accounts that come with another one, by account.

    `products` are those that they come with. A row that does not say its product contradicts none.
    """
    recorded: dict[str, str] = {}
    for account, product in products.items():
        found = _recorded_product(memories.get(account, NOTHING), latest.get(account))
        if found is not None and found != product:
            recorded[account] = found
    return recorded


def full_vector_of(
    decision: Entry,
    bundles: HeldBundles,
    answer_again: AnswerAgain,
    id_keys: Sequence[bytes],
    earlier: Earlier | None = None,
) -> dict[str, Any]:
    """Return the full vector of a decision as JSON.

    It is the recorded one, if the decision was answered with it. Otherwise the bundle that decided
    scores the recorded statements again. `id_keys` are those that the decision's id may have, and
    `earlier` is what it was made with.

    Raises ApiError (409) if the bundle is not there, or scores the statements differently today.
    """
    recorded = decision_in(decision)
    if "detail" in recorded:
        stored: dict[str, Any] = recorded["detail"]
        return stored
    bundle = past_bundle(decision, bundles)
    decided_at = datetime.datetime.fromisoformat(recorded["decided_at"])
    try:
        request = _request_of(decision)
        for id_key in id_keys:
            again = json.loads(
                answer_again(
                    request,
                    bundle,
                    decided_at,
                    id_key,
                    True,
                    earlier,
                )
            )
            if again["decision_id"] == recorded["decision_id"]:
                break
    except (StatementError, ProductError, PriorError, ValidationError):
        raise conflict(
            "the recorded statements are refused today, so they have no vector"
        ) from None
    if any(again[name] != recorded[name] for name in _SCORES):
        # Other versions of the libraries; the vector would be that of another decision.
        raise conflict("the recorded statements have another score today, so another vector")
    computed: dict[str, Any] = again["detail"]
    return computed


def _recorded_product(memory: Memory, latest: StoredRow | None) -> str | None:
    """Return the product of what is in force, or else of the latest decision; None = unknown."""
    if memory.prior is not None and memory.product is not None:
        return memory.product
    return None if latest is None else product_of(latest.entry.metadata)


def _statements_of(decision: Entry) -> Statements:
    """Return the checked statements that a decision was made with.

    Their types were validated before they were stored. To validate them again would take most of
    the time, so rows with the columns of today go straight to the rules of the schema.
    """
    rows = _rows_of(decision)
    if rows is None:
        return read_requests([_request_of(decision)])
    return read_rows(rows)


def _rows_of(decision: Entry) -> list[Row] | None:
    """Return the statements as rows; None if they have other columns than those of today."""
    stored = read_json(decision.request_body or b"{}")
    account_id, product = stored["account_id"], stored["product"]
    rows: list[Row] = []
    for statement in stored["statements"]:
        if statement.keys() != _COLUMNS:
            return None
        month = datetime.date.fromisoformat(f"{statement['month']}-01")
        rows.append((account_id, month, product, *_numbers_of(statement)))
    return rows


def _request_of(decision: Entry) -> Request:
    stored = json.loads(decision.request_body or b"{}")
    # A request for advice has the customer's choices too, which decide nothing.
    fields = {name: stored[name] for name in Request.model_fields if name in stored}
    return Request.model_validate_json(json.dumps(fields), context=AS_STORED)
