"""LightGBM's prediction of one row, without what its Python package does around it.

``Booster.predict`` takes seven times as long for one row as the trees do: it makes a configuration
and arrays at each call.  LightGBM's C API has a call for one row whose configuration is made once.
The bits are those of ``Booster.predict``: both add the same leaves in the same order.
"""

from __future__ import annotations

import ctypes
import threading
import weakref

import numpy as np

from features.types import Vector
from serving.decision.scoring.lightgbm_import import lgb

# The library that LightGBM's package has loaded, and its check of what a call returns.
_LIB, _safe_call = lgb.basic._LIB, lgb.basic._safe_call  # type: ignore[attr-defined]
# Constants of LightGBM's c_api.h.
_FLOAT64, _RAW_SCORE, _ALL_TREES = 1, 1, -1


class SingleRow:
    """The raw score of one row at a time; threads wait for each other."""

    def __init__(self, model: lgb.Booster) -> None:
        """``model`` is not changed any more, and has one score a row."""
        self.features: int = model.num_feature()
        self._model = model  # owns what the configuration refers to
        self._config = ctypes.c_void_p()
        _safe_call(
            _LIB.LGBM_BoosterPredictForMatSingleRowFastInit(
                model._handle,
                ctypes.c_int(_RAW_SCORE),
                ctypes.c_int(0),
                ctypes.c_int(_ALL_TREES),
                ctypes.c_int(_FLOAT64),
                ctypes.c_int(self.features),
                b"num_threads=1",
                ctypes.byref(self._config),
            )
        )
        weakref.finalize(self, _LIB.LGBM_FastConfigFree, self._config)
        self._lock = threading.Lock()
        # Made once: to make a pointer takes a tenth of the time of the trees.
        self._row = np.empty(self.features)
        self._score = ctypes.c_double()
        self._arguments = (
            self._config,
            ctypes.c_void_p(self._row.ctypes.data),
            ctypes.byref(ctypes.c_int64()),
            ctypes.byref(self._score),
        )

    def __reduce__(self) -> tuple[type[SingleRow], tuple[lgb.Booster]]:
        """Pickled and copied as its model."""
        return SingleRow, (self._model,)

    def predict(self, row: Vector) -> float:
        """The raw score of a row, float64 (features,), NaN = unknown.

        Raises:
            ValueError: The row has another length.
        """
        if row.shape != (self.features,):
            raise ValueError(f"expected a row of {self.features} features, got {row.shape}")
        with self._lock:
            self._row[:] = row
            _safe_call(_LIB.LGBM_BoosterPredictForMatSingleRowFast(*self._arguments))
            return self._score.value
