"""Progress callbacks, such as a progress bar's, that long-running work calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping

CountProgress = Callable[[int, int], None]  # called with (units done, units in all)
StageProgress = Callable[[str], None]  # called with the name of the stage that begins


def ignore_stage(stage: str) -> None:
    """Show no progress."""


class PercentProgress:
    """Reports the stages of one piece of work as (per cent done, 100), never fewer than before.

    ``shares`` are the stages in their order, each with its share of the whole time.

    >>> seen = []
    >>> percent = PercentProgress(lambda done, _: seen.append(done), {"read": 1, "fit": 3})
    >>> percent.finish("read")
    >>> percent.within("fit")(1, 2)
    >>> percent.finish("fit")
    >>> seen
    [0, 25, 62, 100]
    """

    def __init__(self, report: CountProgress | None, shares: Mapping[str, float]) -> None:
        self._report = report
        self._ends: dict[str, tuple[float, float]] = {}
        whole = sum(shares.values())
        begin = 0.0
        for stage, share in shares.items():
            end = begin + share / whole
            self._ends[stage] = begin, end
            begin = end
        self._done = -1
        self._show(0.0)

    def within(self, stage: str) -> CountProgress:
        """Return the progress of one stage's own units."""
        begin, end = self._ends[stage]

        def show(done: int, total: int) -> None:
            share = done / total
            self._show(begin + (end - begin) * share)

        return show

    def finish(self, stage: str) -> None:
        """Report that a stage is done."""
        _, end = self._ends[stage]
        self._show(end)

    def _show(self, share: float) -> None:
        percent = int(100 * share + 1e-9)
        if self._report is not None and percent > self._done:
            self._done = percent
            self._report(percent, 100)
