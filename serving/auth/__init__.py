"""Who may call what.

gate        the ASGI middleware in front of every route
routes      each route with its scope and body limit
keys        API keys: make, list, revoke
key_cache   the keys that a worker holds in memory
caller      the authenticated caller
rate_limit  requests a second, per key
"""
