"""From statements to features.  Polars and NumPy only."""
