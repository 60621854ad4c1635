"""The commands of ``python -m serving``.

commands        pack, explain, ask, keys
audit           verify, erase, replay, export
pack, explain, client    store a model, show a decision's stages, start and ask a service
replay, export  decide again, write the decisions of a period
errors          errors that a user can correct
"""
