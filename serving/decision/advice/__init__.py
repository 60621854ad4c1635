"""The plan that restores the limit.

plans        the grid of plans
constraints  what the customer has fixed
rollout      the account rolled forward month by month under a plan
projection   each future month decided by the policy
search       the plan of least effort
advise       all of it, for many accounts
wording      the plan in words
"""
