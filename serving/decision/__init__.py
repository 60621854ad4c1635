"""The decision, without network, clock or environment.  Read
:func:`serving.decision.pipeline.decide_many` first.

scoring     log-odds and exact contributions
policy      action and new limit
reasons     the principal reasons, and their sentences
advice      the plan that restores the limit
notice      what the customer is told
config      the TOML files that a lender edits, and their readers
bundle      the folder with all that a decision needs; golden loads and verifies it
pipeline    the stages in order; result is what comes out
"""
