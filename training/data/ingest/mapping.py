"""The mapping file: how a foreign CSV becomes statements.

TOML; docs/modelling/ingest.md describes every key.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from features.schema import COLUMNS, PRODUCTS
from serving.decision.config.strict_toml import ConfigError, Interval, Section, read_toml

MAPPINGS = Path(__file__).parent / "mappings"  # the mappings that belong to this project
Format = Literal["wide", "long"]
_FORMATS: tuple[Format, ...] = get_args(Format)
_WIDTHS = Interval(0, 100)  # of an account number, in characters
# statement column -> how it may be derived
RECIPES: Mapping[str, tuple[str, ...]] = {"spend": ("balance_and_payment",)}
ATTRIBUTES = ("opened", "age_band", "gender", "region")  # of the accounts table; never features
_MAPPED = tuple(c.name for c in COLUMNS if c.kind in ("amount", "whole_number"))
_NEEDED = tuple(c.name for c in COLUMNS if c.name in _MAPPED and c.null == "never")


class IngestError(ValueError):
    """Foreign data that cannot be used: the file, where in it, what was expected, what came, and
    the first accounts.
    """


@dataclass(frozen=True, slots=True)
class AccountName:
    """account_id = ``prefix`` + the cell, which is filled with zeros from the left to ``width``
    characters.
    """

    column: str
    prefix: str
    width: int


@dataclass(frozen=True, slots=True)
class Dates:
    """A column of dates, written in ``format`` (strftime's letters)."""

    column: str
    format: str


@dataclass(frozen=True, slots=True)
class Words:
    """A column of words: ``values`` cell -> word, None = as they stand; or, with ``bands``, whole
    numbers put into bands.
    """

    column: str
    values: Mapping[str, str] | None
    bands: tuple[int, ...] = ()  # where each begins, rising; the last has no end


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a statement column comes from, all in the source's own unit."""

    # one source column, the same in every month; or, wide only, one a month, oldest first
    columns: tuple[str, ...]
    values: Mapping[str, float] | None = None  # cell -> number; None = the cell is the number
    scale: float = 1.0  # what the number is multiplied by
    low: float | None = None  # what comes out below is raised to this
    high: float | None = None  # what comes out above is lowered to this


@dataclass(frozen=True, slots=True)
class Label:
    """The outcome that the source brings.

    ``as_of`` None (long only): each labelled row's own month.
    """

    column: str
    definition: str
    as_of: datetime.date | None
    values: Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A mapping file, read.

    ``rate`` is the CNY for one unit of ``currency``; amounts are multiplied by it last of all.
    """

    file: Path
    sha256: str
    source: str
    format: Format
    separator: str
    unknown: frozenset[str]  # cells that mean unknown; the empty cell is always one
    account: AccountName
    product: str | Words
    currency: str
    rate: float
    rate_source: str
    months: tuple[datetime.date, ...]  # wide: oldest first; long: none
    month: Dates | None  # long only
    columns: Mapping[str, Origin]
    derived: Mapping[str, str]
    label: Label | None
    attributes: Mapping[str, Dates | Words]

    def sources(self) -> Iterator[tuple[str, str]]:
        """(section, source column) for every column that the CSV must have."""
        yield "account", self.account.column
        if isinstance(self.product, Words):
            yield "product", self.product.column
        if self.month is not None:
            yield "months", self.month.column
        for name, origin in self.columns.items():
            yield from ((f"columns.{name}", source) for source in origin.columns)
        if self.label is not None:
            yield "label", self.label.column
        yield from (
            (f"accounts.{name}", attribute.column) for name, attribute in self.attributes.items()
        )


def read_mapping(file: Path) -> Plan:
    """The plan that a mapping file states.

    Raises :class:`IngestError` naming the file, the section and the key: no such file, no TOML, a
    key that is missing, unknown or of the wrong type, a statement column that does not exist or
    that must be mapped and is not.

    >>> plan = read_mapping(MAPPINGS / "uci_taiwan.toml")
    >>> plan.columns["balance"].columns[-1], plan.months[-1]
    ('BILL_AMT1', datetime.date(2005, 9, 1))
    """
    try:
        content = file.read_bytes()
        top = read_toml(content.decode(), str(file))
        return _plan(file, hashlib.sha256(content).hexdigest(), top)
    except OSError as error:
        raise IngestError(f"{file}: expected a mapping file: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise IngestError(f"{file}: expected TOML: {error}") from None
    except ConfigError as error:
        raise IngestError(str(error)) from None


def _plan(file: Path, sha256: str, top: Section) -> Plan:
    source, account, currency = (
        top.section("source"),
        top.section("account"),
        top.section("currency"),
    )
    form = source.choice("format", _FORMATS)
    months, month = _months(top.section("months"), form)
    plan = Plan(
        file=file,
        sha256=sha256,
        source=source.text("name"),
        format=form,
        separator=_separator(source),
        unknown=frozenset({"", *(cell.strip() for cell in source.texts("unknown", ()))}),
        account=AccountName(
            account.text("column"), account.text("prefix", ""), account.whole("width", _WIDTHS, 0)
        ),
        product=_product(top.section("product")),
        currency=currency.text("code"),
        rate=currency.number("rate", Interval(0, excludes_low=True)),
        rate_source=currency.text("source"),
        months=months,
        month=month,
        columns={
            name: _origin(section, len(months))
            for name, section in top.section("columns", optional=True).sections(_MAPPED).items()
        },
        derived=_derived(top.section("derived", optional=True)),
        label=_label(top.section("label"), months) if "label" in top else None,
        attributes={
            name: _attribute(name, section)
            for name, section in top.section("accounts", optional=True).sections(ATTRIBUTES).items()
        },
    )
    top.close()
    if unmapped := [name for name in _NEEDED if name not in plan.columns]:
        raise ConfigError(
            f"{file}: [columns]: expected {list(_NEEDED)} at least, missing {unmapped}"
        )
    if twice := sorted(plan.columns.keys() & plan.derived.keys()):
        raise ConfigError(
            f"{file}: [derived]: {twice} are in [columns] too; expected one of the two"
        )
    return plan


def _separator(source: Section) -> str:
    separator = source.text("separator", ",")
    if len(separator) != 1 or not separator.isascii() or separator in '"\r\n':
        raise source.error("separator", "one ASCII character that is no quote", separator)
    return separator


def _months(section: Section, form: Format) -> tuple[tuple[datetime.date, ...], Dates | None]:
    if form == "long":
        return (), Dates(section.text("column"), section.text("format", "%Y-%m-%d"))
    first, last = section.month("first"), section.month("last")
    numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    if not 1 <= len(numbers) <= 1200:
        raise section.error("last", f"1 to 1200 months from {first:%Y-%m} on", f"{last:%Y-%m}")
    return tuple(datetime.date(number // 12, number % 12 + 1, 1) for number in numbers), None


def _product(section: Section) -> str | Words:
    if "constant" in section:
        return section.choice("constant", PRODUCTS)
    return Words(
        section.text("column"),
        section.text_map("values", PRODUCTS) or {p: p for p in PRODUCTS},
    )


def _origin(section: Section, months: int) -> Origin:
    columns: tuple[str, ...]
    if "columns" in section:
        columns = section.texts("columns")
        if len(columns) != months:
            expected = (
                f"{months} columns, one a month, oldest first"
                if months
                else "'column' (the format is long)"
            )
            raise section.error("columns", expected, f"{len(columns)}: {list(columns)}")
    else:
        columns = (section.text("column"),)
    values, scale = section.number_map("values"), section.number("scale", default=1.0)
    low, high = section.optional_number("low"), section.optional_number("high")
    if low is not None and high is not None and low > high:
        raise section.error("low", f"at most high, {high:g}", low)
    return Origin(columns, values, scale, low, high)


def _derived(section: Section) -> dict[str, str]:
    return {name: section.choice(name, among) for name, among in RECIPES.items() if name in section}


def _label(section: Section, months: tuple[datetime.date, ...]) -> Label:
    as_of = section.month("as_of") if months or "as_of" in section else None
    if as_of is not None and months and as_of not in months:
        raise section.error(
            "as_of", f"a month from {months[0]:%Y-%m} to {months[-1]:%Y-%m}", f"{as_of:%Y-%m}"
        )
    return Label(
        section.text("column"), section.text("definition"), as_of, section.number_map("values")
    )


def _attribute(name: str, section: Section) -> Dates | Words:
    column = section.text("column")
    if name == "opened":
        return Dates(column, section.text("format", "%Y-%m-%d"))
    bands = section.wholes("bands", ())
    if list(bands) != sorted(set(bands)):
        raise section.error("bands", "whole numbers in rising order", list(bands))
    values = section.text_map("values")
    if bands and values is not None:
        raise section.error("bands", "either 'bands' or 'values'", "both")
    return Words(column, values, bands)
