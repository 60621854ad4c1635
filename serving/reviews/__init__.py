"""A person's reconsideration of a decision.

workflow   the states of a review, derived from its rows
service    the steps: open, start, withdraw, resolve, notify
recorded   a recorded decision as the input of its decision
queries    what is read: decisions, reviews, due notices, due accounts
due        the accounts to decide on again
notice     the notice of the outcome to the customer
in_force   what an outcome changes of the limit in force
errors     refusals
"""
