"""The page of the report and its sections."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure

from serving.decision.bundle import Bundle
from tests.support.each import each
from training.data.config import DataConfig
from training.data.dataset import Source
from training.evaluate.holdout import Evaluation, evaluate, select_hold_out
from training.release.report.advice import advice_section
from training.release.report.feature_curves import count_turning_curves, feature_curves_section
from training.release.report.model_card import measure_importance, model_card_section
from training.release.report.page import MAX_ROWS, Exhibit, Section, format_cell, render_page
from training.release.report.performance import calibration_section, performance_section
from training.release.report.reasons import measure_frequencies, reasons_section


@pytest.fixture(scope="module")
def evaluation(source: Source, simulated: Path, bundle: Bundle) -> Evaluation:
    """Every second account of the hold-out."""
    hold_out = select_hold_out(source, DataConfig(), simulated)
    places = np.arange(0, len(hold_out.label), 2)
    return evaluate("v1", bundle, hold_out.take(places))


class PageParser(HTMLParser):
    """The tags of a page, the addresses in them, and the tags that are open at the end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data"):
                self.addresses.append(value or "")
        # These have no end tag.
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def render_table(table: pl.DataFrame, caption: str = "A table.") -> str:
    """A page with one section and one table."""
    section = Section("A section", (), (Exhibit(caption, table),))
    return render_page("A title", [], [section])


def test_a_page_is_complete_and_loads_nothing(evaluation: Evaluation) -> None:
    sections = [
        model_card_section(evaluation),
        performance_section(evaluation, seen=False),
        reasons_section(evaluation, None),
    ]
    text = render_page("A title", ["about"], sections)
    parser = PageParser(text)
    assert parser.open == []
    assert not {"script", "link", "iframe", "object"} & set(parser.tags)
    for address in each(parser.addresses):
        assert address.startswith(("#", "data:image/"))
    assert "url(" not in text.split("</style>")[0]


def test_the_same_sections_give_the_same_page(evaluation: Evaluation) -> None:
    section = performance_section(evaluation, seen=False)
    assert render_page("A title", [], [section]) == render_page("A title", [], [section])


def test_content_is_escaped() -> None:
    table = pl.DataFrame({"<b>column": ["<script>alert(1)</script>", "`<i>`"]})
    section = Section("<h1>", ("<p>`<x>`",), (Exhibit('"quoted"', table),))
    text = render_page("<title>", ["&about"], [section])
    assert "<script" not in text
    assert "<code>&lt;x&gt;</code>" in text
    assert "&lt;script&gt;alert(1)" in text
    assert PageParser(text).open == []


def test_only_a_sentence_gets_a_wide_column() -> None:
    sentence = "Your use of the limit rose from 12 % to 101 %."
    text = render_table(pl.DataFrame({"share": ["32 %"], "reason": [sentence]}))
    assert '<td class="text">32 %</td>' in text
    assert f'<td class="text sentence">{sentence}</td>' in text


def test_a_long_table_states_that_it_is_cut() -> None:
    rows = MAX_ROWS + 5
    text = render_table(pl.DataFrame({"n": range(rows)}))
    assert f"The first {MAX_ROWS} of {rows} rows" in text
    assert "The first" not in render_table(pl.DataFrame({"n": range(MAX_ROWS)}))


@pytest.mark.parametrize(
    ("value", "text"),
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
def test_a_cell_is_formatted_for_a_reader(value: object, text: str) -> None:
    assert format_cell(value) == text


def test_performance_states_whether_the_model_was_fitted_on_the_accounts(
    evaluation: Evaluation,
) -> None:
    caveat = "fitted on these very accounts"
    for make_section in (performance_section, calibration_section):
        assert caveat in make_section(evaluation, seen=True).paragraphs[0]
        assert caveat not in " ".join(make_section(evaluation, seen=False).paragraphs)


def test_no_curve_of_a_constrained_model_turns(evaluation: Evaluation) -> None:
    section = feature_curves_section(evaluation)
    figure, table = (exhibit.content for exhibit in section.exhibits)
    assert isinstance(figure, Figure)
    assert isinstance(table, pl.DataFrame)
    assert table["curves that turn"].sum() == 0
    by_importance = measure_importance(evaluation)["feature"].to_list()
    assert table["feature"].to_list() == by_importance[:12]


@pytest.mark.parametrize(("direction", "turning"), [(1, 1), (-1, 2)])
def test_a_curve_that_turns_is_counted(direction: int, turning: int) -> None:
    """The control of the test above."""
    rising = [0.0, 1.0, 2.0]
    level = [1.0, 1.0, 1.0]
    falling_at_the_end = [0.0, 1.0, 0.5]
    log_odds = np.array([rising, level, falling_at_the_end])
    assert count_turning_curves(log_odds, direction) == turning


def test_frequencies_are_those_of_the_decisions(evaluation: Evaluation) -> None:
    explained = [decision for decision in evaluation.stages.decisions if decision.reasons]
    table = measure_frequencies(explained)
    mean_count = np.mean([len(decision.reasons) for decision in explained])
    assert table["first"].sum() == pytest.approx(1.0)
    assert table["among"].sum() == pytest.approx(mean_count)
    firsts = [code for code in evaluation.first_reasons if code]
    assert table["reason"][0] == max(set(firsts), key=firsts.count)


def test_without_a_cut_there_are_no_reasons_and_no_advice(evaluation: Evaluation) -> None:
    places = np.flatnonzero(evaluation.actions == "keep")[:5]
    kept = evaluate("v1", evaluation.bundle, evaluation.hold_out.take(places))
    no_reason = "No limit is cut, so no account gets a reason."
    assert reasons_section(kept, None) == Section("Reasons", (no_reason,))
    assert advice_section(kept) == Section("The way back", ("No limit is cut.",))


def test_advice_counts_each_account_once(evaluation: Evaluation) -> None:
    places = np.flatnonzero(evaluation.cut)[:12]
    cut = evaluate("v1", evaluation.bundle, evaluation.hold_out.take(places))
    section = advice_section(cut)
    assert section.paragraphs[0].startswith("The table covers 12 accounts")
    table = section.exhibits[0].content
    assert isinstance(table, pl.DataFrame)
    by_rule, restored = (int(text.split()[0]) for text in table["accounts"].to_list()[:2])
    assert by_rule + restored <= 12
