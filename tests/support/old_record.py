"""The audit log that commit f825547 wrote, and the requests that were sent to it."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path
from typing import Any

from serving.api.decisions import Decisions
from serving.auth.caller import Caller
from serving.auth.request_context import RequestContext
from serving.schemas.advice_request import AdviceRequest
from serving.schemas.base import parse
from serving.schemas.decision import BatchRequest, Request
from serving.storage.settings import StorageSettings
from tests.support.paths import ROOT

OLD = ROOT / "tests" / "golden" / "record_f825547"
ERASED_ACCOUNT = "erased-1"


def read_expected() -> dict[str, Any]:
    """The requests that were sent, and what the old code answered and read."""
    content: dict[str, Any] = json.loads((OLD / "expected.json").read_text("utf-8"))
    return content


def copy_old_record(folder: Path) -> StorageSettings:
    """The settings of a copy of the old files in a folder."""
    for name in ("record.db", "secrets.json", "checkpoints.jsonl"):
        shutil.copyfile(OLD / name, folder / name)
    (folder / "secrets.json").chmod(0o600)  # git keeps no such mode
    return StorageSettings(
        address=f"sqlite:///{folder / 'record.db'}",
        secrets=folder / "secrets.json",
        checkpoints=folder / "checkpoints.jsonl",
        deadline=30.0,
    )


def send(decisions: Decisions, sent: dict[str, Any]) -> bytes:
    """The answer to a request of ``expected.json``, with its idempotency key."""
    caller = Caller("another-key", sent["tenant"], frozenset({"score"}))
    context = RequestContext(caller, time.monotonic(), sent["idempotency_key"], sent["advice"])
    raw = json.dumps(sent["body"]).encode()
    if sent["endpoint"] == "batch":
        batch = parse(BatchRequest, raw)
        answering = decisions.decide("batch", batch, batch.accounts, context)
    else:
        model = AdviceRequest if sent["endpoint"] == "advice" else Request
        request = parse(model, raw)
        answering = decisions.decide(sent["endpoint"], request, [request], context)
    return bytes(asyncio.run(answering).body)
