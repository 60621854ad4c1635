"""The JSON examples of docs/service/api.md are those of the OpenAPI document, shortened."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

from serving import PROJECT
from serving.schemas import examples

PAGE = PROJECT / "docs" / "service" / "api.md"


def json_blocks() -> list[dict[str, Any]]:
    """The page's JSON blocks, in order."""
    blocks = re.findall(r"```json\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    return [json.loads(block) for block in blocks]


def abridges(shown: object, full: object) -> bool:
    """Whether ``shown`` is ``full``, apart from the ends of lists and of texts with ``...``."""
    if isinstance(shown, dict) and isinstance(full, dict):
        return shown.keys() == full.keys() and all(
            abridges(value, full[name]) for name, value in shown.items()
        )
    if isinstance(shown, list) and isinstance(full, list):
        return len(shown) <= len(full) and all(map(abridges, shown, full))
    if isinstance(shown, str) and isinstance(full, str) and shown.endswith("..."):
        return full.startswith(shown.removesuffix("...").rstrip())
    return shown == full


def test_the_examples_are_those_of_the_openapi_document() -> None:
    request, answer, *_ = json_blocks()
    assert request == examples.REQUEST | {"statements": examples.REQUEST["statements"][-2:]}
    assert abridges(answer, examples.ANSWER)


def test_the_control_is_not_an_abridgement() -> None:
    _, answer, *_ = json_blocks()
    changed = copy.deepcopy(answer)
    changed["reasons"][0]["features"][0]["unit"] = "CNY"
    assert not abridges(changed, examples.ANSWER)
    del answer["notice"]
    assert not abridges(answer, examples.ANSWER)
