"""Render sections as one HTML file without scripts, fonts or pictures from elsewhere."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import jinja2
import matplotlib as mpl
import polars as pl
from markupsafe import Markup, escape
from matplotlib.figure import Figure

MAX_ROWS = 60  # of a table on the page; the run has all of them
SENTENCE = 40  # letters from which the text of a cell is one
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A table or a figure with its caption, which a screen reader reads too."""

    caption: str
    content: pl.DataFrame | Figure


@dataclass(frozen=True, slots=True)
class Section:
    """Paragraphs, followed by exhibits in order.  Backticks in a paragraph mark code."""

    title: str
    paragraphs: tuple[str, ...]
    exhibits: tuple[Exhibit, ...] = ()


def render_page(
    title: str,
    about: Sequence[str],
    sections: Sequence[Section],
) -> str:
    """Return the text of the HTML file.

    ``about`` are the lines below the title.  The same arguments give the same text.
    """
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "cell": format_cell,
        "numeric": _is_numeric,
        "data_uri": make_data_uri,
        "prose": format_prose,
    }
    environment.tests["sentence"] = _is_sentence
    environment.tests["table"] = lambda content: isinstance(content, pl.DataFrame)
    source = files("training.release.report") / "page.html"
    template = environment.from_string(source.read_text("utf-8"))
    return template.render(
        title=title,
        about=about,
        sections=sections,
        max_rows=MAX_ROWS,
    )


def format_cell(value: object) -> str:
    """Return a table's value for a reader.

    Whole numbers have separators, other numbers four significant digits, and null and NaN are a
    dash.

    >>> [format_cell(value) for value in (12345, 0.123456, True, None)]
    ['12,345', '0.1235', 'yes', '-']
    """
    if value is None:
        return "-"
    # bool before int, of which it is a subclass
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _format_float(value)
    return str(value)


def _format_float(value: float) -> str:
    if math.isnan(value):
        return "-"
    # Four significant digits of a large number would be in scientific notation.
    return f"{value:z,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def format_prose(text: str) -> Markup:
    """Return the text as HTML, with the words between backticks as code."""
    # Escaped first: only the tags that are added here are markup.
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


def _is_sentence(value: object) -> bool:
    """Whether a cell has a text that needs a wide column, unlike a name or a number."""
    return isinstance(value, str) and len(value) >= SENTENCE


def _is_numeric(table: pl.DataFrame, column: str) -> bool:
    return table.schema[column].is_numeric()


def make_data_uri(figure: Figure) -> Markup:
    """Return the figure as a ``data:`` URI of an SVG image."""
    # An image and not inline SVG: the ids of two figures would clash on one page.
    target = io.BytesIO()
    # A fixed salt and no date: the same figure gives the same bytes.
    with mpl.rc_context({"svg.hashsalt": "clearline", "svg.fonttype": "path"}):
        figure.savefig(target, format="svg", metadata={"Date": None})
    encoded = base64.b64encode(target.getvalue()).decode()
    # Safe as markup: the letters of base64 need no escape in an attribute.
    return Markup("data:image/svg+xml;base64," + encoded)
