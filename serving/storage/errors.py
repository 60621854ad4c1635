"""Errors of the database."""

from __future__ import annotations


class StorageError(Exception):
    """The record cannot be used as it is: says what was expected, what was found and what to do."""
