"""Other policies on the same accounts: which accounts they cut, and what that avoids and costs.

lab               the command: evaluates policies on a version's hold-out
portfolio         the accounts as arrays, and a policy applied to them
frontier          policies over cut-offs and depths
oracle            the same with the true probability, on simulated data
income_cap        a regulator's cap on limits
effect            what a cut does: treated accounts against the control arm
figures, page     how the results are shown
"""
