"""A BentoML endpoint that does nothing, with default settings: the cost of the framework alone."""

from __future__ import annotations

import bentoml
from bentoml import IODescriptor
from pydantic import ConfigDict


class Anything(IODescriptor):  # type: ignore[misc]  # BentoML hides its types
    """Any JSON object."""

    model_config = ConfigDict(extra="allow")


class Nothing(IODescriptor):  # type: ignore[misc]  # as above
    """An empty object."""


@bentoml.service
class Empty:
    """Takes anything and answers nothing."""

    @bentoml.api(route="/v1/decisions")  # type: ignore[untyped-decorator]
    async def decide(self, request: Anything, /) -> Nothing:
        """Nothing."""
        return Nothing()
