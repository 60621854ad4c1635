"""A portfolio and the audit log: what it says of the accounts, and what a run stores in it."""
