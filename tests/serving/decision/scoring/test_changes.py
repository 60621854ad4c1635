"""The split of a change between two rows, against the definition of a Shapley value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.decision.bundle import Bundle
from serving.decision.scoring import score as scoring
from serving.decision.scoring.lightgbm_trees import read_trees
from serving.decision.scoring.score import AdditivityError, compare_rows
from serving.decision.scoring.shapley import explain_one, make_explainer, split_changes
from serving.decision.scoring.shapley_tables import Layout, flatten_trees
from tests.support.boosters import Case, case, cases
from tests.support.brute_force import shapley_values
from tests.support.each import each

EXACT = 1e-10


def layout_of(drawn: Case) -> Layout:
    return flatten_trees(read_trees(drawn.model))


def pairs_of(drawn: Case) -> tuple[np.ndarray, np.ndarray]:
    """Each row with each row of the reference, at most 12."""
    pairs = [(now, then) for now in drawn.rows for then in drawn.reference[:3]]
    now, earlier = zip(*pairs, strict=True)
    return np.array(now), np.array(earlier)


def check_against_brute_force(drawn: Case) -> None:
    now, earlier = pairs_of(drawn)
    found = split_changes(
        now,
        earlier,
        layout_of(drawn),
    )
    for row, then, own in zip(
        now,
        earlier,
        found,
        strict=True,
    ):
        assert (
            np.abs(
                own
                - shapley_values(
                    row,
                    then[None],
                    drawn.model,
                )
            ).max()
            <= EXACT
        )


@settings(max_examples=150)
@given(cases())
def test_equal_to_brute_force(drawn: Case) -> None:
    check_against_brute_force(drawn)


@pytest.mark.torture
@settings(max_examples=5000)
@given(cases())
def test_equal_to_brute_force_at_length(drawn: Case) -> None:
    check_against_brute_force(drawn)


def a_case(seed: int = 1) -> Case:
    return case(
        features=5,
        reference=40,
        missing="seen",
        depth=6,
        leaves=30,
        trees=5,
        levels=0,
        kind="binary",
        seed=seed,
    )


def test_brute_force_notices_another_earlier_row() -> None:
    """The control: the change since another row is not the same."""
    drawn = a_case()
    row, then, other = drawn.rows[0], drawn.reference[0], drawn.reference[1]
    found = split_changes(
        row[None],
        other[None],
        layout_of(drawn),
    )[0]
    assert (
        np.abs(
            found
            - shapley_values(
                row,
                then[None],
                drawn.model,
            )
        ).max()
        > 1e-3
    )


@settings(max_examples=60)
@given(
    cases(),
    st.integers(0, 2**32 - 1),
)
def test_a_feature_that_did_not_change_has_no_part(
    drawn: Case,
    seed: int,
) -> None:
    now, earlier = pairs_of(drawn)
    same = np.random.default_rng(seed).random(now.shape) < 0.5
    now = np.where(
        same,
        earlier,
        now,
    )
    found = split_changes(
        now,
        earlier,
        layout_of(drawn),
    )
    assert (found[same] == 0.0).all()
    assert (
        split_changes(
            now,
            now,
            layout_of(drawn),
        )
        == 0.0
    ).all()


@settings(max_examples=40)
@given(cases())
def test_the_way_back_is_the_same_with_the_other_sign(drawn: Case) -> None:
    now, earlier = pairs_of(drawn)
    layout = layout_of(drawn)
    there, back = split_changes(now, earlier, layout), split_changes(earlier, now, layout)
    assert np.abs(there + back).max() <= EXACT


def test_equal_to_the_tables_of_that_one_row(bundle: Bundle) -> None:
    """The served model: the tables that explain a row against a reference of one."""
    layout = next(iter(bundle.scorer.explainers.values())).layout
    rows = bundle.reference.drop("product").fill_null(np.nan).to_numpy()
    for now, earlier in each(
        zip(
            rows[:20],
            rows[20:40],
            strict=True,
        )
    ):
        expected = explain_one(
            now,
            make_explainer(layout, earlier[None]),
        )
        found = split_changes(
            now[None],
            earlier[None],
            layout,
        )[0]
        assert np.abs(found - expected).max() <= EXACT


def test_one_pair_and_many_give_the_same_bits(bundle: Bundle) -> None:
    layout = next(iter(bundle.scorer.explainers.values())).layout
    rows = bundle.reference.drop("product").fill_null(np.nan).to_numpy()
    generator = np.random.default_rng(0)
    now, earlier = (generator.permutation(np.repeat(rows, 30, axis=0)) for _ in range(2))
    together = split_changes(now, earlier, layout)
    assert len(now) > 2 * 1024, "expected more rows than a block has"
    for row in (0, 1, 1023, 1024, len(now) - 1):
        alone = split_changes(
            now[row : row + 1],
            earlier[row : row + 1],
            layout,
        )
        assert np.array_equal(
            alone[0],
            together[row],
        ), row


def test_the_parts_add_up_to_the_change(bundle: Bundle) -> None:
    rows = bundle.reference.drop("product").fill_null(np.nan).to_numpy()
    now, earlier = rows, rows[::-1]
    found = compare_rows(
        now,
        earlier,
        bundle.scorer,
    )
    log_odds = scoring.log_odds_of(now, bundle.scorer)
    gap = found.earlier_log_odds + found.contributions.sum(axis=1) - log_odds
    assert np.abs(gap).max() <= 1e-9
    assert np.abs(found.contributions).max() > 0.1, "hardly anything changed"


def test_parts_that_do_not_add_up_are_refused(
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = bundle.reference.drop("product").fill_null(np.nan).to_numpy()
    now, earlier = rows[:5], rows[5:10]

    def wrong(
        now: np.ndarray,
        earlier: np.ndarray,
        layout: Layout,
    ) -> np.ndarray:
        return split_changes(now, earlier, layout) * 1.001

    monkeypatch.setattr(scoring, "split_changes", wrong)
    with pytest.raises(AdditivityError, match="contributions miss the log-odds by"):
        compare_rows(
            now,
            earlier,
            bundle.scorer,
        )


def test_other_shapes_are_refused(bundle: Bundle) -> None:
    layout = next(iter(bundle.scorer.explainers.values())).layout
    width = layout.features
    for now, earlier in each([((3, width), (2, width)), ((3, width - 1),) * 2, ((width,),) * 2]):
        with pytest.raises(ValueError, match="expected two matrices of rows of"):
            split_changes(
                np.zeros(now),
                np.zeros(earlier),
                layout,
            )
    assert split_changes(
        np.zeros((0, width)),
        np.zeros((0, width)),
        layout,
    ).shape == (0, width)
