"""The database, shared by the audit log and the API keys.

settings     where the database and its files are
database     connections and transactions
open_file    whether the open SQLite file is the one at its path
tables       tables and migrations
lists        the rows that lists show, kept by triggers
read_pools   the threads that read
driver_sql   SQL on the driver's own cursor
timestamps   UTC times as text
errors       StorageError
models       the bundles in BentoML's model store
"""
