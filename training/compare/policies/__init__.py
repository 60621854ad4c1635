"""Other policies on the same accounts: what they would cut, avoid and cost.

``book`` is the accounts as arrays and the policy over them, ``frontier`` the points that can be
had, ``oracle`` the same in the hands of one who knows the true probability, ``regulation`` a
regulator's cap; ``figures`` and ``page`` show it.  The lab itself is
:mod:`training.compare.policies.lab`.
"""
