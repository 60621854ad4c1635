"""Action and new limit.

limit      the limit formula
one_limit  the same for one account, compiled
outcome    hard rules, then the formula, then the cases that a person decides
dates      the lender's clock
"""
