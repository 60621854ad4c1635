"""A section of the report: what it is about, and the tables and figures that show it."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Shown:
    """A table or a figure with the sentence that says what is to be seen; ``says`` is also what a screen reader reads."""

    says: str
    what: pl.DataFrame | Figure


@dataclass(frozen=True, slots=True)
class Section:
    """``text`` are paragraphs; ``shown`` follow them in order."""

    title: str
    text: tuple[str, ...]
    shown: tuple[Shown, ...] = ()
