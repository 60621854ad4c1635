"""The commands of ``python -m serving``.

pack, explain, client    store a model, show a decision's stages, ask a service
audit                    verify, erase, replay, export; replay and export do the last two
"""
