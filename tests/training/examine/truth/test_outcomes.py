from __future__ import annotations

import numpy as np
import pytest

from training.data.simulate.config import SimulationConfig
from training.examine.truth.futures import default_probability, untreated
from training.examine.truth.outcomes import simulate_untreated
from training.examine.truth.population import ExamineConfig, draw_population

CONFIG = ExamineConfig(accounts=300, futures=10)


def test_the_quarters_are_the_futures_apart_and_untreated() -> None:
    # Many cuts, so that a future in which they are made is another.
    world = draw_population(SimulationConfig(incumbent_cut_rate=0.3, incumbent_noise=0.0), CONFIG)
    truth = simulate_untreated(world, CONFIG)
    assert truth.sizes == (3, 3, 2, 2)
    places = world.places(truth.features.accounts["account_id"])
    state = world.state.take(places)
    assert truth.probability == pytest.approx(
        default_probability(state, untreated(world.config), 10), abs=1e-12
    )
    assert np.array_equal(
        truth.quarters[2], default_probability(state, untreated(world.config), 2, first=7)
    )
    assert not np.array_equal(truth.probability, default_probability(state, world.config, 10))
    assert np.array_equal(truth.realised, world.realised()[places])
    assert (truth.labelled().split == "test").all()


def test_too_few_futures_to_see_their_noise_are_refused() -> None:
    with pytest.raises(ValueError, match="futures: expected 4 to 100000, got 3"):
        ExamineConfig(accounts=20, futures=3)
