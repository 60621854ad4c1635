"""The policy over plain numbers: decisions on many months to come, and on many accounts.

numbers   a policy, a prior and days as arrays
days      arithmetic on days
limits    the limit formula and the staircase
rules     the hard rules
implausible  the statements that say what cannot be
outcome   action and new limit, and what they leave in force

plain_keep  which accounts of a portfolio certainly keep their limit, over arrays

:mod:`serving.decision.policy.outcome` is the policy as it is read and as a decision runs it; a test
holds both equal, to the last bit.

Conventions
-----------
An account is a few float64 numbers.  What may be unknown is NaN.  Places in arrays are the
constants of these modules.
"""
