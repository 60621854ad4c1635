"""The free texts of reviews: what a terminal obeys is refused, and what people write is not."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest

from serving.schemas.base import ApiRequest, parse
from serving.schemas.review import (
    ResolutionRequest,
    ReviewRequest,
    StartRequest,
    WithdrawalRequest,
)
from serving.web.errors import ApiError
from tests.support.each import each

# Python counts U+001D as white space, JSON Schema does not.
CONTROLS = ("\x00", "\x07", "\x1d", "\x1b[31m", "\x7f", "\x9b31m")
ONLY_IN_TEXTS = ("\n", "\t", "\u2028", "\u202e")
RESOLUTION = {"reviewer": "Li Na", "outcome": "overturn", "reasons": "Proven."}
BOTH = {"en": "Proven.", "zh": "已核实。"}


def body_of(model: type[ApiRequest], **fields: object) -> bytes:
    base = RESOLUTION if model is ResolutionRequest else {}
    return json.dumps({**base, **fields}).encode()


def paths_of_faults(model: type[ApiRequest], **fields: object) -> list[str]:
    with pytest.raises(ApiError) as refused:
        parse(model, body_of(model, **fields))
    assert refused.value.problem.status == HTTPStatus.UNPROCESSABLE_ENTITY
    return [fault.path for fault in refused.value.problem.errors]


def test_control_characters_are_refused_in_every_free_text() -> None:
    for control in each(CONTROLS):
        text = f"a{control}b"
        assert paths_of_faults(ReviewRequest, reason=text) == ["$.reason"]
        assert paths_of_faults(WithdrawalRequest, reason=text) == ["$.reason"]
        assert paths_of_faults(StartRequest, reviewer=text) == ["$.reviewer"]
        assert paths_of_faults(ResolutionRequest, reviewer=text) == ["$.reviewer"]
        assert paths_of_faults(ResolutionRequest, reasons=text) == ["$.reasons"]
        assert paths_of_faults(ResolutionRequest, reasons=BOTH | {"zh": text}) == ["$.reasons.zh"]


@pytest.mark.parametrize("reasons", [["Proven."], 1, True, None])
def test_reasons_of_another_kind_are_refused_with_both_that_are_taken(reasons: object) -> None:
    with pytest.raises(ApiError) as refused:
        parse(ResolutionRequest, body_of(ResolutionRequest, reasons=reasons))
    [fault] = refused.value.problem.errors
    assert fault.path == "$.reasons"
    assert fault.message == "expected a text, or an object with en and zh"


def test_a_name_has_one_line_and_a_text_several() -> None:
    for character in each(ONLY_IN_TEXTS):
        text = f"a{character}b"
        assert paths_of_faults(StartRequest, reviewer=text) == ["$.reviewer"]
        assert parse(ReviewRequest, body_of(ReviewRequest, reason=text)).reason == text


def test_what_people_write_is_taken() -> None:
    for text in each(("Li Na", "李娜", "Zoë O’Neil", "می‌خواهم", "👩‍👩‍👧", "x\u00a0y")):
        assert parse(StartRequest, body_of(StartRequest, reviewer=text)).reviewer == text
        assert parse(ReviewRequest, body_of(ReviewRequest, reason=text)).reason == text


def test_a_name_that_an_earlier_version_took_can_be_named() -> None:
    """Else nobody could take over a review from it."""
    body = body_of(StartRequest, reviewer="Bo", instead_of="Li\x1bNa")
    assert parse(StartRequest, body).instead_of == "Li\x1bNa"
