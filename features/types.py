"""NumPy arrays by what they hold: aliases that every package uses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]  # one number a row
Matrix = NDArray[np.float64]  # (rows, columns)
Mask = NDArray[np.bool_]  # which rows
Rows = NDArray[np.int64]  # row numbers, from 0
