"""The audit log: durable, append-only records of every decision and of what followed it.

    new entries -> encrypted per data subject -> hash-chained -> committed -> only then answered

Decisions, reviews, resolutions, notifications and erasures are each a row of one table; a
correction is a new row. Each row holds the hash of the row before it, and signed checkpoints of
that chain are kept in a file outside the database. Personal data is stored only encrypted under a
key of that data subject: deleting the key erases the person, and the chain still verifies.

entry         what an entry holds
log           AuditLog: append and read, for the service's event loop
writer        one thread that commits entries in batches; committer holds its database work
reader, rows  queries; entries to rows of the table and back
hash_chain, checkpoints, verify    evidence that nothing was changed
privacy       encryption per data subject
erasure       deletes encryption keys, on request or after the retention period
errors        why an entry was not stored
"""
