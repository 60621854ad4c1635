from __future__ import annotations

import dataclasses
import datetime
import itertools
from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
import pytest

from features.build import Features
from features.months import months_between
from features.types import Vector
from tests.support.each import each
from training.data.censoring import (
    MOST_WEIGHT,
    TREATED,
    censoring_weights,
    observe_outcomes,
    select_rows,
)
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.labels import Labelled, label_accounts

FIRST = datetime.date(2025, 1, 1)  # as_of of the planted worlds; six months follow
MONTHS = [FIRST, *(datetime.date(2025, month, 1) for month in range(2, 8))]


@pytest.fixture(scope="module")
def ways(source: Source, data: Labelled) -> Mapping[str, Labelled]:
    frames = {"keep": data}
    for way in TREATED[1:]:
        frames[way] = label_accounts(source, DataConfig(treated=way))
    return frames


def keys(data: Labelled, split: str | None = None) -> list[tuple[object, ...]]:
    rows = np.flatnonzero(data.split == split) if split else np.flatnonzero(data.split != "test")
    return data.features.accounts.select("account_id", "as_of")[rows.tolist()].rows()


def test_outcomes_are_those_of_a_plain_loop_over_the_statements(
    source: Source, data: Labelled
) -> None:
    drawn = np.random.default_rng(1).choice(len(data.label), 300, replace=False)
    cut = observe_outcomes(source.statements, data.features.accounts, 6, 60).cut
    # Few of the drawn ones are cut, so some more of these.
    rows = np.unique(np.concatenate([drawn, np.flatnonzero(np.isfinite(cut))[:100]]))
    accounts = data.features.accounts[rows.tolist()]
    followed = observe_outcomes(source.statements, accounts, 6, 60)
    for place, (account, _, as_of) in enumerate(accounts.iter_rows()):
        history = source.statements.filter(pl.col("account_id") == account).sort("month").to_dicts()
        found = {"cut": np.inf, "default": np.inf, "watched": 0.0}
        for before, now in itertools.pairwise(history):
            after = months_between(as_of, now["month"])
            if not 1 <= after <= 6:
                continue
            if np.isinf(found["default"]):
                found["watched"] = after
            if now["credit_limit"] < before["credit_limit"]:
                found["cut"] = min(found["cut"], after)
            if now["days_past_due"] >= 60:
                found["default"] = min(found["default"], after)
        assert {name: getattr(followed, name)[place] for name in found} == found, (account, as_of)
    assert 100 <= np.isfinite(followed.cut).sum() < len(rows)


def test_dropping_leaves_exactly_the_uncut(source: Source, ways: Mapping[str, Labelled]) -> None:
    limits = source.statements.select(
        "account_id", "month", lower=pl.col("credit_limit").diff().over("account_id") < 0
    )
    cuts = limits.filter("lower").drop("lower")
    kept = ways["keep"]
    fitting = kept.features.accounts.filter(pl.Series(kept.split != "test"))
    everyone = fitting.select("account_id", "as_of")
    end = pl.col("as_of").dt.offset_by("6mo")
    cut = everyone.join(cuts, on="account_id").filter(
        pl.col("month") > pl.col("as_of"), pl.col("month") <= end
    )
    uncut = everyone.join(cut, on=["account_id", "as_of"], how="anti", maintain_order="left")
    assert keys(ways["drop"]) == uncut.rows()
    assert 0 < uncut.height < everyone.height


def test_censored_labels_have_no_default_after_a_cut(
    source: Source, ways: Mapping[str, Labelled]
) -> None:
    censored, observed = ways["censor"], ways["keep"]
    assert keys(censored) == keys(observed)
    fitting = np.flatnonzero(observed.split != "test")
    followed = observe_outcomes(
        source.statements, observed.features.accounts[fitting.tolist()], 6, 60
    )
    after = followed.default >= followed.cut
    after &= np.isfinite(followed.cut)
    assert censored.label[fitting][after].sum() == 0
    assert observed.label[fitting][after].sum() > 20
    assert np.array_equal(censored.label[fitting][~after], observed.label[fitting][~after])


def test_no_way_touches_the_test_rows(ways: Mapping[str, Labelled]) -> None:
    observed = ways["keep"]
    rows = observed.rows("test")
    for way in each(ways.values()):
        mine = way.rows("test")
        assert keys(way, "test") == keys(observed, "test")
        assert np.array_equal(way.label[mine], observed.label[rows])
        assert way.features.values[mine].tobytes() == observed.features.values[rows].tobytes()
        assert way.weight is None or (way.weight[mine] == 1.0).all()


def test_rows_keep_their_features(ways: Mapping[str, Labelled]) -> None:
    kept = ways["keep"].features
    keys_of_rows = kept.accounts.select("account_id", "as_of").rows()
    place = {key: row for row, key in enumerate(keys_of_rows)}
    for way in each(ways.values()):
        own = way.features.accounts.select("account_id", "as_of").rows()
        rows = [place[key] for key in own]
        assert way.features.values.tobytes() == kept.values[rows].tobytes()


def test_weights_stand_for_those_left_out(ways: Mapping[str, Labelled]) -> None:
    data = ways["reweight"]
    assert data.weight is not None
    fitting = data.split != "test"
    assert data.weight.min() >= 1.0
    assert data.weight.max() <= MOST_WEIGHT
    # The selected rows weigh as much as all rows together.
    assert data.weight[fitting].sum() == pytest.approx(len(keys(ways["keep"])), rel=0.01)
    for way in ("keep", "drop", "censor"):
        assert ways[way].weight is None


def test_labels_that_the_data_bring_are_taken_as_they_are(source: Source) -> None:
    last = source.statements.filter(pl.col("month") == datetime.date(2025, 6, 1)).head(500)
    labels = last.select(
        "account_id", as_of="month", label=(pl.col("balance") > 1000).cast(pl.Int8)
    )
    own = dataclasses.replace(source, labels=labels)
    for way in TREATED:
        data = label_accounts(own, DataConfig(treated=way))
        assert data.weight is None
        assert len(data.label) == 500


def test_an_unknown_way_is_refused() -> None:
    message = r"DataConfig.treated: expected one of .*'reweight'.*, got 'ignore'"
    with pytest.raises(ValueError, match=message):
        DataConfig(treated="ignore")


class Planted:
    """Accounts with one visible trait, a known fate without cuts, and cuts that prevent defaults.

    Some accounts are in trouble from the month after as_of on.  Of these 60 % would default, 3 to 6
    months after as_of; of the others 5 %.  The monthly chance of a cut is ``chance`` for accounts
    in trouble and a fifth of it for the others.
    """

    def __init__(self, accounts: int, chance: float, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.names = pl.Series("account_id", [f"p{number:06d}" for number in range(accounts)])
        self.trouble = random.random(accounts) < 0.3
        defaults = random.random(accounts) < np.where(self.trouble, 0.6, 0.05)
        self.fate = np.where(defaults, random.integers(3, 7, accounts), np.inf)
        self.cut = np.full(accounts, np.inf)
        for month in range(1, 7):
            seen = self.trouble & (month >= 2)  # of the month before
            hit = random.random(accounts) < np.where(seen, chance, chance / 5.0)
            self.cut = np.where(np.isinf(self.cut) & hit & (self.fate >= month), month, self.cut)
        self.default = np.where(self.cut <= self.fate, np.inf, self.fate)

    @property
    def accounts(self) -> pl.DataFrame:
        return pl.DataFrame(
            {"account_id": self.names, "as_of": pl.Series([FIRST] * len(self.names))}
        )

    def statements(self) -> pl.DataFrame:
        frames = [
            pl.DataFrame(
                {
                    "account_id": self.names,
                    "month": pl.Series([month] * len(self.names)),
                    "credit_limit": np.where(self.cut <= number, 500.0, 1000.0),
                    "days_past_due": np.where(self.default <= number, 60, 0).astype(np.int32),
                }
            )
            for number, month in enumerate(MONTHS)
        ]
        return pl.concat(frames).sort("account_id", "month")

    def features_at(self) -> Callable[[datetime.date], Features]:
        def at(month: datetime.date) -> Features:
            shown = (self.trouble & (month > FIRST)).astype(np.float64)
            table = self.accounts.select(
                "account_id", product=pl.lit("pay_later"), as_of=pl.lit(month)
            )
            return Features(table, ("trouble",), shown[:, None])

        return at

    def rate(self, way: str) -> float:
        """The label rate that a fit would see."""
        followed = observe_outcomes(self.statements(), self.accounts, 6, 60)
        kept, label = select_rows(way, followed)
        weight = np.ones(len(label))
        if way == "reweight":
            weight = censoring_weights(
                self.statements(), self.accounts, followed, self.features_at()
            )
        return float(np.average(label[kept], weights=weight[kept]))


@pytest.mark.slow
def test_only_reweighting_finds_the_rate_without_cuts() -> None:
    world = Planted(40_000, chance=0.25)
    truth = float(np.isfinite(world.fate).mean())
    rates = {way: world.rate(way) for way in TREATED}
    assert truth == pytest.approx(0.215, abs=0.01)
    assert rates["reweight"] == pytest.approx(truth, abs=0.01)
    # After a cut only its success is observed, and uncut accounts are better risks.
    assert rates["keep"] < truth - 0.07
    assert rates["censor"] < truth - 0.07
    assert rates["drop"] < truth - 0.05


def test_weights_are_one_to_the_share_uncut() -> None:
    world = Planted(40_000, chance=0.1)
    statements, accounts = world.statements(), world.accounts
    followed = observe_outcomes(statements, accounts, 6, 60)
    weight = censoring_weights(statements, accounts, followed, world.features_at())
    for trouble, share in ((False, 0.98**6), (True, 0.98 * 0.9**5)):
        whole_time = np.isinf(followed.cut) & (followed.watched == 6) & (world.trouble == trouble)
        # The model shrinks chances a little towards their mean.
        assert weight[whole_time] == pytest.approx(1.0 / share, rel=0.06)
    # An account in default is no longer watched.
    early = world.trouble & (followed.default == 3)
    assert weight[early] == pytest.approx(1.0 / (0.98 * 0.9**2), rel=0.04)


def test_a_default_ends_the_watch_also_of_an_account_with_two_rows() -> None:
    world = Planted(20_000, chance=0.1)
    twice = pl.concat([world.accounts, world.accounts.with_columns(as_of=pl.lit(MONTHS[4]))])
    followed = observe_outcomes(world.statements(), twice, 2 * 6, 60)
    alone = observe_outcomes(world.statements(), world.accounts, 2 * 6, 60)
    weight = censoring_weights(world.statements(), twice, followed, world.features_at())
    weight = weight[: len(world.trouble)]
    once = censoring_weights(world.statements(), world.accounts, alone, world.features_at())
    early = world.trouble & (alone.default == 3)
    assert weight[early] == pytest.approx(once[early], rel=0.04)


def test_weights_without_cuts_are_one() -> None:
    world = Planted(2_000, chance=0.0)
    followed = observe_outcomes(world.statements(), world.accounts, 6, 60)
    weight = censoring_weights(world.statements(), world.accounts, followed, world.features_at())
    assert (weight == 1.0).all()


def test_no_weight_is_above_the_maximum() -> None:
    world = Planted(20_000, chance=0.6)
    followed = observe_outcomes(world.statements(), world.accounts, 6, 60)
    weight: Vector = censoring_weights(
        world.statements(), world.accounts, followed, world.features_at()
    )
    assert weight.max() == MOST_WEIGHT
