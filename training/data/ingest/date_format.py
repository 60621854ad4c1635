"""How the dates of a file are written, and their cells as dates.

The letters are those of Python's ``strptime``, which needs four digits for ``%Y``: the year of
``31/07/26`` is no year 26.
"""

from __future__ import annotations

import datetime
import re

_SAMPLE = datetime.datetime(2026, 8, 17)
# Letters of other programs, and what they stand for.
_SHORT_FORMS = {
    "%F": "%Y-%m-%d",
    "%D": "%m/%d/%y",
    "%e": "%d",
    "%h": "%b",
    "%R": "%H:%M",
    "%T": "%H:%M:%S",
}
_BUDDHIST_YEAR = "(?<![0-9])2[4-6][0-9]{2}(?![0-9])"
_DIRECTIVE = re.compile("%.")
_PADDING = re.compile("%[-_0](?=[A-Za-z])")  # "%-d"; strptime takes a day with and without it


def expand(form: str) -> str:
    """Return a format in strptime's letters.

    >>> expand("%F"), expand("%-d.%-m.%Y")
    ('%Y-%m-%d', '%d.%m.%Y')
    """
    expanded = _PADDING.sub("%", form)
    for short, long in _SHORT_FORMS.items():
        expanded = expanded.replace(short, long)
    return expanded


def has_year_and_month(form: str) -> bool:
    """Return whether a text in this format says a year and a month; False for unknown letters."""
    if "%Y" not in form and "%y" not in form:
        return False
    text = _write(form, _SAMPLE)
    day = parse(text, form)
    if day is None:
        return False
    return day.replace(day=1) == _SAMPLE.date().replace(day=1)


def parse(text: str, form: str) -> datetime.date | None:
    """Return the date, or None if the text is not written in this format.

    >>> parse("2026年8月", "%Y年%m月"), parse("20261", "%Y%m")
    (datetime.date(2026, 8, 1), None)
    """
    try:
        read = datetime.datetime.strptime(text, form)
    except ValueError:
        return None
    # Between letters without a separator a missing zero is ambiguous: of "2026111" January 11 and
    # November 1 are both readings.
    if re.search("%[A-Za-z]%", form):
        padded = _write(form, read)
        if padded.casefold() != text.casefold():
            return None
    return read.date()


def explain(text: str, form: str) -> str:
    """Return what may be wrong with a date that is refused; "" if nothing is known.

    >>> explain("2569-07", "%Y-%m")
    '2569 may be a year of the Buddhist calendar, which is 543 years ahead'
    """
    buddhist = re.search(_BUDDHIST_YEAR, text)
    if buddhist:
        year = buddhist[0]
        return f"{year} may be a year of the Buddhist calendar, which is 543 years ahead"
    if "%Y" not in form or re.search("[0-9]{4}", text):
        return ""
    minguo = re.search("[0-9]{3}", text)
    if minguo:
        year = minguo[0]
        return f"{year} may be a year of the Minguo calendar, which is 1911 years behind"
    return "%Y reads years of four digits, %y of two"


def _write(form: str, moment: datetime.datetime) -> str:
    # Letter by letter: strftime may fail for characters between them, depending on the locale.
    return _DIRECTIVE.sub(lambda letter: moment.strftime(letter[0]), form)
