"""The simulator's knowledge of accounts: true probabilities, causes and futures.

population, cut_accounts   the examined accounts
futures, outcomes          default in many futures of an account's state
interventions, drivers     do(plan) on the future, do(reference level) on the past
"""
