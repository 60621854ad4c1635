"""HTTP without business: bodies, parameters, problem details, logs."""
