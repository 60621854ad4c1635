"""The catalogue as a program: traced once from its expressions, evaluated by compiled loops.

symbols       a window that writes down what an expression does with it
trace         from features to steps: the verbs and ufuncs of their expressions, each once
program       steps in order, with the months and the memory that each needs
listing       a program as text
machine       the compiled loops that run a program over the accounts of a window
ahead         the same for each of several months to come
evaluate      the features of a window; the programs that were traced
numba_cache   numba, and its cache on disk

A program is data for the machine and no code: a changed catalogue needs no compilation, and cannot
meet the compiled loops of another one.  Nothing here imports numba before a window is evaluated,
except ``machine``, ``ahead`` and ``numba_cache``.
"""
