"""Authentication and authorization.

gate             the ASGI middleware in front of every route
routes           each route with its scopes and its largest body
keys             API keys: make, list, revoke
key_cache        the keys in the memory of a worker
caller           the authenticated caller
request_context  the caller of a request, its arrival and its options
rate_limit       requests a second, for each key
"""
