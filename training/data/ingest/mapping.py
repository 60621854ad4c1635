"""The mapping file: how a foreign CSV becomes statements.

A TOML file; docs/modelling/ingest.md describes every key.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from features.months import add_months, months_between
from features.schema import COLUMNS, PRODUCTS
from serving.decision.config.strict_toml import ConfigError, Interval, Section, read_toml
from training.data.ingest import date_format
from training.data.ingest.number_format import NumberFormat

MAPPINGS = Path(__file__).parent / "mappings"  # the project's own mappings
Format = Literal["wide", "long"]
Months = tuple[datetime.date, ...]
_FORMATS: tuple[Format, ...] = get_args(Format)
_WIDTHS = Interval(0, 100)  # of an account number, in characters
_RATES = Interval(0, excludes_low=True)
_MOST_MONTHS = 1200
# How statement columns may be derived.
RECIPES: Mapping[str, tuple[str, ...]] = {
    "spend": ("balance_and_payment",),
}
ATTRIBUTES = ("opened", "age_band", "gender", "region")  # of the accounts table; never features
_MEASURED = tuple(column for column in COLUMNS if column.kind in ("amount", "whole_number"))
_MAPPED = tuple(column.name for column in _MEASURED)
_NEEDED = tuple(column.name for column in _MEASURED if column.null == "never")


class IngestError(ValueError):
    """Foreign data cannot be used.

    The message names the file and the place in it, what was expected, what came, and the first
    accounts.
    """


@dataclass(frozen=True, slots=True)
class AccountName:
    """How an account_id is made: ``prefix``, then the cell."""

    column: str
    prefix: str
    width: int  # characters; a shorter cell is filled with zeros from the left


@dataclass(frozen=True, slots=True)
class Dates:
    """A column of dates."""

    column: str
    format: str  # in strptime's letters


@dataclass(frozen=True, slots=True)
class Words:
    """A column of words, or of whole numbers that become bands such as ``25-34``."""

    column: str
    values: Mapping[str, str] | None  # cell -> word; None = the cell is the word
    bands: tuple[int, ...] = ()  # start of each band, rising; the last band has no end


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of a statement column; numbers are in the source's own unit."""

    # One source column for every month; or, in wide files only, one a month, oldest first.
    columns: tuple[str, ...]
    values: Mapping[str, float] | None = None  # cell -> number; None = the cell is the number
    scale: float = 1.0  # factor of the number
    low: float | None = None  # lower bound: smaller results become this
    high: float | None = None  # upper bound: larger results become this


@dataclass(frozen=True, slots=True)
class Label:
    """The outcome that the source contains."""

    column: str
    definition: str  # in words
    as_of: datetime.date | None  # None = each row's own month; long files only
    values: Mapping[str, float] | None  # cell -> 0 or 1; None = the cell is the number


@dataclass(frozen=True, slots=True)
class Plan:
    """The content of a mapping file."""

    file: Path
    sha256: str
    source: str
    format: Format
    separator: str
    number_format: NumberFormat
    unknown: frozenset[str]  # cells that mean unknown, the empty cell included
    account: AccountName
    product: str | Words
    currency: str
    rate: float  # CNY for one unit of currency; amounts are multiplied by it last of all
    rate_source: str
    months: Months  # wide: oldest first; long: none
    month: Dates | None  # long only
    columns: Mapping[str, Origin]
    derived: Mapping[str, str]  # statement column -> recipe
    label: Label | None
    attributes: Mapping[str, Dates | Words]

    def sources(self) -> Iterator[tuple[str, str]]:
        """Yield (section, source column) for every column that the CSV must have."""
        yield "account", self.account.column
        if isinstance(self.product, Words):
            yield "product", self.product.column
        if self.month is not None:
            yield "months", self.month.column
        for name, origin in self.columns.items():
            for source in origin.columns:
                yield f"columns.{name}", source
        if self.label is not None:
            yield "label", self.label.column
        for name, attribute in self.attributes.items():
            yield f"accounts.{name}", attribute.column


def read_mapping(file: Path) -> Plan:
    """Read a mapping file.

    Raises :class:`IngestError`, naming the file, the section and the key, if the file is missing or
    not TOML, if a key is missing, unknown or of the wrong type, and for a statement column that
    does not exist or that has to be mapped and is not.

    >>> plan = read_mapping(MAPPINGS / "uci_taiwan.toml")
    >>> plan.columns["balance"].columns[-1], plan.months[-1]
    ('BILL_AMT1', datetime.date(2005, 9, 1))
    """
    try:
        content = file.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        top = read_toml(content.decode(), str(file))
        return _plan(file, sha256, top)
    except OSError as error:
        raise IngestError(f"{file}: expected a mapping file: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise IngestError(f"{file}: expected TOML: {error}") from None
    except ConfigError as error:
        raise IngestError(str(error)) from None


def _plan(file: Path, sha256: str, top: Section) -> Plan:
    source = top.section("source")
    account = top.section("account")
    currency = top.section("currency")
    form = source.choice("format", _FORMATS)
    months, month = _months(top.section("months"), form)
    plan = Plan(
        file=file,
        sha256=sha256,
        source=source.text("name"),
        format=form,
        separator=_separator(source),
        number_format=_number_format(top.section("numbers", optional=True)),
        unknown=_unknown_cells(source),
        account=AccountName(
            column=account.text("column"),
            prefix=account.text("prefix", ""),
            width=account.whole("width", _WIDTHS, 0),
        ),
        product=_product(top.section("product")),
        currency=currency.text("code"),
        rate=currency.number("rate", _RATES),
        rate_source=currency.text("source"),
        months=months,
        month=month,
        columns=_columns(top.section("columns", optional=True), len(months)),
        derived=_derived(top.section("derived", optional=True)),
        label=_label(top.section("label"), months) if "label" in top else None,
        attributes=_attributes(top.section("accounts", optional=True)),
    )
    top.close()
    _check_columns(plan)
    return plan


def _check_columns(plan: Plan) -> None:
    """Raise if a needed column is not mapped, or if one is both mapped and derived."""
    missing = [name for name in _NEEDED if name not in plan.columns]
    if missing:
        needed = list(_NEEDED)
        raise ConfigError(f"{plan.file}: [columns]: expected {needed} at least, missing {missing}")
    both = plan.columns.keys() & plan.derived.keys()
    if both:
        twice = sorted(both)
        raise ConfigError(
            f"{plan.file}: [derived]: {twice} are in [columns] too; expected one of the two"
        )


def _unknown_cells(source: Section) -> frozenset[str]:
    # Stripped, because the cells are stripped before they are compared.
    stripped = [cell.strip() for cell in source.texts("unknown", ())]
    return frozenset(["", *stripped])


def _separator(source: Section) -> str:
    separator = source.text("separator", ",")
    # The limits of Python's csv and of Polars, which both read the file.
    is_character = len(separator) == 1 and separator.isascii()
    if not is_character or separator in '"\r\n':
        expected = "one ASCII character that is no quote"
        raise source.error("separator", expected, separator)
    return separator


def _months(section: Section, form: Format) -> tuple[Months, Dates | None]:
    """Return (the months of a wide file, the month column of a long one)."""
    if form == "long":
        return (), _dates(section)
    first = section.month("first")
    last = section.month("last")
    count = months_between(first, last) + 1
    if not 1 <= count <= _MOST_MONTHS:
        expected = f"1 to {_MOST_MONTHS} months from {first:%Y-%m} on"
        raise section.error("last", expected, f"{last:%Y-%m}")
    months = [add_months(first, month) for month in range(count)]
    return tuple(months), None


def _number_format(section: Section) -> NumberFormat:
    is_declared = "decimal" in section or "thousands" in section
    thousands = section.text("thousands", "")
    default = "."
    if thousands == ".":
        default = ","
    decimal = section.text("decimal", default)
    currency_sign = section.text("currency_sign", "")
    currency_sign = currency_sign.strip()
    if decimal not in (".", ","):
        raise section.error("decimal", "'.' or ','", decimal)
    is_mark = len(thousands) <= 1 and not thousands.isalnum()
    if not is_mark or thousands in ("+", "-", decimal):
        expected = "one character that is no letter, digit or sign, and not the decimal mark"
        raise section.error("thousands", expected, thousands)
    if re.search("[0-9+.,-]", currency_sign):
        raise section.error("currency_sign", "a text without digits and marks", currency_sign)
    return NumberFormat(
        decimal=decimal,
        thousands=thousands,
        currency_sign=currency_sign,
        is_declared=is_declared,
    )


def _dates(section: Section) -> Dates:
    column = section.text("column")
    written = section.text("format", "%Y-%m-%d")
    form = date_format.expand(written)
    if not date_format.has_year_and_month(form):
        expected = "a format with a year and a month, such as '%Y-%m-%d' or '%Y年%m月'"
        raise section.error("format", expected, written)
    return Dates(column, form)


def _product(section: Section) -> str | Words:
    if "constant" in section:
        return section.choice("constant", PRODUCTS)
    column = section.text("column")
    values = section.text_map("values", PRODUCTS)
    if not values:
        # The cells have to be the products' own names; another word is refused, not passed on.
        values = {product: product for product in PRODUCTS}
    return Words(column, values)


def _columns(section: Section, months: int) -> dict[str, Origin]:
    columns = {}
    for name, origin in section.sections(_MAPPED).items():
        columns[name] = _origin(origin, months)
    return columns


def _origin(section: Section, months: int) -> Origin:
    columns = _origin_columns(section, months)
    values = section.number_map("values")
    scale = section.number("scale", default=1.0)
    low = section.optional_number("low")
    high = section.optional_number("high")
    # Checked here, because clip() takes crossed bounds without an error.
    if low is not None and high is not None and low > high:
        raise section.error("low", f"at most high, {high:g}", low)
    return Origin(
        columns,
        values=values,
        scale=scale,
        low=low,
        high=high,
    )


def _origin_columns(section: Section, months: int) -> tuple[str, ...]:
    if "columns" not in section:
        return (section.text("column"),)
    columns: tuple[str, ...] = section.texts("columns")
    if len(columns) != months:
        expected = "'column' (the format is long)"
        if months:
            expected = f"{months} columns, one a month, oldest first"
        got = f"{len(columns)}: {list(columns)}"
        raise section.error("columns", expected, got)
    return columns


def _derived(section: Section) -> dict[str, str]:
    recipes = {}
    for name, choices in RECIPES.items():
        if name in section:
            recipes[name] = section.choice(name, choices)
    return recipes


def _label(section: Section, months: Months) -> Label:
    # A wide file has one outcome an account, so it has to say at which month.
    as_of = None
    if months or "as_of" in section:
        as_of = section.month("as_of")
    if as_of is not None and months and as_of not in months:
        first, last = months[0], months[-1]
        expected = f"a month from {first:%Y-%m} to {last:%Y-%m}"
        raise section.error("as_of", expected, f"{as_of:%Y-%m}")
    return Label(
        column=section.text("column"),
        definition=section.text("definition"),
        as_of=as_of,
        values=section.number_map("values"),
    )


def _attributes(section: Section) -> dict[str, Dates | Words]:
    attributes = {}
    for name, attribute in section.sections(ATTRIBUTES).items():
        attributes[name] = _attribute(name, attribute)
    return attributes


def _attribute(name: str, section: Section) -> Dates | Words:
    if name == "opened":
        return _dates(section)
    column = section.text("column")
    bands = section.wholes("bands", ())
    if list(bands) != sorted(set(bands)):
        raise section.error("bands", "whole numbers in rising order", list(bands))
    values = section.text_map("values")
    if bands and values is not None:
        raise section.error("bands", "either 'bands' or 'values'", "both")
    return Words(column, values, bands)
