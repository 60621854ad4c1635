"""The routes of docs/service/authentication.md are those of the code."""

from __future__ import annotations

import re

from serving import PROJECT
from serving.auth.caller import SCOPES
from serving.auth.routes import ROUTES, Route

PAGE = (PROJECT / "docs" / "service" / "authentication.md").read_text()


def row(route: Route) -> str:
    scopes = "any key" if route.scopes == set(SCOPES) else " or ".join(sorted(route.scopes))
    size = route.largest_body // 1024
    body = f"{size // 1024} MiB" if size >= 1024 else f"{size} KiB"
    return f"| {route.method} | `{route.template}` | {'none: no key is asked for' if route.open else scopes} | {body} |"


def test_the_page_lists_the_routes() -> None:
    assert re.findall(r"^\| (?:GET|POST) .*$", PAGE, re.MULTILINE) == [
        row(route) for route in ROUTES
    ]
