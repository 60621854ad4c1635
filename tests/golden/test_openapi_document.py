"""The published OpenAPI document keeps its paths, parameters, statuses and schemas.

Texts and examples may change.  ``python tests/golden/test_openapi_document.py`` writes the file
again, where the interface is meant to change; say so in CHANGELOG.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from serving.service import LimitReduction

FILE = Path(__file__).with_name("openapi.json")
TEXTS = frozenset({"description", "summary", "title", "example", "examples"})
# Below these keys stand names of the interface, which are no texts.
NAMED = frozenset({"properties", "paths", "schemas"})


def without_texts(value: Any, named: bool = False) -> Any:
    """The document without what only people read."""
    if isinstance(value, list):
        return [without_texts(item) for item in value]
    if isinstance(value, dict):
        return {
            key: without_texts(item, key in NAMED)
            for key, item in value.items()
            if named or key not in TEXTS
        }
    return value


def published() -> Any:
    document = LimitReduction.openapi_spec.asdict()  # type: ignore[attr-defined]
    return without_texts(json.loads(json.dumps(document)))


def test_the_interface_is_the_one_that_was_published() -> None:
    committed = json.loads(FILE.read_text("utf-8"))
    assert published() == committed
    assert len(committed["paths"]) > 10


def test_a_parameter_that_is_gone_is_noticed() -> None:
    """The control."""
    committed = json.loads(FILE.read_text("utf-8"))
    committed["paths"]["/v1/decisions"]["post"]["parameters"].pop()
    assert published() != committed


if __name__ == "__main__":
    FILE.write_text(json.dumps(published(), indent=1, sort_keys=True) + "\n", "utf-8")
