"""Everything that a request runs after its features."""
