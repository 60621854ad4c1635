"""A deliverer and an app as processes of their own, which a test kills."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from contextlib import closing
from multiprocessing.synchronize import Event
from pathlib import Path

from serving.operations.serve.deliver.deliverer import Deliverer, Send, deliver
from serving.operations.serve.deliver.endpoints import Endpoint
from serving.operations.serve.deliver.message import Message
from serving.operations.serve.deliver.outbox import Outbox
from serving.operations.serve.deliver.sender import Answer, Sender
from serving.storage.database import Database
from tests.support.webhooks import Received, make_app

# A server that has imported all of it forks each process: so a process begins at once.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["pytest", __name__])
_SECONDS_TO_ANSWER = 0.003


def run_deliverer(address: str, endpoint: Endpoint, acknowledge_first: bool, trying: Event) -> None:
    """Deliver until the process is killed; sets the event at the first attempt.

    With ``acknowledge_first``, the control, an event is delivered before the app has answered.
    """

    async def run() -> None:
        sender = Sender(endpoint)
        send_one = _acknowledging_first(sender) if acknowledge_first else sender.send

        async def send(message: Message) -> Answer:
            trying.set()
            return await send_one(message)

        with closing(Database(address)) as database:
            one = Deliverer(Outbox(database, endpoint), endpoint, send)
            await deliver([one], asyncio.Event())

    asyncio.run(run())


def run_app(port: int, file: Path) -> None:
    """Take events until the process is killed."""
    make_app(port, file, _answer_late).serve_forever(0.01)


def _answer_late(_: Received) -> int:
    time.sleep(_SECONDS_TO_ANSWER)
    return 204


def _acknowledging_first(sender: Sender) -> Send:
    sending: set[asyncio.Future[Answer]] = set()

    async def send(message: Message) -> Answer:
        sending.add(asyncio.ensure_future(sender.send(message)))
        return Answer("delivered", 204)

    return send
