"""The JSON examples of docs/service/api.md are those of the OpenAPI document, shortened."""

from __future__ import annotations

import ast
import builtins
import copy
import json
import re
from collections.abc import Sequence
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
        if shown.keys() != full.keys():
            return False
        pairs = [(value, full[name]) for name, value in shown.items()]
        return all(abridges(*pair) for pair in pairs)

    if isinstance(shown, list) and isinstance(full, list):
        if len(shown) > len(full):
            return False
        return all(map(abridges, shown, full))

    if isinstance(shown, str) and shown.endswith("..."):
        beginning = shown.removesuffix("...").rstrip()
        return isinstance(full, str) and full.startswith(beginning)

    return shown == full


def test_the_request_is_the_one_of_the_openapi_document() -> None:
    request = json_blocks()[0]
    last_two = examples.REQUEST["statements"][-2:]
    assert request == examples.REQUEST | {"statements": last_two}


def test_the_answer_is_the_one_of_the_openapi_document() -> None:
    answer = json_blocks()[1]
    assert abridges(answer, examples.ANSWER)


def undefined_names(blocks: Sequence[str]) -> set[str]:
    """The names that the blocks use, run one after the other, and that nothing defines."""
    defined = set(dir(builtins))
    used: set[str] = set()
    for node in ast.walk(ast.parse("\n".join(blocks))):
        if isinstance(node, ast.alias):
            defined.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else defined).add(node.id)
    return used - defined


def test_the_python_examples_define_what_they_use() -> None:
    page = PAGE.read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 2
    assert undefined_names(blocks) == set()
    assert undefined_names(blocks[1:]) == {"token", "request"}


def test_the_control_is_not_an_abridgement() -> None:
    answer = json_blocks()[1]
    changed = copy.deepcopy(answer)
    changed["reasons"][0]["rank"] = 2
    assert not abridges(changed, examples.ANSWER)

    del answer["notice"]
    assert not abridges(answer, examples.ANSWER)
