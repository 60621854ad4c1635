"""The routes of docs/service/authentication.md are those of the code.

test_service_pages.py runs the page's commands.
"""

from __future__ import annotations

import re

from serving import PROJECT
from serving.auth.caller import SCOPES
from serving.auth.routes import ROUTES, Route

PAGE = PROJECT / "docs" / "service" / "authentication.md"


def page_row(route: Route) -> str:
    """The route's row in the page's table."""
    scopes = " or ".join(sorted(route.scopes))
    if route.scopes == set(SCOPES):
        scopes = "any key"
    if route.open:
        scopes = "none"
    return f"| {route.method} | `{route.template}` | {scopes} | {page_size(route.largest_body)} |"


def page_size(size: int) -> str:
    """A size in bytes as the page writes it."""
    kib = size // 1024
    return f"{kib // 1024} MiB" if kib >= 1024 else f"{kib} KiB"


def test_the_page_lists_the_routes() -> None:
    rows = re.findall(r"^\| (?:GET|POST) .*$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert rows == [page_row(route) for route in ROUTES]
