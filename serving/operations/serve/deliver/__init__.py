"""Delivers the events of the outbox to the lender's apps, as webhooks: a process of its own.

endpoints  who is told of what, from a TOML file
outbox     the events in the audit log's database, and what became of each
message    an event's id, body and signed headers (Standard Webhooks)
sender     one attempt over HTTP, and what its answer means
schedule   which event goes next: each account's in order, with back-off
deliverer  the loop of one endpoint
"""
