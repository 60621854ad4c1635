"""Copies of the audit log, and the audit log from a copy; both are verified before they are kept.

commands    backup and restore, as the command line calls them
sqlite      copies of the embedded database, by SQLite itself
postgresql  dumps of a PostgreSQL, by its own programs
verified    what a copy has to hold
"""
