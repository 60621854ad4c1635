"""Outcomes that were not observed are not good ones."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.months import add_months, month_index
from features.schema import table
from features.types import Vector
from training.data.config import DataConfig, DataError
from training.data.dataset import Source
from training.data.labels import Labelled, choose_as_ofs, label_accounts, label_accounts_at
from training.data.observation import (
    ACCOUNT_LEFT,
    CLOSED,
    FEWEST,
    OBSERVED,
    PRODUCT_ENDED,
    STRAY_SHARE,
    follow,
    observe,
)
from training.data.outcome_counts import describe_censored, share_censored
from training.data.sample_request import hold_out
from training.data.splits import Split

FIRST = datetime.date(2025, 1, 1)
FITTING = frozenset[Split]({"train", "valid"})
TESTING = frozenset[Split]({"test"})
# The months in which an account reports, from and to.
Spans = dict[str, tuple[int, int]]


def month(number: int) -> datetime.date:
    return add_months(FIRST, number)


def panel(
    spans: Spans,
    product: Callable[[str], str] = lambda name: "pay_later",
    owing: Callable[[str], bool] = lambda name: True,
    late: Mapping[tuple[str, int], int] | None = None,
) -> pl.DataFrame:
    """Statements of accounts that report from one month to another, both included."""
    days = late or {}
    rows = [
        {
            "account_id": name,
            "month": month(number),
            "product": product(name),
            "credit_limit": 1000.0,
            "balance": 100.0 if owing(name) else 0.0,
            "payment": 0.0,
            "days_past_due": days.get((name, number), 0),
        }
        for name, (first, last) in sorted(spans.items())
        for number in range(first, last + 1)
    ]
    return table(rows)


def many(count: int, last: int, prefix: str = "a") -> Spans:
    return {f"{prefix}{number:04d}": (0, last) for number in range(count)}


def end_of(spans: Spans) -> datetime.date:
    return observe(panel(spans), 60).ends["pay_later"]


def slow_end(spans: Spans) -> int:
    """The definition of the end, with sets."""
    reporting = defaultdict(set)
    for name, (first, last) in spans.items():
        for number in range(first, last + 1):
            reporting[number].add(name)
    end = min(reporting)
    for number in range(end + 1, max(reporting) + 1):
        before, now = reporting[number - 1], reporting[number]
        goes_on = len(before & now)
        if goes_on == 0 or len(before) < STRAY_SHARE * len(reporting[end]):
            continue
        if len(before) < FEWEST or goes_on >= len(before) / 2:
            end = number
    return end


@st.composite
def spans_of_books(draw: st.DrawFn) -> Spans:
    """Books of one to three groups of accounts, with the same months within a group."""
    spans: dict[str, tuple[int, int]] = {}
    for group in range(draw(st.integers(1, 3))):
        first, length = draw(st.integers(0, 8)), draw(st.integers(0, 8))
        for number in range(draw(st.sampled_from([1, 2, 19, 20, 21, 60]))):
            spans[f"{group}-{number:03d}"] = (first, first + length)
    return spans


@given(spans_of_books())
def test_the_end_is_that_of_the_definition(spans: Spans) -> None:
    expected = slow_end(spans)
    if any(last > expected for _, last in spans.values()):
        with pytest.raises(DataError, match=f"expected none after {month(expected):%Y-%m}"):
            observe(panel(spans), 60)
    else:
        assert end_of(spans) == month(expected)


@pytest.mark.parametrize(
    ("spans", "end"),
    [
        pytest.param({"a": (3, 3)}, 3, id="one month of one account"),
        pytest.param(many(100, 8), 8, id="everybody to the same month"),
        pytest.param(many(50, 8) | many(50, 5, "b"), 8, id="half goes on"),
        pytest.param(many(30, 8) | many(70, 5, "b"), 8, id="most were sold, the rest goes on"),
        pytest.param({"a": (0, 5), "b": (0, 5), "c": (0, 8)}, 8, id="too few for a share"),
        pytest.param(many(100, 8) | {"early": (-24, -24)}, 8, id="a stray before the first month"),
    ],
)
def test_ends_of_books_without_strays(spans: Spans, end: int) -> None:
    assert end_of(spans) == month(end)


@pytest.mark.parametrize(
    ("strays", "words"),
    [
        pytest.param({"s": (12, 12)}, r"1 statement\(s\) of 1.*account s in 2026-01", id="one"),
        pytest.param({"s": (4, 12)}, r"4 statement\(s\) of 1.*account s in 2025-10", id="shifted"),
        pytest.param(
            {"s": (12, 12), "t": (13, 14)}, r"3 statement\(s\) of 2 account", id="two months"
        ),
        pytest.param(many(49, 9, "s"), r"49 statement\(s\).* and 46 more", id="half a month"),
    ],
)
def test_a_stray_month_is_named_and_refused(strays: Spans, words: str) -> None:
    spans = many(100, 8) | strays
    if len(strays) == 49:  # a last month that fewer than half of all accounts have
        spans = many(51, 8) | strays
    with pytest.raises(
        DataError, match=rf"(?s)pay_later: expected none after 2025-09, got {words}"
    ):
        observe(panel(spans), 60)


def test_a_stray_of_a_product_of_its_own_is_refused() -> None:
    statements = panel(
        many(100, 8) | {"s": (12, 12)},
        product=lambda name: "cash_loan" if name == "s" else "pay_later",
    )
    with pytest.raises(DataError, match=r"cash_loan: .*account s in 2026-01"):
        observe(statements, 60)


def test_accounts_in_default_are_not_alive() -> None:
    """A write-off of most accounts ends no product."""
    written_off = many(70, 5, "b")
    late = {(name, 5): 180 for name in written_off}
    spans = many(30, 6) | written_off
    observe(panel(spans, late=late), 60)
    # The control: the same accounts leave without a default.
    with pytest.raises(DataError, match="expected none after 2025-06"):
        observe(panel(spans), 60)


def test_a_book_in_default_goes_on() -> None:
    late = {(f"a{number:04d}", later): 90 for number in range(100) for later in range(3, 9)}
    assert observe(panel(many(100, 8), late=late), 60).ends == {"pay_later": month(8)}


# Outcomes of rows


def outcomes(statements: pl.DataFrame, names: Sequence[str], default: Sequence[float]) -> list[str]:
    observation = observe(statements, 60)
    followed = follow(
        observation,
        pl.DataFrame({"account_id": names}),
        FIRST,
        6,
        np.array(default),
    )
    return [str(outcome) for outcome in followed.outcome]


def test_a_window_that_was_not_seen_whole_is_censored() -> None:
    inf = float("inf")
    spans = many(100, 8) | {"left": (0, 5), "bad": (0, 5), "just": (0, 6)}
    statements = panel(spans, late={("bad", 3): 60})
    names = ["a0000", "left", "bad", "just"]
    expected = [OBSERVED, ACCOUNT_LEFT, OBSERVED, OBSERVED]
    assert outcomes(statements, names, [inf, inf, 3.0, inf]) == expected


def test_a_product_that_ends_censors_its_defaults_too() -> None:
    inf = float("inf")
    statements = panel(
        many(100, 8) | many(100, 5, "b"),
        product=lambda name: "cash_loan" if name.startswith("b") else "pay_later",
        late={("b0001", 3): 60},
    )
    expected = [OBSERVED, PRODUCT_ENDED, PRODUCT_ENDED]
    assert outcomes(statements, ["a0000", "b0000", "b0001"], [inf, inf, 3.0]) == expected


def test_an_account_that_left_owing_nothing_was_closed_unless_others_left_owing() -> None:
    inf = float("inf")
    spans = many(100, 8) | {"closed": (0, 4), "sold": (0, 5), "with": (0, 5)}
    statements = panel(spans, owing=lambda name: name not in ("closed", "with"))
    names = ["closed", "sold", "with"]
    assert outcomes(statements, names, [inf] * 3) == [CLOSED, ACCOUNT_LEFT, ACCOUNT_LEFT]


# Simulated books, whose outcomes are known, with statements taken away


def rate(data: Labelled) -> float:
    return float(np.average(data.label, weights=data.weight))


def test_outcomes_of_a_simulation_are_all_known(source: Source, data: Labelled) -> None:
    """Its accounts end only if they are closed or written off: no figure moves."""
    counts = data.outcomes
    assert set(counts["outcome"]) == {OBSERVED, CLOSED}
    assert share_censored(counts) == 0.0
    assert counts["rows"].sum() == len(data.label)
    # All accounts of the last month, by the rule that ignores how long an account was observed.
    as_of = choose_as_ofs(source.statements["month"], DataConfig())[-1][0]
    test = data.take(data.rows("test"))
    later = source.statements.filter(pl.col("month") > as_of, pl.col("days_past_due") >= 60)
    ids = test.features.accounts["account_id"]
    assert test.label.tolist() == ids.is_in(later["account_id"].to_list()).cast(float).to_list()


def test_one_statement_four_months_late_does_not_move_the_default_rate(source: Source) -> None:
    whole = source.statements
    last = whole["month"].max()
    assert isinstance(last, datetime.date)
    late = whole.filter(pl.col("month") == last).head(1)
    stray = late.with_columns(account_id=pl.lit("zz"), month=pl.lit(add_months(last, 4)))
    planted = Source(pl.concat([whole, stray]), None, "", "")
    words = rf"{stray['product'][0]}: expected none after 2026-09.*account zz in 2027-01"
    with pytest.raises(DataError, match=rf"(?s){words}"):
        label_accounts(planted, DataConfig())
    with pytest.raises(DataError, match=words):
        hold_out(planted, DataConfig())
    as_of = datetime.date(2026, 7, 1)  # where the stray moved the hold-out to
    with pytest.raises(DataError, match=words):
        label_accounts_at(planted.statements, as_of, TESTING, DataConfig())


def test_a_product_that_ends_early_is_left_out_and_counted(source: Source, data: Labelled) -> None:
    end = datetime.date(2026, 5, 1)
    goes_on = (pl.col("product") != "cash_loan") | (pl.col("month") <= end)
    ended = Source(source.statements.filter(goes_on), None, "", "")
    cut = label_accounts(ended, DataConfig())
    whole, kept = data.take(data.rows("test")), cut.take(cut.rows("test"))
    goes_on_rows = (whole.features.accounts["product"] == "pay_later").to_numpy()
    assert kept.label.tolist() == whole.label[goes_on_rows].tolist()
    of_test = cut.outcomes.filter(split="test")
    lost = int((~goes_on_rows).sum())
    assert describe_censored(of_test) == f"product ended {lost} (cash_loan {lost})"
    assert share_censored(of_test) == pytest.approx(lost / len(whole.label))
    # Training windows end before the product: none is lost.
    assert share_censored(cut.outcomes.filter(pl.col("split") != "test")) == 0.0


AS_OF = datetime.date(2025, 9, 1)
CHANCES = {"pay_later": 0.05, "cash_loan": 0.02}  # of leaving, each month


def taken_away(statements: pl.DataFrame, chances: Mapping[str, float], seed: int) -> pl.DataFrame:
    """The statements without those after a random month, drawn for each account alone."""
    random = np.random.default_rng(seed)
    accounts = statements.group_by("account_id", maintain_order=True).agg(
        pl.col("product").first().cast(pl.String)
    )
    chance = accounts["product"].replace_strict(chances, return_dtype=pl.Float64).to_numpy()
    stays = random.geometric(chance)  # 1 = one month after as_of it is gone
    leaves = pl.Series(month_index(AS_OF) + stays - 1)
    joined = statements.join(
        accounts.select("account_id", leaves=leaves), on="account_id", maintain_order="left"
    )
    number = pl.col("month").dt.year().cast(pl.Int32) * 12 + pl.col("month").dt.month() - 1
    return joined.filter(number <= pl.col("leaves")).drop("leaves")


@pytest.fixture(scope="module")
def short(source: Source) -> pl.DataFrame:
    """The months about AS_OF: outcomes need no more, and features are built the sooner."""
    months = pl.col("month").is_between(add_months(AS_OF, -2), add_months(AS_OF, 7))
    return source.statements.filter(months)


def replicate(
    statements: pl.DataFrame,
    take: Callable[[pl.DataFrame, int], pl.DataFrame],
    count: int = 30,
) -> dict[str, Vector]:
    """The default rate of ``count`` censored books, by the ways to treat what was not seen."""
    rates = defaultdict(list)
    for seed in range(count):
        config = DataConfig(unobserved="weight")
        data = label_accounts_at(take(statements, seed), AS_OF, FITTING, config)
        rates["weight"].append(rate(data))
        rates["leave_out"].append(float(data.label.mean()))
        # The control, as it was: what was not seen is good.
        rates["good"].append(float(data.label.sum()) / int(data.outcomes["rows"].sum()))
        rates["share"].append(share_censored(data.outcomes))
    return {way: np.array(values) for way, values in rates.items()}


def half_width(values: Vector) -> float:
    """Of the interval of a mean, four standard errors: a right one misses once in 16,000."""
    return float(4.0 * values.std(ddof=1) / np.sqrt(len(values)))


def test_weights_find_the_rate_of_accounts_that_leave_at_random(short: pl.DataFrame) -> None:
    truth = rate(label_accounts_at(short, AS_OF, FITTING, DataConfig()))
    found = replicate(short, lambda statements, seed: taken_away(statements, CHANCES, seed))
    share = found["share"].mean()
    assert 0.15 < share < 0.25
    weighted = found["weight"]
    assert abs(weighted.mean() - truth) < half_width(weighted)
    assert half_width(weighted) < 0.04 * truth  # precise enough to tell
    # As it was before: some of the defaults are not seen, and count as good.
    good = found["good"]
    assert good.mean() + half_width(good) < 0.95 * truth
    # Leaving out errs on the other side, by about half the share.
    left_out = found["leave_out"]
    assert 1.0 < left_out.mean() / truth < 1.0 + 0.75 * share


def test_leaving_out_is_unbiased_if_no_outcome_decides_what_is_seen(short: pl.DataFrame) -> None:
    """Accounts drawn at random leave in the month of as_of itself, before any outcome."""

    def take(statements: pl.DataFrame, seed: int) -> pl.DataFrame:
        ids = statements["account_id"].unique().sort()
        gone = ids.filter(pl.Series(np.random.default_rng(seed).random(len(ids)) < 0.2))
        stays = ~pl.col("account_id").is_in(gone.to_list()) | (pl.col("month") <= AS_OF)
        return statements.filter(stays)

    truth = rate(label_accounts_at(short, AS_OF, FITTING, DataConfig()))
    found = replicate(short, take)
    for way in ("leave_out", "weight"):
        assert abs(found[way].mean() - truth) < half_width(found[way])
    good = found["good"]
    assert good.mean() + half_width(good) < 0.9 * truth


def test_weights_are_one_where_nothing_is_censored(source: Source, data: Labelled) -> None:
    weighted = label_accounts(source, DataConfig(unobserved="weight"))
    assert weighted.weight is not None
    assert (weighted.weight == 1.0).all()
    assert np.array_equal(weighted.label, data.label)


@pytest.mark.slow
def test_test_rows_have_no_weights(source: Source) -> None:
    censored = taken_away(source.statements, CHANCES, 0)
    data = label_accounts(Source(censored, None, "", ""), DataConfig(unobserved="weight"))
    assert data.weight is not None
    assert (data.weight[data.rows("test")] == 1.0).all()
    assert data.weight.max() > 1.1
    both = DataConfig(unobserved="weight", treated="reweight")
    again = label_accounts(Source(censored, None, "", ""), both)
    assert again.weight is not None
    assert (again.weight[again.rows("test")] == 1.0).all()
    assert again.weight.max() > data.weight.max()


def test_months_without_a_known_outcome_are_refused() -> None:
    statements = panel(many(60, 8))
    with pytest.raises(DataError, match=r"whose outcome is known, got none of \d+: product ended"):
        label_accounts_at(statements, month(5), FITTING, DataConfig())


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ValueError, match=r"DataConfig.unobserved: expected one of .*'weight'"):
        DataConfig(unobserved="good")
