"""The BentoML service: parse, decide, keep, answer.  No arithmetic and no thresholds.

bentoml serve serving.service:LimitReduction
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import cast

import bentoml
from starlette.responses import Response

from features.schema import StatementError
from serving.api.bento import DescribedService, answers_errors
from serving.api.decisions import Decisions
from serving.api.reviews import review_app
from serving.audit_log.log import AuditLog, check_single_writer
from serving.decision.advice.constraints import ConstraintError
from serving.decision.golden import load
from serving.decision.result import ProductError
from serving.reviews.service import Reviews
from serving.schemas.advice_request import AdviceAnswer, AdviceRequest
from serving.schemas.answers import Endpoint
from serving.schemas.base import ApiRequest
from serving.schemas.decision import Answer, BatchAnswer, BatchRequest, Request
from serving.storage.models import BUNDLE_FOLDER, MODEL
from serving.storage.settings import read_settings
from serving.web.errors import ApiError, Fault, api_error, json_path, statement_error
from serving.web.logs import ValueFilter

REVIEWS = review_app()
_SECONDS_A_TURN = 0.0005


@bentoml.asgi_app(REVIEWS, path="/")
@bentoml.service(
    service_class=DescribedService,
    traffic={"timeout": 5},
    # Measured: spans and access log cost twice what a decision's parsing does; /metrics counts
    # requests.
    tracing={"excluded_urls": ".*"},
    logging={"access": {"enabled": False}},
)
class LimitReduction:
    """Decides whose credit limit is reduced and by how much, with the reasons, and keeps what it
    answered.
    """

    stored = bentoml.models.BentoModel(f"{MODEL}:latest")

    def __init__(self) -> None:
        # The record's writer gives the interpreter away at each step of SQLite, and at most so long
        # it waits to have it back.
        sys.setswitchinterval(_SECONDS_A_TURN)
        # Digests and golden rows are verified before the service is ready.
        self.bundle = load(Path(self.stored.path) / BUNDLE_FOLDER)
        self.record = AuditLog(read_settings())
        self.desk = Decisions(self.bundle, self.record)
        REVIEWS.state.counter = Reviews(self.bundle, self.record)
        logging.getLogger("bentoml._internal.server.http_app").addFilter(ValueFilter())

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check() -> None:
        """Refuse to start what could not run: workers that fail are started again and again."""
        check_single_writer(read_settings(), cast(DescribedService, LimitReduction).worker_count)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Keep what waits, and sign a checkpoint of it."""
        self.record.close()

    async def __is_ready__(self) -> bool:
        """Whether decisions can be answered: the bundle was read, and the record takes writes."""
        return self.record.ready

    @bentoml.api(route="/v1/decisions", output_spec=Answer)  # type: ignore[untyped-decorator]
    @answers_errors
    async def decide(self, request: Request, /) -> Response:
        """The decision on one account."""
        return await self._answer("decisions", request, {"$": request})

    @bentoml.api(route="/v1/decisions/batch", output_spec=BatchAnswer)  # type: ignore[untyped-decorator]
    @answers_errors
    async def decide_batch(self, request: BatchRequest, /) -> Response:
        """The decisions on up to 100 accounts, made at one time."""
        roots = {f"$.accounts[{place}]": account for place, account in enumerate(request.accounts)}
        return await self._answer("batch", request, roots)

    @bentoml.api(route="/v1/advice", output_spec=AdviceAnswer)  # type: ignore[untyped-decorator]
    @answers_errors
    async def advise(self, request: AdviceRequest, /) -> Response:
        """The decision on one account and, where the model cut its limit, the way back."""
        return await self._answer("advice", request, {"$": request})

    async def _answer(
        self, door: Endpoint, submitted: ApiRequest, requests: Mapping[str, Request]
    ) -> Response:
        """The bytes that were kept; ``requests`` by their paths."""
        with self._refusing(requests):
            return await self.desk.answer(door, submitted, list(requests.values()))

    @contextmanager
    def _refusing(self, requests: Mapping[str, Request]) -> Iterator[None]:
        """What the decision refuses, as a problem with the path of each fault."""
        named = {request.account_id: path for path, request in requests.items()}
        try:
            yield
        except StatementError as error:
            months = {
                request.account_id: [s.month for s in request.statements]
                for request in requests.values()
            }
            raise statement_error(error, months, named) from None
        except ConstraintError as error:
            fault = Fault(path=json_path(("choices", error.field)), message=error.expected)
            raise api_error(HTTPStatus.UNPROCESSABLE_ENTITY, [fault]) from None
        except ProductError:
            raise self._unknown_products(requests) from None

    def _unknown_products(self, requests: Mapping[str, Request]) -> ApiError:
        known = sorted(self.bundle.medians)
        unknown = [path for path, request in requests.items() if request.product not in known]
        faults = [
            Fault(path=f"{path}.product", message=f"expected a product of the model: {known}")
            for path in unknown
        ]
        return api_error(HTTPStatus.UNPROCESSABLE_ENTITY, faults)
