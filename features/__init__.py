"""From statements to features.  Polars, NumPy, and numba in ``features.program`` only."""
