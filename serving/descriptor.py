"""What the models at the edge are made of: strict, and with ``bentoml.IODescriptor`` as the pydantic model that it is.

BentoML's lazy imports hide that from type checkers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from pydantic import BaseModel as IODescriptor
else:
    from bentoml import IODescriptor

__all__ = ["STRICT", "IODescriptor", "Strict", "Text"]

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class Strict(BaseModel):
    """A part of a request or an answer: nothing is converted, left out or added."""

    model_config = STRICT


class Text(Strict):
    """One sentence in two languages."""

    en: str
    zh: str
