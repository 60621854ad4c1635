"""Everything before a request: prepare data, and fit, compare and release models.

In a notebook: ``from training.api import fit``.
"""
