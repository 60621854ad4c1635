"""Requests and answers as JSON: plain pydantic models, without BentoML, SQLAlchemy and numba.

base            parsing and encoding
statement       one month of an account
decision        the request, the answer, and batches of both
advice          the advice on a decision
advice_request  the request for advice, and its answer
review          reviews, notifications and notices
examples        the examples of the OpenAPI document
"""
