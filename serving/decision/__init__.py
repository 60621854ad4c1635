"""The decision, without network, clock or environment.

Read :func:`serving.decision.pipeline.stages` first.

scoring     log-odds and exact contributions
policy      action and new limit
reasons     the principal reasons, and their sentences
advice      the plan that restores the limit
notice      the notice to the customer
config      the TOML files that a lender edits, and their readers
bundle      the folder with everything that a decision needs; golden loads and verifies it
pipeline    the stages in order, with the types of result
"""
