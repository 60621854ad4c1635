"""What the models at the edge are made of: strict, and with ``bentoml.IODescriptor`` as the
pydantic model that it is.

BentoML's lazy imports hide that from type checkers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    from pydantic import BaseModel as IODescriptor
else:
    from bentoml import IODescriptor

__all__ = ["STRICT", "IODescriptor", "Strict", "Text", "matching_text"]

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class Strict(BaseModel):
    """A part of a request or an answer: nothing is converted, left out or added."""

    model_config = STRICT


class Text(Strict):
    """One sentence in two languages."""

    en: str
    zh: str


def matching_text(pattern: str, said: str, **schema: str) -> tuple[Any, ...]:
    """Annotations of a text in which the pattern is found; what is no such text is refused with
    what is ``said``.

    pydantic's own refusal says the expression, which nobody in a hurry reads.  It is asked all the
    same: to Python U+001D is a blank, and to JSON Schema it is none.
    """
    matching = TypeAdapter(Annotated[str, Field(pattern=pattern)])

    def check(text: str) -> str:
        try:
            return matching.validate_python(text)
        except ValidationError:
            raise PydanticCustomError("matching_text", "{said}", {"said": said}) from None

    return AfterValidator(check), Field(json_schema_extra={"pattern": pattern, **schema})
