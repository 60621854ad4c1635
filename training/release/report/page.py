"""Render sections as one HTML file without scripts, fonts or pictures from elsewhere."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import jinja2
import matplotlib as mpl
import polars as pl
from markupsafe import Markup, escape
from matplotlib.figure import Figure

_CODE = re.compile(r"`([^`]+)`")
ROWS = 60  # of a table; the run has all of them


def page(title: str, about: Sequence[str], sections: Sequence[Section]) -> str:
    """The whole file's text, UTF-8; ``about`` are the lines below the title."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"cell": cell, "numeric": _numeric, "picture": picture, "prose": prose}
    environment.tests["table"] = lambda what: isinstance(what, pl.DataFrame)
    template = environment.from_string(
        (files("training.release.report") / "page.html").read_text("utf-8")
    )
    return template.render(title=title, about=about, sections=sections, most=ROWS)


def cell(value: object) -> str:
    """A value as a person reads it: whole numbers with separators, others with four digits, nothing
    as a dash.
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return (
            "-" if value != value else f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
        )
    return str(value)


def prose(text: str) -> Markup:
    """The text with what stands between backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


def _numeric(table: pl.DataFrame, column: str) -> bool:
    return table.schema[column].is_numeric()


def picture(figure: Figure) -> Markup:
    """The figure as an address that holds it.

    An image, not markup: ids in two figures would meet on one page.
    """
    target = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "clearline", "svg.fonttype": "path"}):
        figure.savefig(target, format="svg", metadata={"Date": None})
    # base64 alone
    return Markup("data:image/svg+xml;base64," + base64.b64encode(target.getvalue()).decode())


@dataclass(frozen=True, slots=True)
class Shown:
    """A table or a figure with the sentence that says what is to be seen; ``says`` is also what a
    screen reader reads.
    """

    says: str
    what: pl.DataFrame | Figure


@dataclass(frozen=True, slots=True)
class Section:
    """``text`` are paragraphs; ``shown`` follow them in order."""

    title: str
    text: tuple[str, ...]
    shown: tuple[Shown, ...] = ()
