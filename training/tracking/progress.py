"""Progress callbacks, such as a progress bar's, that long-running work calls."""

from __future__ import annotations

from collections.abc import Callable

CountProgress = Callable[[int, int], None]  # called with (units done, units in all)
StageProgress = Callable[[str], None]  # called with the name of the stage that begins
