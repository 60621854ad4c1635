"""A whole portfolio decided at once: Parquet of statements in, Parquet of decisions out."""
