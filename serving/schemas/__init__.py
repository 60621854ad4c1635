"""Requests and answers as JSON.

base            parsing and encoding
statement       one month of an account
decision        the request, the answer, and batches of both
advice, advice_request, review
answers         decided requests to answer bytes
examples        the examples of the OpenAPI document
"""
