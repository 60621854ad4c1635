"""The target of a request as the client wrote it: ``/v1/decisions``, or a whole URL.

uvicorn drops the scheme and the host of a URL before it calls an app. The protocol here keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_NAME = "request_target"  # in the `state` of a scope


class WholeTargetProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which also puts the whole target into the scope's ``state``."""

    def on_headers_complete(self) -> None:
        """Start the app, as soon as the headers are read."""
        self.scope["state"][_NAME] = self.url.decode("latin-1")
        super().on_headers_complete()


def keep_whole_targets() -> None:
    """Let the uvicorn servers that start after this in this process keep the whole target.

    BentoML's worker passes no HTTP protocol to uvicorn, so uvicorn's default is changed.
    """
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{WholeTargetProtocol.__name__}"


def request_target(scope: Mapping[str, Any]) -> str:
    """Return the target of a request; its path if the server keeps nothing else."""
    whole: str | None = scope.get("state", {}).get(_NAME)
    if whole is not None:
        return whole
    raw_path: bytes = scope.get("raw_path") or b""
    return raw_path.decode("latin-1")
