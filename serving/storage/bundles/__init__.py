"""The bundles that a service has: stored on disk, verified, held in memory, and chosen to decide.

:mod:`.store` finds stored bundles, :mod:`.held` has those in memory and chooses for each account.
"""
