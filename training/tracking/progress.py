"""How long-running work reports its progress: what a caller passes in, such as a progress bar."""

from __future__ import annotations

from collections.abc import Callable

CountProgress = Callable[[int, int], None]  # called with (units done, units in all)
StageProgress = Callable[[str], None]  # called with the name of the stage that begins
