"""The months to come of an account under a plan.

habits   the months that carrying on repeats
roll     the compiled ledger and acts of a month under a plan
judge    the rules that every plan keeps, and whether its months bring the limit back

Hazard: numba's cache identifies a file by its time and size.  A loop that uses one of another file
names that file in :func:`features.program.numba_cache.compiled_with`.
"""
