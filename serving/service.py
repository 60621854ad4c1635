"""The BentoML service: parse, decide, store, answer. No arithmetic and no thresholds.

bentoml serve serving.service:LimitReduction
"""

from __future__ import annotations

import asyncio
import functools
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
from serving.api.answers import Endpoint, answer_again
from serving.api.bento import (
    HTTP_LOGGER,
    answers_errors,
    input_spec,
    on_hangup,
    output_spec,
    restart_workers_at_once,
)
from serving.api.decisions import Decisions
from serving.api.described_service import DescribedService
from serving.api.reviews import review_app
from serving.api.shadow.shadow import fix_shadow, open_shadow
from serving.audit_log.log import AuditLog, check_single_writer
from serving.auth.local_token import discard_token, token_file
from serving.auth.request_context import RequestContext
from serving.decision.advice.constraints import ConstraintError
from serving.decision.bundle import Bundle, BundleError
from serving.decision.golden import load
from serving.decision.policy.prior import PriorError
from serving.decision.result import ProductError
from serving.reviews.backlog import read_state
from serving.reviews.past_decision import OtherProductError
from serving.reviews.service import Reviews
from serving.schemas.advice_request import AdviceAnswer, AdviceRequest
from serving.schemas.base import ApiRequest
from serving.schemas.decision import Answer, BatchAnswer, BatchRequest, Request
from serving.storage.bundles.active import ActiveFolder, active_folder, folder_of
from serving.storage.bundles.apart import activate_apart
from serving.storage.bundles.canary import canary_file
from serving.storage.bundles.follow import Follower
from serving.storage.bundles.held import HeldBundles
from serving.storage.bundles.series import bundle_state
from serving.storage.bundles.start import StoreFollower, check_canary, choose_start, read_follow
from serving.storage.bundles.store import BUNDLE_FOLDER, MODEL, stated_digest
from serving.storage.container import check_lasting
from serving.storage.settings import fix_paths, read_drain, read_settings
from serving.web.errors import ApiError, Fault, api_error, json_path, single_fault, statement_error
from serving.web.server.garbage import freeze_loaded
from serving.web.shutdown import Shutdown, has_begun
from serving.web.supervisor import announce, ending_service, find_start, follow_supervisor
from serving.web.telemetry.logs import ValueFilter
from serving.web.telemetry.spans import stop_spans
from serving.web.telemetry.start import start_telemetry

_SWITCH_INTERVAL = 0.0001  # seconds; Python's default is 0.005


def _current_reviews() -> Reviews:
    """Return the reviews of the service that BentoML runs in this process."""
    # BentoML mounts apps on the class, before there is an instance, so the app is made once and
    # finds the instance at each request.
    service: LimitReduction = bentoml.get_current_service()
    return service.reviews


@bentoml.asgi_app(review_app(_current_reviews), path="/")
@bentoml.service(
    service_class=DescribedService,
    # Measured: spans and access log take twice as long as parsing a decision; /metrics counts
    # requests.
    tracing={"excluded_urls": ".*"},
    logging={"access": {"enabled": False}},
)
class LimitReduction:
    """Decides whose credit limit is reduced and by how much, with the reasons, and stores each
    answer before it sends it.
    """

    stored = bentoml.models.BentoModel(f"{MODEL}:latest")

    def __init__(self) -> None:
        # The writer thread of the audit log releases the GIL at each step of SQLite, and then waits
        # up to one switch interval to get it back. So does the event loop while a batch is decided.
        sys.setswitchinterval(_SWITCH_INTERVAL)
        with ending_service():
            settings = read_settings()
            folder = self._active_folder = active_folder(settings)
            self.bundles = HeldBundles(self._load_bundle(folder))
            self.audit_log = AuditLog(settings)
            drain = read_drain()
            start = find_start()
            image = "" if start is None else start.image
            self._follower = Follower(self.bundles, folder, image, canary_file())
            self._follower.start()
            self.shadow = open_shadow(self.audit_log)
        self.decisions = Decisions(self.bundles, self.audit_log)
        self.decisions.shadow = self.shadow
        pool = self.decisions.pool
        self.reviews = Reviews(self.bundles, self.audit_log, answer_again, pool)
        logging.getLogger(HTTP_LOGGER).addFilter(ValueFilter())
        self._shutdown = Shutdown(self.audit_log.close, drain)
        self._shutdown.watch()
        follow_supervisor(self._shutdown.end_without_delay)
        freeze_loaded()

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check() -> None:
        """Refuse to start if a worker could not, and fix the bundle that all workers start with.

        It is the one that was activated last, or else the newest stored one.

        Raises :class:`serving.storage.errors.StorageError`,
        :class:`serving.decision.bundle.BundleError` and
        :class:`serving.web.telemetry.settings.TelemetryError`.
        """
        start_telemetry()
        service, settings = cast(DescribedService, LimitReduction), read_settings()
        read_drain()
        fix_shadow()
        fix_paths(settings)
        check_lasting(settings)
        check_single_writer(settings, service.worker_count)
        check_canary()
        follows = read_follow()
        folder = Path(service.inner.stored.resolve().path) / BUNDLE_FOLDER
        image = "" if service.bento is None else stated_digest(folder)
        folder = choose_start(folder, image, active_folder(settings))
        bundle = load(folder)
        # What a worker opens: the database, its secrets, its checkpoints.
        AuditLog(settings).close()
        discard_token(token_file(settings))
        announce(folder, bundle.digest, image)
        restart_workers_at_once()
        on_hangup(functools.partial(activate_apart, "--by", "SIGHUP"))
        if follows:
            activate = functools.partial(activate_apart, "--by", "CLEARLINE_FOLLOW")
            activation = active_folder(settings).read()
            left = "" if activation is None else activation.before
            StoreFollower([bundle.digest, left], activate).start()

    def _load_bundle(self, folder: ActiveFolder) -> Bundle:
        """Return the bundle that decides now: digests and golden rows verify it."""
        start = find_start()
        if start is None:
            return load(Path(self.stored.path) / BUNDLE_FOLDER)
        activation = folder.read()
        if activation is not None and activation.image == start.image:
            # Perhaps since the start: this worker may be in place of one that died.
            return load(folder_of(activation))
        bundle = load(Path(start.bundle))
        if bundle.digest != start.digest:
            raise BundleError(
                f"{start.bundle}: expected the bundle {start.digest}, with which this service "
                f"started, got {bundle.digest}"
            )
        return bundle

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Write the waiting rows, sign a checkpoint, and send the last spans."""
        self._follower.close()
        self.decisions.pool.close()
        if self.shadow is not None:
            self.shadow.close()
        self.audit_log.close()
        stop_spans()
        self._shutdown.cancel()

    async def __is_ready__(self) -> bool:
        """Return whether the service takes requests: the audit log takes writes, and no signal has
        told the process to end; the bundle was read at the start.
        """
        return self.audit_log.ready and not has_begun()

    async def __metrics__(self, counted: str) -> str:
        """Return the text of ``/metrics``: what was counted, and the state now."""
        state = await read_state(self.audit_log, self.bundles.active)
        return counted + state + await asyncio.to_thread(bundle_state, self._active_folder)

    @bentoml.api(  # type: ignore[untyped-decorator]
        route="/v1/decisions",
        input_spec=input_spec(Request),
        output_spec=output_spec(Answer),
    )
    @answers_errors
    async def decide(self, request: Request, context: RequestContext, /) -> Response:
        """The decision on one account."""
        return await self._decide("decisions", request, {"$": request}, context)

    @bentoml.api(  # type: ignore[untyped-decorator]
        route="/v1/decisions/batch",
        input_spec=input_spec(BatchRequest),
        output_spec=output_spec(BatchAnswer),
    )
    @answers_errors
    async def decide_batch(self, request: BatchRequest, context: RequestContext, /) -> Response:
        """The decisions on up to 100 accounts, all at the same time of decision."""
        by_path = {
            f"$.accounts[{place}]": account for place, account in enumerate(request.accounts)
        }
        return await self._decide("batch", request, by_path, context)

    @bentoml.api(  # type: ignore[untyped-decorator]
        route="/v1/advice",
        input_spec=input_spec(AdviceRequest),
        output_spec=output_spec(AdviceAnswer),
    )
    @answers_errors
    async def advise(self, request: AdviceRequest, context: RequestContext, /) -> Response:
        """The decision on one account and, if the model cut its limit, the way back."""
        return await self._decide("advice", request, {"$": request}, context)

    async def _decide(
        self,
        endpoint: Endpoint,
        body: ApiRequest,
        by_path: Mapping[str, Request],
        context: RequestContext,
    ) -> Response:
        """Return the stored answer; `by_path` are the requests in `body` by their JSONPath."""
        with self._as_api_errors(by_path):
            return await self.decisions.decide(
                endpoint,
                body,
                list(by_path.values()),
                context,
            )

    @contextmanager
    def _as_api_errors(self, by_path: Mapping[str, Request]) -> Iterator[None]:
        """Turn the errors of a decision into problems with the path of each fault."""
        try:
            yield
        except StatementError as error:
            months = {
                request.account_id: [statement.month for statement in request.statements]
                for request in by_path.values()
            }
            roots = {request.account_id: path for path, request in by_path.items()}
            raise statement_error(error, months, roots) from None
        except PriorError as error:
            [root] = [
                path for path, request in by_path.items() if request.account_id == error.account_id
            ]
            path = f"{root}.prior.{error.field}"
            message = f"expected {error.expected}"
            raise single_fault(HTTPStatus.UNPROCESSABLE_ENTITY, message, path=path) from None
        except ConstraintError as error:
            path = json_path(("choices", error.field))
            raise single_fault(HTTPStatus.UNPROCESSABLE_ENTITY, error.expected, path=path) from None
        except ProductError as error:
            raise self._unknown_products(by_path, error.known) from None
        except OtherProductError as error:
            raise self._other_products(by_path, error.recorded) from None

    def _unknown_products(self, by_path: Mapping[str, Request], known: tuple[str, ...]) -> ApiError:
        """Return the problem of requests for other products than those of their bundle."""
        message = f"expected a product of the model: {[*known]}"
        faults = [
            Fault(path=f"{path}.product", message=message)
            for path, request in by_path.items()
            if request.product not in known
        ]
        return api_error(HTTPStatus.UNPROCESSABLE_ENTITY, faults)

    def _other_products(
        self, by_path: Mapping[str, Request], recorded: Mapping[str, str]
    ) -> ApiError:
        """Return the problem of requests for other products than those that are recorded."""
        faults = [
            Fault(
                path=f"{path}.product",
                message=(
                    f"expected {recorded[request.account_id]}, as in the earlier decisions on the "
                    "account, or a request that states its prior"
                ),
            )
            for path, request in by_path.items()
            if request.account_id in recorded
        ]
        return api_error(HTTPStatus.UNPROCESSABLE_ENTITY, faults)
