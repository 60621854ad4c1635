"""Promotion of registered versions, and monitoring of the champion in service.

gates, gate_config, promote   which versions may be promoted
monitor                       drift and decline of the served model
report                        the report on a model
"""
