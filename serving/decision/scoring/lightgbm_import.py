"""LightGBM, without scikit-learn and pandas in the project's own programs.

LightGBM imports both where they are installed, for classes that the project does not use.  That
takes a second of a process's start and 130 MB.  In a notebook it stays as it is: a user may want
``lightgbm.LGBMClassifier``.

>>> from serving.decision.scoring.lightgbm_import import lgb
>>> lgb.Booster.__name__
'Booster'
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_UNUSED = ("pandas", "sklearn")
# The modules that Python runs as these programs: the commands, a service and its workers.
PROGRAMS = {
    "_bentoml_impl.worker.service",
    "bentoml.__main__",
    "serving.__main__",
    "training.__main__",
}


def is_own_program() -> bool:
    """Return whether this process, or the one that it was started for, is one of the project's."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name in PROGRAMS


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """None of ``names`` can be imported, but for those that already are."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        # Python raises ImportError for a module that is None.
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with _hidden(_UNUSED if is_own_program() else ()):
    import lightgbm as lgb

__all__ = ["lgb"]
