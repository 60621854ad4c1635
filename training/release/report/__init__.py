"""The report on one model, written for a validator as one HTML file.

Each section module covers one topic, and ``page`` renders the sections.  Nothing is measured in
this package: a section calls the modules of :mod:`training.evaluate` and of
:mod:`training.compare`, and explains their tables and figures.
"""
