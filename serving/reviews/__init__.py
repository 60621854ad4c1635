"""A person's reconsideration of a decision.

workflow   the states of a review, derived from its rows
service    the operations: ask for, take, resolve, withdraw
notice     what the customer is told of the outcome
"""
