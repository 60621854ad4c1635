"""LightGBM, loaded so that its threads sleep while they wait for each other.

By default they spin, and where another process wants the cores that is expensive: the same fit took
14.5 s instead of 1.3 s, measured on two cores with one other busy process.  OpenMP reads the
setting from the environment when it is loaded.  So it is set only for that moment: the environment
of the process stays as it is, and a setting of the user's own is kept.

>>> from training.tracking.lightgbm_import import lgb
>>> lgb.Dataset.__name__
'Dataset'
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_SETTING = "OMP_WAIT_POLICY"


@contextmanager
def _sleeping_threads() -> Iterator[None]:
    if _SETTING in os.environ:
        yield
        return
    os.environ[_SETTING] = "PASSIVE"
    try:
        yield
    finally:
        del os.environ[_SETTING]


with _sleeping_threads():
    from serving.decision.scoring.lightgbm_import import lgb

__all__ = ["lgb"]
