"""``bentoml.IODescriptor`` as the pydantic model that it is, which BentoML's lazy imports hide from type checkers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel as IODescriptor
else:
    from bentoml import IODescriptor

__all__ = ["IODescriptor"]
