"""What can be wrong with a run over a portfolio."""

from __future__ import annotations


class PortfolioError(ValueError):
    """The statements, the folder or the options do not fit; the message says which and where."""
