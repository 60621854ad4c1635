"""From a registered version to the champion, and what is watched afterwards.

gates, gate_config, promote   which versions may be promoted
monitor                       drift and decline in service
report                        the report on a model
"""
