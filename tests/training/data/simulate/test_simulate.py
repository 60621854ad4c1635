from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import training.data.simulate.output as output
from features.ledger import Behaviour, Standing, Terms, next_standing
from features.schema import NAMES, PRODUCTS, check, column, round_amounts
from tests.support.each import each
from training.data.simulate.config import SimulationConfig, calendar_month, month_number_of
from training.data.simulate.output import Block, simulate, write
from training.data.simulate.state import State
from training.data.simulate.step import CHARGED_OFF_DAYS, Columns, begin, step

SMALL = SimulationConfig(accounts=900, months=30, warm_up_months=6)


def whole(config: SimulationConfig) -> Block:
    """All blocks of a simulation as one."""
    blocks = list(simulate(config))
    return Block(pl.concat([b.statements for b in blocks]), pl.concat([b.accounts for b in blocks]))


@pytest.fixture(scope="module")
def small() -> Block:
    return whole(SMALL)


def same(left: Block, right: Block) -> None:
    assert_frame_equal(left.statements, right.statements, check_exact=True)
    assert_frame_equal(left.accounts, right.accounts, check_exact=True)


@pytest.mark.parametrize("size", [1, 77, 350])
def test_history_is_the_same_in_any_partition(small: Block, size: int) -> None:
    if size == 1:  # 900 blocks would take long: the first accounts do
        first = whole(dataclasses.replace(SMALL, accounts=9, partition_accounts=1))
        names = first.accounts["account_id"].to_list()
        statements = small.statements.filter(pl.col("account_id").is_in(names))
        same(first, Block(statements, small.accounts.filter(pl.col("account_id").is_in(names))))
    else:
        same(small, whole(dataclasses.replace(SMALL, partition_accounts=size)))


def test_history_does_not_depend_on_how_many_accounts_there_are(small: Block) -> None:
    fewer = whole(dataclasses.replace(SMALL, accounts=123))
    assert_frame_equal(
        fewer.statements,
        small.statements.filter(pl.col("account_id") <= "sim-0000123"),
        check_exact=True,
    )


def test_a_shorter_run_is_the_beginning_of_a_longer_one(small: Block) -> None:
    shorter = whole(dataclasses.replace(SMALL, months=17))
    assert_frame_equal(
        shorter.statements,
        small.statements.filter(pl.col("month") < calendar_month(17, SMALL)),
        check_exact=True,
    )


def test_an_earlier_state_rolled_forward_again_is_the_same_history() -> None:
    state, expected = begin(SMALL, 100, 200), []
    for month_number in range(8):
        if month_number == 4:
            earlier = state
        state, columns = step(state, month_number, SMALL)
        expected.append(columns)
    again = earlier.take(np.arange(earlier.count))
    for month_number in range(4, 8):
        again, columns = step(again, month_number, SMALL)
        _same_columns(columns, expected[month_number])
    assert (again.months_done, again.accounts[0], again.seed) == (8, 100, SMALL.seed)


def test_futures_differ_from_each_other_and_repeat() -> None:
    state = begin(SMALL, 0, 200)
    history, _ = step(state, 0, SMALL)
    one, _ = step(state, 0, SMALL, future=1)
    two, _ = step(state, 0, SMALL, future=2)
    again, _ = step(state, 0, SMALL, future=1)
    assert len({str(s.balance.tolist()) for s in (history, one, two)}) == 3
    np.testing.assert_array_equal(one.balance, again.balance)


def test_several_futures_at_once_are_each_the_same_as_alone() -> None:
    state = begin(SMALL, 0, 200)
    chosen = np.array([150, 3, 77])
    futures = np.repeat([4, 0, 9], len(chosen))
    together = state.take(np.tile(chosen, 3))
    for month_number in range(3):
        together, columns = step(together, month_number, SMALL, futures)
    for k, future in enumerate([4, 0, 9]):
        alone = state
        for month_number in range(3):
            alone, expected = step(alone, month_number, SMALL, future)
        places = slice(3 * k, 3 * k + 3)
        for name, values in expected.items():
            np.testing.assert_array_equal(columns[name][places], values[chosen])
        np.testing.assert_array_equal(together.savings[places], alone.savings[chosen])


def test_step_leaves_the_state_as_it_was() -> None:
    state = begin(SMALL, 0, 50)
    before = {
        name: np.copy(getattr(state, name))
        for name in State.__dataclass_fields__
        if name != "traits"
    }
    step(state, 0, SMALL)
    for name, values in before.items():
        np.testing.assert_array_equal(getattr(state, name), values)


def test_step_refuses_another_month_and_another_seed() -> None:
    state = begin(SMALL, 0, 5)
    with pytest.raises(ValueError, match="expected month number 0, which follows the state, got 3"):
        step(state, 3, SMALL)
    with pytest.raises(ValueError, match="expected the seed 1 that the state was made with, got 2"):
        step(state, 0, dataclasses.replace(SMALL, seed=2))


@pytest.mark.parametrize("range_", [(-1, 5), (0, 0), (899, 2)])
def test_begin_refuses_accounts_that_the_config_does_not_have(range_: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected accounts within 0 to 900"):
        begin(SMALL, *range_)


def test_another_seed_is_another_population(small: Block) -> None:
    other = whole(dataclasses.replace(SMALL, seed=2))
    both = small.statements.join(other.statements, on=["account_id", "month"])
    assert (both["balance"] == both["balance_right"]).mean() < 0.3  # type: ignore[operator]


def test_output_is_in_the_canonical_form_of_the_schema(small: Block) -> None:
    assert_frame_equal(check(small.statements, window=False), small.statements, check_exact=True)
    assert small.statements.columns == list(NAMES)
    assert all(small.statements.schema[name] == column(name).dtype for name in NAMES)
    assert set(small.statements["product"].unique()) == set(PRODUCTS)


def test_statements_follow_from_each_other_by_the_ledger(small: Block) -> None:
    rows = small.statements
    before = rows.select(
        pl.col("balance", "minimum_due", "days_past_due").shift(1).over("account_id")
    )
    rows = pl.concat(
        [rows, before.rename(lambda name: f"{name}_before")], how="horizontal"
    ).drop_nulls("balance_before")
    assert rows.height > 10_000

    def values(name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return rows[name].to_numpy()

    days = values("days_past_due")
    after = next_standing(
        Standing(
            values("balance_before"),
            values("minimum_due_before"),
            values("days_past_due_before").astype(np.int32),
        ),
        Behaviour(
            values("spend"),
            values("cash_advance"),
            values("payment"),
            np.where(days < 30, days, 0).astype(np.int32),
        ),
        Terms(),
    )
    np.testing.assert_array_equal(after.balance, values("balance"))
    np.testing.assert_array_equal(after.minimum_due, values("minimum_due"))
    np.testing.assert_array_equal(after.days_past_due, days)


def test_nothing_is_drawn_beyond_the_limit_or_in_arrears(small: Block) -> None:
    rows = small.statements.with_columns(
        drawn=pl.col("spend") + pl.col("cash_advance"),
        days_before=pl.col("days_past_due").shift(1).over("account_id"),
        owed_before=pl.col("balance").shift(1).over("account_id"),
    ).drop_nulls("days_before")
    room = pl.max_horizontal(
        0.0,
        pl.col("credit_limit") - pl.max_horizontal(0.0, pl.col("owed_before") - pl.col("payment")),
    )
    assert rows.filter(pl.col("drawn") > room + 0.02).is_empty()
    assert rows.filter((pl.col("days_before") >= 30) & (pl.col("drawn") > 0)).is_empty()


def test_charged_off_accounts_have_no_further_statement(small: Block) -> None:
    lost = small.statements.filter(pl.col("days_past_due") >= CHARGED_OFF_DAYS)
    last = small.statements.group_by("account_id").agg(pl.col("month").max())
    assert lost.height > 10
    assert lost.join(last, on=["account_id", "month"], how="anti").is_empty()
    assert small.statements["days_past_due"].max() == CHARGED_OFF_DAYS


def test_accounts_open_and_close_within_the_period(small: Block) -> None:
    span = small.statements.group_by("account_id").agg(
        first=pl.col("month").min(), last=pl.col("month").max()
    )
    span = span.join(small.accounts, on="account_id", validate="1:1")
    assert span.height == small.accounts.height
    late = span.filter(pl.col("opened") >= SMALL.first_month)
    assert 0.15 < late.height / span.height < 0.35
    assert (late["opened"].dt.truncate("1mo") == late["first"]).all()
    assert (span.filter(pl.col("opened") < SMALL.first_month)["first"] == SMALL.first_month).all()
    # Closed accounts stop before the end without a charge-off: few, and only without a debt.
    ends = small.statements.sort("month").group_by("account_id").agg(pl.all().last())
    closed = ends.filter(
        (pl.col("month") < calendar_month(SMALL.months - 1, SMALL))
        & (pl.col("days_past_due") < CHARGED_OFF_DAYS)
    )
    assert 0.005 < closed.height / span.height < 0.10
    assert (closed["balance"] <= 0).all()


def test_income_and_debt_are_unknown_for_whole_accounts_and_for_months(small: Block) -> None:
    for name, share in (("income", SMALL.income_unknown), ("external_debt", SMALL.debt_unknown)):
        known = small.statements.group_by("account_id").agg(pl.col(name).is_not_null().mean())[name]
        assert (known == 0).mean() == pytest.approx(share, abs=0.04)
        assert known.is_between(0.5, 0.999).any()


def test_traits_only_move_with_protected_attributes_and_never_follow_from_them(
    small: Block,
) -> None:
    income = small.statements.group_by("account_id").agg(pl.col("income").median()).drop_nulls()
    by = small.accounts.join(income, on="account_id")
    young = by.filter(pl.col("age_band") == "18-24")["income"].median()
    settled = by.filter(pl.col("age_band") == "35-44")["income"].median()
    assert isinstance(young, float)
    assert isinstance(settled, float)
    assert young < 0.85 * settled  # a plausible gap, and fairness measures have something to find
    assert small.accounts.schema["opened"] == pl.Date()
    assert not {"age_band", "gender", "region", "opened"} & set(small.statements.columns)


def test_the_cap_reaches_cash_loans_with_a_known_income_by_the_end_of_its_phase_in() -> None:
    config = SimulationConfig(
        accounts=1500,
        months=12,
        warm_up_months=0,
        month_unknown=0.0,
        cap_from=datetime.date(2024, 1, 1),
        cap_phase_in_months=6,
        cap_multiple=3.0,
    )
    statements = whole(config).statements
    # The lender works with the income on file when the month begins; a new one counts from the next
    # month.
    on_file = pl.max_horizontal("income", pl.col("income").shift(1).over("account_id"))
    over = (pl.col("credit_limit") > config.cap_multiple * on_file) & (
        pl.col("product") == "cash_loan"
    )
    rows = statements.with_columns(over=over)
    by_month = rows.group_by("month").agg(pl.col("over").sum()).sort("month")["over"].to_list()
    assert by_month[2] > 50
    assert by_month[2] > by_month[5] > by_month[8] == 0
    # pay_later lines, and cash loans whose income nobody knows, are left alone.
    uncapped = dataclasses.replace(config, cap_from=datetime.date(2099, 1, 1))
    free = (pl.col("product") == "pay_later") | pl.col("income").is_null()
    assert_frame_equal(statements.filter(free), whole(uncapped).statements.filter(free))


def test_the_incumbents_cuts_raise_utilization_and_spare_nobody() -> None:
    config = dataclasses.replace(SMALL, incumbent_cut_rate=0.05, limit_increase_rate=0.0, months=14)
    rows = whole(config).statements.with_columns(
        limit_before=pl.col("credit_limit").shift(1).over("account_id"),
        days_before=pl.col("days_past_due").shift(1).over("account_id"),
        used=pl.col("balance") / pl.col("credit_limit"),
        used_before=(pl.col("balance") / pl.col("credit_limit")).shift(1).over("account_id"),
    )
    cut = rows.filter(pl.col("credit_limit") < pl.col("limit_before"))
    assert cut.height > 100
    assert (cut["used"] - cut["used_before"]).median() > 0.1  # type: ignore[operator]
    assert (cut["days_before"] == 0).mean() > 0.5  # type: ignore[operator]
    none = dataclasses.replace(config, incumbent_cut_rate=0.0, cap_from=datetime.date(2099, 1, 1))
    limits = whole(none).statements.group_by("account_id").agg(pl.col("credit_limit").n_unique())
    assert limits["credit_limit"].max() == 1


def test_festivals_raise_spending(small: Block) -> None:
    spend = (
        small.statements.filter(pl.col("product") == "pay_later")
        .group_by(pl.col("month").dt.month())
        .agg(pl.col("spend").mean())
    )
    mean = dict(spend.rows())
    assert mean[11] > 1.15 * mean[9]
    assert mean[6] > 1.08 * mean[5]


def test_write_gives_the_blocks_as_files_and_counts_rows(tmp_path: Path, small: Block) -> None:
    config = dataclasses.replace(SMALL, partition_accounts=400)
    done: list[tuple[int, int]] = []
    summary = write(config, tmp_path / "data", lambda *at: done.append(at))
    assert done == [(400, 900), (800, 900), (900, 900)]
    files = sorted(
        path.relative_to(tmp_path / "data").as_posix()
        for path in (tmp_path / "data").rglob("*.parquet")
    )
    assert files == [
        f"{name}/part-0000{k}.parquet" for name in ("accounts", "statements") for k in range(3)
    ]
    same(small, Block(*(pl.read_parquet(tmp_path / "data" / name) for name in Block._fields)))
    assert (
        json.loads((tmp_path / "data" / "simulation.json").read_text(encoding="utf-8")) == summary
    )
    assert summary["rows"] == {
        "statements": small.statements.height,
        "accounts": small.accounts.height,
    }
    assert summary["config"]["first_month"] == "2023-10-01"
    assert set(summary["config"]) == {field.name for field in dataclasses.fields(SimulationConfig)}


def test_interrupted_write_leaves_nothing_and_keeps_what_stood_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(SMALL, accounts=30, months=3, partition_accounts=10)
    write(config, tmp_path / "kept")
    before = (tmp_path / "kept" / "simulation.json").read_bytes()

    def interrupt(done: int, _: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    for name in ("kept", "new"):
        with pytest.raises(KeyboardInterrupt):
            write(dataclasses.replace(config, seed=5), tmp_path / name, interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "simulation.json").read_bytes() == before


def test_write_replaces_an_earlier_simulation_and_nothing_else(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, accounts=30, months=3, partition_accounts=10)
    write(config, tmp_path / "data")
    write(dataclasses.replace(config, partition_accounts=30), tmp_path / "data")
    assert len(list((tmp_path / "data" / "statements").iterdir())) == 1
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me", encoding="utf-8")
    with pytest.raises(FileExistsError, match="letters: expected no such folder"):
        write(config, tmp_path / "letters")
    assert (tmp_path / "letters" / "dear.txt").read_text(encoding="utf-8") == "keep me"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    # The unfinished folder's name is longer than file systems allow.
    folder = tmp_path / ("x" * 250)
    with pytest.raises(OSError, match="too long") as refused:
        write(dataclasses.replace(SMALL, accounts=30, months=3), folder)
    assert refused.value.filename == str(folder)
    assert not list(tmp_path.iterdir())


def test_write_refuses_to_write_an_empty_table(tmp_path: Path) -> None:
    config = SimulationConfig(accounts=2, months=1, opened_before=0.0, openings_over=600)
    with pytest.raises(ValueError, match="expected accounts that open within 1 month"):
        write(config, tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("accounts", 0),
        ("months", 0),
        ("seed", -1),
        ("partition_accounts", 0),
        ("cash_loan_share", 1.5),
        ("cap_multiple", 0.0),
        ("month_unknown", float("nan")),
        ("first_month", datetime.date(2023, 10, 2)),
    ],
)
def test_config_out_of_range_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"SimulationConfig\.{field}: expected .*, got {value}"):
        dataclasses.replace(SMALL, **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("month_number", [-20, -1, 0, 2, 3, 26])
def test_month_numbers_and_months_are_inverse(month_number: int) -> None:
    assert month_number_of(calendar_month(month_number, SMALL), SMALL) == month_number


def test_extreme_configs_give_valid_statements() -> None:
    for changes in (
        {
            "cash_loan_share": 1.0,
            "shock_rate": 10.0,
            "cap_multiple": 0.1,
            "cap_from": datetime.date(2023, 1, 1),
        },
        {"cash_loan_share": 0.0, "income_unknown": 1.0, "debt_unknown": 1.0, "opened_before": 1.0},
        {
            "month_unknown": 1.0,
            "incumbent_cut_rate": 0.5,
            "incumbent_noise": 0.0,
            "limit_increase_rate": 1.0,
            "opened_before": 0.0,
        },
    ):
        config = dataclasses.replace(SMALL, accounts=200, **changes)
        check(whole(config).statements, window=False)


def test_blocks_come_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def counted(config: SimulationConfig, first: int, count: int) -> State:
        started.append(first)
        return begin(config, first, count)

    monkeypatch.setattr(output, "begin", counted)
    blocks: Iterator[Block] = simulate(
        dataclasses.replace(SMALL, accounts=30, months=2, partition_accounts=10)
    )
    next(blocks)
    assert started == [0]


def _same_columns(left: Columns, right: Columns) -> None:
    assert left.keys() == right.keys()
    for name in each(left):
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def test_simulated_statements_keep_the_contract_of_the_api(small: Block) -> None:
    """Ids and months are checked; the amounts are whole fen already."""
    statements = small.statements
    assert check(statements, window=False).equals(statements)
    assert round_amounts(statements).equals(statements)


@pytest.mark.parametrize(
    "first_month", [datetime.date(1899, 12, 1), datetime.date(2097, 2, 1), datetime.date(26, 8, 1)]
)
def test_months_that_the_api_refuses_are_not_simulated(first_month: datetime.date) -> None:
    with pytest.raises(ValueError, match="expected 36 months from 1900-01 to 2099-12, got"):
        SimulationConfig(first_month=first_month)
    SimulationConfig(first_month=datetime.date(2097, 1, 1))
