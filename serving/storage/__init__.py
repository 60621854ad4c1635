"""The database, shared by the audit log and the API keys.

settings     where it is
database     connections and transactions
tables       tables and migrations
driver_sql   SQL on the driver's own cursor
timestamps, errors
models       the bundles in BentoML's model store
"""
