"""Action and new limit.

limit     the limit formula
outcome   hard rules, then the formula, then the cases that a person decides
dates     the lender's clock
"""
