"""A light load of everything that lenders send, and a check of every answer."""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

from tests.support.served import cut_batch

Json = dict[str, Any]
SECONDS = 600.0  # "hung", also on a machine that stands still for some minutes
_STOPPED = 20.0  # seconds that no answer takes but on a machine that stood still


class Expected(NamedTuple):
    """What the decision on an account is."""

    action: str
    new_limit: float
    probability: float


class MixedLoad:
    """Requests on accounts, each with the decision that is expected.

    `decided` has the SHA-256 of each decision by its id, `statuses` the number of answers by the
    kind of the request and status, `interrupted` the requests that were sent again because the
    machine stood still. `rate` is that of each client, and may be changed. An answer that is not as
    expected raises AssertionError.
    """

    def __init__(
        self, url: str, key: str, accounts: Sequence[tuple[Json, Expected]], rate: float
    ) -> None:
        self.rate = rate
        self.decided: dict[str, bytes] = {}
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.interrupted = 0
        self._headers = {"authorization": f"Bearer {key}"}
        self._url, self._accounts = url, list(accounts)
        self._calm = threading.Condition()
        self._under_way, self._paused = 0, False

    def send(self, seed: int, over: threading.Event) -> None:
        """Send as one client, `rate` requests a second in the mean, until it is over."""
        drawn = random.Random(seed)
        kinds = list(_KINDS)
        weights = list(_KINDS.values())
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(
            base_url=self._url, headers=self._headers, timeout=SECONDS, limits=limits
        ) as client:
            one = _Sender(self, client, drawn)
            while not over.wait(drawn.expovariate(self.rate)):
                [kind] = drawn.choices(kinds, weights)
                with self._unless_paused():
                    kind(one)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No request is under way, and none begins, until the block ends."""
        with self._calm:
            self._paused = True
            self._calm.wait_for(lambda: not self._under_way)
        try:
            yield
        finally:
            with self._calm:
                self._paused = False
                self._calm.notify_all()

    @contextmanager
    def _unless_paused(self) -> Iterator[None]:
        with self._calm:
            self._calm.wait_for(lambda: not self._paused)
            self._under_way += 1
        try:
            yield
        finally:
            with self._calm:
                self._under_way -= 1
                self._calm.notify_all()

    def draw(self, drawn: random.Random) -> tuple[Json, Expected]:
        """A request on one of the accounts, or on a new one like it."""
        request, expected = drawn.choice(self._accounts)
        if drawn.random() < 0.5:
            request = request | {"account_id": f"new-{drawn.getrandbits(64):x}"}
        return request, expected

    def note(self, kind: str, response: httpx.Response) -> None:
        """Count an answer."""
        with self._calm:
            self.statuses[kind, response.status_code] += 1

    def note_decision(self, content: bytes, expected: Expected) -> str:
        """Check a decision and keep its hash; its id."""
        answer = json.loads(content)
        got = Expected(answer["action"], answer["new_limit"], answer["probability"])
        assert got == expected, f"expected {expected}, got {got}: {answer['decision_id']}"
        self.decided[answer["decision_id"]] = hashlib.sha256(content).digest()
        return str(answer["decision_id"])

    def note_interruption(self) -> None:
        """Count a request that is sent again."""
        with self._calm:
            self.interrupted += 1


class _Sender:
    """Sends what one client sends. Each verb sends requests of a kind, and checks the answers."""

    def __init__(self, load: MixedLoad, client: httpx.Client, drawn: random.Random) -> None:
        self._load, self._client, self._drawn = load, client, drawn
        self._last: tuple[str, bytes, str] | None = None  # id, content and account of a decision

    def decide(self) -> None:
        self._decide("decision", "/v1/decisions")

    def decide_with_advice(self) -> None:
        self._decide("advice", "/v1/decisions?advice=true")

    def decide_traced(self) -> None:
        trace = f"00-{self._drawn.getrandbits(128):032x}-{self._drawn.getrandbits(64):016x}-01"
        self._decide("traced", "/v1/decisions", {"traceparent": trace})

    def repeat(self) -> None:
        """A request twice with one idempotency key, and another with the same key."""
        request, expected = self._load.draw(self._drawn)
        key = {"idempotency-key": str(uuid.UUID(int=self._drawn.getrandbits(128)))}
        first = self._post("repeated", "/v1/decisions", request, 200, key)
        again = self._post("repeated", "/v1/decisions", request, 200, key)
        assert again.content == first.content
        self._load.note_decision(first.content, expected)
        other = request | {"account_id": "other"}
        self._post("other body", "/v1/decisions", other, 422, key)

    def decide_batch(self) -> None:
        drawn = [self._load.draw(self._drawn) for _ in range(5)]
        accounts = [
            request | {"account_id": f"{request['account_id']}-{place}"}
            for place, (request, _) in enumerate(drawn)
        ]
        response = self._post("batch", "/v1/decisions/batch", {"accounts": accounts}, 200)
        for content, (_, expected) in zip(cut_batch(response.text), drawn, strict=True):
            self._load.note_decision(content, expected)

    def send_what_is_refused(self) -> None:
        request, _ = self._load.draw(self._drawn)
        statements = request["statements"]
        refused: list[tuple[str, Any, int]] = [
            ("no field", {}, 422),
            ("text", request | {"statements": [statements[0] | {"balance": "much"}]}, 422),
            ("unknown field", request | {f"x{self._drawn.getrandbits(32):x}": 1}, 422),
            ("no JSON", None, 400),
        ]
        kind, body, status = self._drawn.choice(refused)
        self._post(kind, "/v1/decisions", body, status)

    def send_unknown_key(self) -> None:
        key = f"clk_{self._drawn.getrandbits(64):016x}_{'x' * 43}"
        header = {"authorization": f"Bearer {key}"}
        self._post("unknown key", "/v1/decisions", {}, 401, header)

    def get_unknown_path(self) -> None:
        self._get("unknown path", f"/v1/{self._drawn.getrandbits(64):x}", 404)
        self._get("unknown id", f"/v1/decisions/{uuid.UUID(int=self._drawn.getrandbits(128))}", 404)

    def get_decision(self) -> None:
        if self._last is None:
            self.decide()
        else:
            decision_id, content, _ = self._last
            assert content in self._get("read", f"/v1/decisions/{decision_id}", 200).content

    def list_decisions(self) -> None:
        if self._last is None:
            self.decide()
        else:
            decision_id, _, account = self._last
            listed = self._get("list", f"/v1/decisions?account_id={account}", 200).json()
            assert decision_id in {one["decision_id"] for one in listed["decisions"]}

    def get_probes(self) -> None:
        self._get("livez", "/livez", 200)
        self._get("readyz", "/readyz", 200)

    def get_metrics(self) -> None:
        response = self._get("metrics", "/metrics", 200)
        assert "clearline" in response.text

    def _decide(self, kind: str, path: str, headers: Mapping[str, str] | None = None) -> None:
        request, expected = self._load.draw(self._drawn)
        response = self._post(kind, path, request, 200, headers)
        decision_id = self._load.note_decision(response.content, expected)
        if kind == "decision":
            self._last = decision_id, response.content, request["account_id"]

    def _get(self, kind: str, path: str, status: int) -> httpx.Response:
        return self._send(kind, status, lambda: self._client.get(path))

    def _post(
        self,
        kind: str,
        path: str,
        body: Any,
        status: int,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        content = b"{" if body is None else json.dumps(body).encode()
        # Sent again after an interruption, it is still one decision.
        own = {"idempotency-key": str(uuid.uuid4()), "content-type": "application/json"}
        all_headers = own | dict(headers or {})
        return self._send(
            kind, status, lambda: self._client.post(path, content=content, headers=all_headers)
        )

    def _send(self, kind: str, status: int, send: Callable[[], httpx.Response]) -> httpx.Response:
        began = time.monotonic()
        response = send()
        while response.status_code != status and time.monotonic() - began > _STOPPED:
            self._load.note_interruption()
            began = time.monotonic()
            response = send()
        assert response.status_code == status, f"{kind}: {response.status_code} {response.text}"
        self._load.note(kind, response)
        return response


# How often each is sent, in a hundred.
_KINDS: dict[Callable[[_Sender], None], int] = {
    _Sender.decide: 50,
    _Sender.decide_with_advice: 3,
    _Sender.decide_traced: 6,
    _Sender.repeat: 5,
    _Sender.decide_batch: 3,
    _Sender.send_what_is_refused: 6,
    _Sender.send_unknown_key: 3,
    _Sender.get_unknown_path: 3,
    _Sender.get_decision: 10,
    _Sender.list_decisions: 3,
    _Sender.get_probes: 5,
    _Sender.get_metrics: 3,
}
