"""The plan that restores a limit.

plans        the grid of plans
constraints  what the customer has fixed
rollout      an account rolled forward month by month under a plan
projection   each month to come, decided by the policy
search       the plan of least effort
advise       the whole, for many accounts
wording      the plan in words
result       what advice consists of
"""
