"""The BentoML service: parse, decide, answer.  No arithmetic and no thresholds.

bentoml serve serving.service:LimitReduction
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import bentoml

from features.schema import StatementError
from serving.advice_payload import AdviceAnswer, AdviceRequest, advice_answer
from serving.decision import ChoiceError, ProductError, advise, advise_many, decide_many, load
from serving.edge import DescribedService, OnlyJson, WithoutValues, refusable
from serving.payload import Answer, BatchAnswer, BatchRequest, Request, answer, statements
from serving.refusals import Fault, Refused, of_statements, path_of, refusal
from serving.stored import BUNDLE_FOLDER, MODEL
from serving.way_back import advice_of


@bentoml.service(
    service_class=DescribedService,
    traffic={"timeout": 5},
    # Measured: spans and access log cost twice what a decision's parsing does; /metrics counts requests.
    tracing={"excluded_urls": ".*"},
    logging={"access": {"enabled": False}},
)
class LimitReduction:
    """Decides whose credit limit is reduced and by how much, with the reasons."""

    stored = bentoml.models.BentoModel(f"{MODEL}:latest")

    def __init__(self) -> None:
        # Digests and golden rows are verified before the service is ready.
        self.bundle = load(Path(self.stored.path) / BUNDLE_FOLDER)
        logging.getLogger("bentoml._internal.server.http_app").addFilter(WithoutValues())

    @bentoml.api(route="/v1/decisions")  # type: ignore[untyped-decorator]
    @refusable
    async def decide(self, request: Request, /) -> Answer:
        """The decision on one account."""
        return self._answers([request], ["$"], request.with_advice)[0]

    @bentoml.api(route="/v1/decisions/batch")  # type: ignore[untyped-decorator]
    @refusable
    async def decide_batch(self, request: BatchRequest, /) -> BatchAnswer:
        """The decisions on up to 100 accounts, made at one time."""
        roots = [f"$.accounts[{place}]" for place in range(len(request.accounts))]
        return BatchAnswer(decisions=self._answers(request.accounts, roots, request.with_advice))

    @bentoml.api(route="/v1/advice")  # type: ignore[untyped-decorator]
    @refusable
    async def advise(self, request: AdviceRequest, /) -> AdviceAnswer:
        """The decision on one account and, where the model cut its limit, the way back."""
        with self._refusing([request], {request.account_id: "$"}):
            advised = advise(statements([request]), self.bundle, datetime.datetime.now(datetime.UTC), request.settled())
        return advice_answer(advised, self.bundle)

    def _answers(self, requests: Sequence[Request], roots: Sequence[str], with_advice: bool) -> list[Answer]:
        """One answer a request, in their order; ``roots`` are the requests' paths."""
        named = dict(zip((request.account_id for request in requests), roots, strict=True))
        asked, now = statements(requests), datetime.datetime.now(datetime.UTC)
        with self._refusing(requests, named):
            if with_advice:
                each = advise_many(asked, self.bundle, now)
                answers = [answer(advised.decision, self.bundle, advice_of(advised)) for advised in each]
            else:
                answers = [answer(decision, self.bundle) for decision in decide_many(asked, self.bundle, now)]
        by_account = {answered.account_id: answered for answered in answers}
        return [by_account[account] for account in named]

    @contextmanager
    def _refusing(self, requests: Sequence[Request], named: dict[str, str]) -> Iterator[None]:
        """What the decision refuses, as a problem with the path of each fault; ``named`` gives each account's."""
        try:
            yield
        except StatementError as error:
            months = {request.account_id: [s.month for s in request.statements] for request in requests}
            raise of_statements(error, months, named) from None
        except ChoiceError as error:
            fault = Fault(path=path_of(("choices", error.field)), message=error.expected)
            raise refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [fault]) from None
        except ProductError:
            raise self._unknown_products(requests, named) from None

    def _unknown_products(self, requests: Sequence[Request], roots: dict[str, str]) -> Refused:
        known = sorted(self.bundle.medians)
        unknown = [request.account_id for request in requests if request.product not in known]
        faults = [Fault(path=f"{roots[name]}.product", message=f"expected a product of the model: {known}") for name in unknown]
        return refusal(HTTPStatus.UNPROCESSABLE_ENTITY, faults)


LimitReduction.add_asgi_middleware(OnlyJson)  # type: ignore[attr-defined]  # the decorator made a service of it
