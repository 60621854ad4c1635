"""Other spellings of an unknown account that the audit log has."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

import sqlalchemy as sa

from serving.audit_log.privacy.key_file import Secrets
from serving.storage.database import Database
from serving.storage.tables import people

_MAX_DIGITS = 20  # of a number that zeros are added to
_SEPARATORS = re.compile(r"[\s_./-]")
_NUMBER_AT_END = re.compile(r"(.*?)(\d+)", re.DOTALL)


def find_near(
    database: Database,
    secrets: Secrets,
    tenants: Iterable[str],
    account: str,
) -> list[tuple[str, str]]:
    """The tenant and the name of each account that differs in its spelling only, or in the tenant.

    The database has no names, only their keyed hashes: spellings are tried. Digits are not, because
    an account with another number is another customer.
    """
    names = [account, *spellings(account)]
    by_hash: dict[str, tuple[str, str]] = {}
    for tenant in tenants:
        for name in names:
            hashes = secrets.account_hashes(tenant, name)
            for one in hashes.values():
                by_hash[one] = tenant, name
    tried = list(by_hash)
    query = sa.select(people.c.account).where(people.c.account.in_(tried))
    with database.reading() as connection:
        found = connection.scalars(query).all()
    near = {by_hash[one] for one in found}
    return sorted(near)


def spellings(account: str) -> list[str]:
    """Other spellings of a name: zeros in front of its number, case, blanks, separators, width.

    >>> "0000599" in spellings("599"), "599" in spellings("0000599.0"), "a-7" in spellings("A-07 ")
    (True, True, True)
    >>> "598" in spellings("599")
    False
    """
    plain = unicodedata.normalize("NFKC", account).strip()
    bases = {
        plain,
        # A spreadsheet turns 599 into 599.0.
        plain.removesuffix(".0"),
        _SEPARATORS.sub("", plain),
    }
    every = {account.strip()}
    for base in bases:
        for numbered in _with_other_zeros(base):
            every.add(numbered)
            every.add(numbered.upper())
            every.add(numbered.lower())
    every -= {account, ""}
    return sorted(every)


def _with_other_zeros(name: str) -> Iterator[str]:
    yield name
    parts = _NUMBER_AT_END.fullmatch(name)
    if parts is None:
        return
    letters, number = parts.groups()
    digits = number.lstrip("0") or "0"
    widths = range(len(digits), _MAX_DIGITS + 1)
    for width in widths:
        yield letters + digits.zfill(width)
