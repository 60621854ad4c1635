"""The durable record: what was decided, from which data, by which model, for which reasons, for
whom it was answered.

    drafts -> sealed under the person's key -> chained -> committed and durable -> only then
    answered

One table, ``entries``, that only grows: a decision, a review of it, its resolution, a notification
and an erasure are each a row, and a correction is a new one.  Every row carries the hash of the row
before it; signed checkpoints of that chain stand outside the database.  What could name a person
stands in a row only sealed under a key of that person's own, so that a person is erased by
destroying their key, and the chain still verifies.

Rooms: ``entry`` (what a row says), ``tables`` (how it lies in the database), ``database`` (opened
so that a commit is durable, or refused), ``secrets`` and ``people`` (who can read what), ``chain``
and ``checkpoints`` (that nothing was changed), ``writer`` (one thread, group commit), ``reader``,
and ``record``, which the service holds.
"""
