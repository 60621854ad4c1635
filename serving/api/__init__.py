"""The endpoints.

decisions   decide once, store, then answer
reviews     reviews, appeals and notices over HTTP
openapi     the OpenAPI document
bento       everything that hooks into BentoML
"""
