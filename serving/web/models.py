"""The base of all JSON models: strict pydantic."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError, from_json

# Of JSON that is parsed: names of fields come again, values such as ids do not. With "all", the
# last 16,384 values stay in memory.
KEPT_STRINGS: Literal["keys"] = "keys"
# Errors hide the input: their text may reach a log.
STRICT = ConfigDict(
    strict=True,
    extra="forbid",
    allow_inf_nan=False,
    hide_input_in_errors=True,
    cache_strings=KEPT_STRINGS,
)


def read_json(content: bytes | str) -> Any:
    """Return the value of JSON that the service itself wrote.

    >>> read_json(b'{"action": "keep"}')
    {'action': 'keep'}
    """
    return from_json(content, cache_strings=KEPT_STRINGS)


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


def _without(characters: str, message: str) -> tuple[Any, ...]:
    # More than blanks, too: the JSON schema of a field has room for one pattern.
    return matching_text(rf"^[^{characters}]*[^{characters}\s][^{characters}]*$", message)


# A terminal obeys control characters, and no text of PostgreSQL has a NUL.
_PRINTABLE_TEXT = _without(
    r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f",
    "expected no control characters but tabs and line breaks",
)
# No line breaks either, and nothing that changes the direction of the text around it.
_PRINTABLE_LINE = _without(
    r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069",
    "expected one line without control characters",
)
_NOT_BLANK = matching_text(r"\S", "expected something other than blanks")
Words = Annotated[str, Field(min_length=1, max_length=4000), *_NOT_BLANK, *_PRINTABLE_TEXT]
Name = Annotated[str, Field(min_length=1, max_length=100), *_NOT_BLANK, *_PRINTABLE_LINE]
# As the record has it: earlier versions took every character.
RecordedName = Annotated[str, Field(min_length=1, max_length=100), *_NOT_BLANK]
