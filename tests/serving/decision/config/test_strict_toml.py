from __future__ import annotations

import datetime
import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.decision.config.strict_toml import (
    ANY_NUMBER,
    NOT_NEGATIVE,
    SHARE,
    ConfigError,
    Interval,
    Section,
    read_toml,
)

# Values of every TOML type, NaN and both infinities among the numbers.
values = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.dates(),
    st.lists(st.integers()),
    st.dictionaries(st.text(), st.integers()),
)


@dataclass(frozen=True)
class Settings:
    months: int
    share: float

    def __post_init__(self) -> None:
        if self.months == 13:
            raise ValueError("expected months other than 13")


def fill(text: str) -> Settings:
    with read_toml(text, "some.toml") as top:
        return top.section("a").fill(Settings, {"share": SHARE})


@given(values)
def test_a_number_is_a_finite_number_within_its_interval(value: object) -> None:
    for interval in (ANY_NUMBER, NOT_NEGATIVE, SHARE, Interval(0, 1, True, True)):
        section = Section({"x": value})
        if isinstance(value, int | float) and type(value) is not bool and value in interval:
            assert section.number("x", interval) == value
        else:
            with pytest.raises(ConfigError, match="x: expected a"):
                section.number("x", interval)


@given(st.floats())
def test_an_interval_contains_finite_numbers_between_its_ends(number: float) -> None:
    assert (number in Interval(-1, 2)) == (-1 <= number <= 2)
    assert (number in Interval(-1, 2, excludes_low=True)) == (-1 < number <= 2)
    assert (number in Interval(-1, 2, excludes_high=True)) == (-1 <= number < 2)
    assert (number in Interval()) == math.isfinite(number)


@given(values)
def test_a_whole_number_is_no_float_and_no_boolean(value: object) -> None:
    section = Section({"x": value})
    if type(value) is int and 0 <= value <= 9:
        assert section.whole("x", Interval(0, 9)) == value
    else:
        with pytest.raises(ConfigError, match="expected a whole number from 0 to 9"):
            section.whole("x", Interval(0, 9))


@given(values)
def test_a_text_is_not_blank(value: object) -> None:
    section = Section({"x": value})
    if isinstance(value, str) and value.strip():
        assert section.text("x") == value
    else:
        with pytest.raises(ConfigError, match="x: expected a text"):
            section.text("x")


def test_a_label_may_be_a_number_or_a_date() -> None:
    for text, label in (('"2026-11.3"', "2026-11.3"), ("3", "3"), ("2026-11-01", "2026-11-01")):
        assert read_toml(f"version = {text}", "some.toml").label("version") == label
    for text in ("true", '" "', "[1]"):
        with pytest.raises(ConfigError, match="version: expected a text, a number or a date, got"):
            read_toml(f"version = {text}", "some.toml").label("version")


def test_a_number_with_too_many_digits_is_refused() -> None:
    with pytest.raises(ConfigError, match="x: expected a finite number"):
        read_toml(f"x = 1{'0' * 400}", "some.toml").number("x")


def test_an_error_names_file_section_and_key() -> None:
    top = read_toml("[a.b]\nx = 1\n[[c]]\nd = {y = 2}", "some.toml")
    with pytest.raises(ConfigError, match=r"^some\.toml: \[a\.b\] x: expected a text, got 1$"):
        top.section("a").section("b").text("x")
    with pytest.raises(ConfigError, match=r"^some\.toml: \[c\[0\]\.d\] y: expected a text, got 2$"):
        top.tables("c")[0].section("d").text("y")
    with pytest.raises(ConfigError, match=r"^some\.toml: z: expected a text, got 3$"):
        read_toml("z = 3", "some.toml").text("z")
    with pytest.raises(ConfigError, match=r"^some\.toml: expected TOML: "):
        read_toml("z = ", "some.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("left = 1", r"^t: unknown key 'left'"),
        ("[a]\nx = 1\nleft = 1", r"^t: \[a\]: unknown key 'left', expected \['margin', 'x'\]$"),
        ("[a]\nx = 1\nmargn = 1", r"^t: \[a\]: unknown key 'margn', did you mean 'margin'\?$"),
        ("[[b]]\n[[b]]\nleft = 1", r"^t: \[b\[1\]\]: unknown key 'left'"),
    ],
)
def test_a_key_that_is_not_read_is_refused_at_every_depth(text: str, message: str) -> None:
    top = read_toml(text, "t")
    section = top.section("a", optional=True)
    section.number("x", default=0.0)
    section.number("margin", default=0.0)
    top.tables("b", ())
    with pytest.raises(ConfigError, match=message):
        top.close()


def test_an_error_inside_the_block_is_not_hidden_by_unread_keys() -> None:
    with (
        pytest.raises(ConfigError, match="x: expected a text"),
        read_toml("x = 1\ny = 2", "") as top,
    ):
        top.text("x")


def test_a_missing_key_is_named_with_its_misspelling() -> None:
    with pytest.raises(ConfigError, match=r"missing key 'margin'$"):
        Section({"months": 1}).number("margin")
    with pytest.raises(ConfigError, match="missing key 'margin'; is 'margn' a misspelling of it"):
        Section({"margn": 1}).number("margin")
    # A similar key that is read elsewhere is no misspelling.
    section = Section({"margins": 1})
    section.number("margins")
    with pytest.raises(ConfigError, match=r"missing key 'margin'$"):
        section.number("margin")


def test_a_default_is_for_an_absent_key_alone() -> None:
    assert Section({}).number("x", default=0.5) == 0.5
    assert Section({}).text("x", "") == ""
    assert Section({}).texts("x", ()) == ()
    assert Section({}).optional_number("x") is None
    assert Section({}).number_map("x") is None
    assert Section({}).text_map("x") is None
    assert Section({}).tables("x", ()) == []
    with pytest.raises(ConfigError, match="x: expected a finite number, got 'a'"):
        Section({"x": "a"}).number("x", default=0.5)


def test_lists_and_maps_check_each_item() -> None:
    section = Section({"n": [0, 0.5], "t": ["a"], "m": {"a": 1}, "w": {"a": "up"}})
    assert section.numbers("n", SHARE) == (0.0, 0.5)
    assert section.texts("t") == ("a",)
    assert section.number_map("m") == {"a": 1.0}
    assert section.text_map("w", ("up", "down")) == {"a": "up"}
    with pytest.raises(ConfigError, match="n: expected a number from 0 to 1, got 2"):
        Section({"n": [0, 2]}).numbers("n", SHARE)
    with pytest.raises(ConfigError, match="n: expected a list of numbers"):
        Section({"n": []}).numbers("n")
    with pytest.raises(ConfigError, match="n: expected a list of whole numbers"):
        Section({"n": [1, True]}).wholes("n")
    with pytest.raises(ConfigError, match=r"m\.a: expected a finite number, got nan"):
        Section({"m": {"a": math.nan}}).number_map("m")
    with pytest.raises(ConfigError, match=r"w\.a: expected one of \['up', 'down'\], got 'left'"):
        Section({"w": {"a": "left"}}).text_map("w", ("up", "down"))


def test_choices_flags_and_months() -> None:
    section = Section({"c": "up", "f": True, "m": "2005-09"})
    assert section.choice("c", ("up", "down")) == "up"
    assert section.flag("f") is True
    assert section.month("m") == datetime.date(2005, 9, 1)
    with pytest.raises(ConfigError, match="c: expected one of"):
        Section({"c": "left"}).choice("c", ("up", "down"))
    with pytest.raises(ConfigError, match="c: expected one of"):
        Section({"c": True}).choice("c", (1, 2))
    with pytest.raises(ConfigError, match="f: expected true or false, got 1"):
        Section({"f": 1}).flag("f")
    for month in ("2005-13", "2005", 200509, "September"):
        with pytest.raises(ConfigError, match="m: expected a month"):
            Section({"m": month}).month("m")


def test_sections_below_may_be_limited_to_known_names() -> None:
    section = Section({"balance": {}, "spend": {}})
    with pytest.raises(ConfigError, match="unknown key 'spend', expected"):
        section.sections(("balance", "payment"))
    assert list(section.sections()) == ["balance", "spend"]
    with pytest.raises(ConfigError, match="x: expected a table, got 1"):
        Section({"x": 1}).sections()
    with pytest.raises(ConfigError, match="x: expected a list of tables, got 1"):
        Section({"x": [{}, 1]}).tables("x")


def test_a_dataclass_is_filled_by_name_and_type() -> None:
    assert fill("[a]\nmonths = 3\nshare = 1") == Settings(3, 1.0)
    for text, message in (
        ("months = 3.0\nshare = 1", "months: expected a whole number of at least 0"),
        ("months = 3\nshare = 1.5", "share: expected a number from 0 to 1"),
        ("months = 3", "missing key 'share'"),
        ("months = 3\nshare = 1\nshares = 1", "unknown key 'shares', did you mean 'share'"),
        ("months = 13\nshare = 1", r"some\.toml: \[a\]: expected months other than 13"),
    ):
        with pytest.raises(ConfigError, match=message):
            fill(f"[a]\n{text}")
