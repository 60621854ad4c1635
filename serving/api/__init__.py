"""The endpoints.

submission         a request that was read: its body and its context
answers            requests to the bytes of their answers
decisions          decide once, store, then answer
operation          one method and path of the reviews
reviews            reviews, appeals and notices over HTTP
review_answers     rows of the audit log as answers
errors             errors as responses
openapi            the OpenAPI document, and the responses in it
shadow             another bundle that decides the same requests, and never answers
bento              all that depends on BentoML's internals
described_service  the BentoML service with its gate and its document
key_locks          one request at a time for an idempotency key
"""
