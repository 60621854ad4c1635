"""Everything before a request: data, fitting, comparing, releasing.

In a notebook: ``from training.api import fit``.
"""
