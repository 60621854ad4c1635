from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from training.tracking.progress import PercentProgress

stages = st.dictionaries(st.text(min_size=1), st.floats(0.01, 100), min_size=1, max_size=6)


@given(stages, st.integers(1, 30), st.data())
def test_it_rises_from_nothing_to_everything(
    shares: dict[str, float], units: int, data: st.DataObject
) -> None:
    seen: list[tuple[int, int]] = []
    percent = PercentProgress(lambda done, total: seen.append((done, total)), shares)
    assert seen == [(0, 100)]
    for stage in shares:
        report = percent.within(stage)
        # A stage may stop early, and begin again.
        for done in data.draw(st.lists(st.integers(0, units))):
            report(done, units)
        percent.finish(stage)
    assert seen[-1] == (100, 100)
    assert all(earlier[0] < later[0] for earlier, later in pairwise(seen))
    assert len(seen) > 1


def test_without_a_listener_nothing_is_reported() -> None:
    percent = PercentProgress(None, {"read": 1})
    percent.within("read")(1, 1)
    percent.finish("read")
