"""Whether a model in service still does what it was fitted to do, from the records of its
decisions.

``records`` reads them, ``estimate`` says how well the model does before labels arrive and after,
``bounds`` what is too much, ``report`` tells it.  The monitor itself is
:mod:`training.release.monitor.monitor`.
"""
