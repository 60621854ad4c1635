"""What is known about an account: statements in, features out.  Polars and NumPy only."""
