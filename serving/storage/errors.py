"""Errors of the database."""

from __future__ import annotations


class StorageError(Exception):
    """The audit log cannot be used: the message says what was expected, found, and what to do."""
