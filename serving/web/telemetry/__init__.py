"""What operators see of the service: metrics, traces, request lines. No value of a customer."""
