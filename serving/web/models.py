"""The base of all JSON models: strict pydantic."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

# Errors hide the input: their text may reach a log.
STRICT = ConfigDict(
    strict=True,
    extra="forbid",
    allow_inf_nan=False,
    hide_input_in_errors=True,
)


class Strict(BaseModel):
    """A JSON object: values are not converted, unknown fields are refused."""

    model_config = STRICT


class Text(Strict):
    """One sentence in two languages."""

    en: str
    zh: str


def matching_text(
    pattern: str,
    message: str,
    known: Collection[str] = (),
    **schema: str,
) -> tuple[Any, ...]:
    """Return pydantic annotations for a string that matches `pattern`, as those of `known` do.

    A mismatch is refused with `message`: pydantic's own message would repeat the regular
    expression. `schema` is added to the JSON schema.
    """
    # Python's `re` would not do: it counts U+001D as white space, JSON Schema does not.
    matching = TypeAdapter(Annotated[str, Field(pattern=pattern)])

    def check(text: str) -> str:
        if text in known:
            return text
        try:
            return matching.validate_python(text)
        except ValidationError:
            raise PydanticCustomError("matching_text", "{message}", {"message": message}) from None

    return AfterValidator(check), Field(json_schema_extra={"pattern": pattern, **schema})
