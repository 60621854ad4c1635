"""The OpenAPI document, and the responses in it."""
