"""The plan that restores a limit.

plans        the grid of plans
constraints  what the customer has fixed
ahead        the months to come under a plan: habits, compiled loops, and the rules of every plan
rollout      an account rolled forward month by month under a plan
projection   features and log-odds of each month to come
staircase    the decisions on these months, asked one after the other
search       the plan of least effort for one account
rounds       plans evaluated and decided, for many accounts together
arrears      the payments that bring an account out of arrears
advise       the whole, for many accounts
wording      the plan in words
result       what advice consists of
"""
