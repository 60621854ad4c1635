"""Monitoring of a served model, from the records of its decisions.

records    read the decisions and the labels that arrive later
estimate   performance, estimated before labels arrive and measured after
bounds     the limits of drift and decline, from bounds.toml
alerts     compare tables with the bounds
monitor    run all of it
page       the report
"""
