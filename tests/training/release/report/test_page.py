from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure

from serving.decision.bundle import Bundle
from training.data.config import DataConfig
from training.data.dataset import Source
from training.evaluate.holdout import Evaluation, evaluate, select_hold_out
from training.release.report.advice import advice_section
from training.release.report.feature_curves import feature_curves_section, turns
from training.release.report.model_card import importance, model_card_section
from training.release.report.page import ROWS, Section, Shown, cell, page
from training.release.report.performance import calibration_section, performance_section
from training.release.report.reasons import frequencies, reasons_section


@pytest.fixture(scope="module")
def evaluated(source: Source, simulated: Path, bundle: Bundle) -> Evaluation:
    whole = select_hold_out(source, DataConfig(), simulated)
    return evaluate("v1", bundle, whole.take(np.arange(0, len(whole.label), 2)))


class Read(HTMLParser):
    """What a browser would fetch or run, and which tags are open at the end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [
            value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")
        ]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_is_whole_and_asks_nobody_for_anything(evaluated: Evaluation) -> None:
    sections = [
        model_card_section(evaluated),
        performance_section(evaluated, seen=False),
        reasons_section(evaluated, None),
    ]
    text = page("A title", ["about"], sections)
    read = Read(text)
    assert read.open == []
    assert not {"script", "link", "iframe", "object"} & set(read.tags)
    assert all(address.startswith(("#", "data:image/")) for address in read.addresses)
    assert "url(" not in text.split("</style>")[0]
    assert page("A title", ["about"], sections) == text, "the same sections, another page"


def test_what_is_shown_cannot_be_markup() -> None:
    table = pl.DataFrame({"<b>column": ["<script>alert(1)</script>", "`<i>`"]})
    text = page(
        "<title>", ["&about"], [Section("<h1>", ("<p>`<x>`",), (Shown('"quoted"', table),))]
    )
    assert "<script" not in text
    assert "<code>&lt;x&gt;</code>" in text
    assert "&lt;script&gt;alert(1)" in text
    assert Read(text).open == []


def test_long_tables_say_that_they_are_cut() -> None:
    text = page("t", [], [Section("s", (), (Shown("long", pl.DataFrame({"n": range(ROWS + 5)})),))])
    assert f"The first {ROWS} of {ROWS + 5} rows" in text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"),
        (True, "yes"),
        (12345, "12,345"),
        (0.123456, "0.1235"),
        (float("nan"), "-"),
        (1234567.8, "1,234,568"),
        ("x", "x"),
    ],
)
def test_a_cell_is_read_by_a_person(value: object, said: str) -> None:
    assert cell(value) == said


def test_performance_says_where_the_model_has_seen_the_accounts(evaluated: Evaluation) -> None:
    for section in (performance_section, calibration_section):
        assert "fitted on these very accounts" in section(evaluated, seen=True).text[0]
        assert not any(
            "these very accounts" in paragraph for paragraph in section(evaluated, seen=False).text
        )


def test_no_curve_of_a_constrained_model_turns(evaluated: Evaluation) -> None:
    section = feature_curves_section(evaluated)
    table = section.shown[1].what
    assert isinstance(table, pl.DataFrame)
    assert table["curves that turn"].sum() == 0
    assert table["feature"].to_list() == importance(evaluated)["feature"].head(12).to_list()
    assert isinstance(section.shown[0].what, Figure)


@pytest.mark.parametrize(("direction", "turning"), [(1, 1), (-1, 2)])
def test_a_curve_that_turns_is_counted(direction: int, turning: int) -> None:
    """The control: rising, level, falling at the end."""
    assert (
        turns(np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.5]]), direction) == turning
    )


def test_frequencies_are_those_of_the_decisions(evaluated: Evaluation) -> None:
    told = [decision for decision in evaluated.stages.decisions if decision.reasons]
    table = frequencies(told)
    assert table["first"].sum() == pytest.approx(1.0)
    assert table["among"].sum() == pytest.approx(sum(len(d.reasons) for d in told) / len(told))
    firsts = [code for code in evaluated.first_reasons if code]
    assert table["reason"][0] == max(set(firsts), key=lambda code: firsts.count(code))


def test_nobody_is_cut_and_the_report_says_so(evaluated: Evaluation) -> None:
    kept = evaluate(
        "v1",
        evaluated.bundle,
        evaluated.hold_out.take(np.flatnonzero(evaluated.actions == "keep")[:5]),
    )
    assert reasons_section(kept, None).text == ("No limit is cut, so nobody is given a reason.",)
    assert advice_section(kept).text == ("No limit is cut.",)


def test_the_way_back_counts_everybody_once(evaluated: Evaluation) -> None:
    some = evaluate(
        "v1", evaluated.bundle, evaluated.hold_out.take(np.flatnonzero(evaluated.cut)[:12])
    )
    section = advice_section(some)
    assert section.text[0].startswith("Of 12 accounts")
    table = section.shown[0].what
    assert isinstance(table, pl.DataFrame)
    by_rule, restored = (int(re.match(r"\d+", text)[0]) for text in table["accounts"].to_list()[:2])  # type: ignore[index]
    assert by_rule + restored <= 12
