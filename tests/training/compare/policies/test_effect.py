"""The effect of a cut, on simulated records whose effect was planted."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.support.each import each
from training.__main__ import main
from training.compare.policies.effect import (
    TABLE,
    difference_of_means,
    difference_of_shares,
    estimate_effect,
)
from training.compare.policies.frontier import PolicyLabError
from training.data.config import DataError

LIMIT = 10_000.0
# Planted: how often accounts default, what they owe then, and what good ones earn.
DEFAULTS = {"treated": 0.16, "control": 0.20}
OWED = {"treated": 4_000.0, "control": 7_000.0}
EARNED = {"treated": 250.0, "control": 700.0}
# Truth: an account that does not default owes nothing.
EFFECT = {
    "default": 0.16 - 0.20,
    "owed_at_default": 0.16 * 4_000.0 - 0.20 * 7_000.0,
    "owed_by_defaulted": 4_000.0 - 7_000.0,
    "earned_by_good": 250.0 - 700.0,
    "earned_by_good_share": (250.0 - 700.0) / LIMIT,
}


def record(account: int, arm: str | None, **fields: object) -> dict[str, object]:
    """A decision as an export has it, with the fields that are read."""
    return {
        "decision_id": f"d-{account}",
        "as_of": "2026-09",
        "decided_at": "2026-10-05T09:00:00.000000Z",
        "arm": arm,
        "credit_limit": LIMIT,
        "asked": {"account_id": f"a-{account}", "statements": []},
    } | fields


def write_records(
    folder: Path,
    records: list[dict[str, object]],
) -> Path:
    file = folder / "records.jsonl"
    file.write_text(
        "".join(json.dumps(one) + "\n" for one in records),
        encoding="utf-8",
    )
    return file


def simulate(
    folder: Path,
    seed: int,
    sizes: tuple[int, int] = (2_000, 400),
) -> tuple[Path, Path]:
    """Write the records and outcomes of accounts with the planted effect."""
    random = np.random.default_rng(seed)
    arms = ["treated"] * sizes[0] + ["control"] * sizes[1]
    rows = []
    for account, arm in enumerate(arms):
        label = int(random.random() < DEFAULTS[arm])
        rows.append(
            {
                "account_id": f"a-{account}",
                "as_of": "2026-09",
                "label": label,
                "earned": EARNED[arm] * random.gamma(2.0, 0.5),
                "owed_at_default": OWED[arm] * random.gamma(4.0, 0.25) if label else None,
            }
        )
    outcomes = folder / "outcomes.parquet"
    pl.DataFrame(rows).write_parquet(outcomes)
    records = [record(account, arm) for account, arm in enumerate(arms)]
    return write_records(
        folder,
        [*records, record(99_999, None)],
    ), outcomes


@pytest.mark.parametrize(
    "repeats",
    [pytest.param(50, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.torture)],
)
def test_intervals_hold_the_planted_effect(repeats: int, tmp_path: Path) -> None:
    held = dict.fromkeys(EFFECT, 0)
    for seed in range(repeats):
        table = estimate_effect(*simulate(tmp_path, seed)).table
        for row in each(table.iter_rows(named=True)):
            held[row["measure"]] += row["low"] <= EFFECT[row["measure"]] <= row["high"]
    # 95 % less four standard errors: 178 of 200.
    fewest = 0.95 * repeats - 4 * math.sqrt(0.95 * 0.05 * repeats)
    assert {name: count for name, count in held.items() if count < fewest} == {}


def test_exchanged_arms_have_the_opposite_effect(tmp_path: Path) -> None:
    """The control: where the arms are exchanged, no interval holds the planted effect."""
    records, outcomes = simulate(tmp_path, 1)
    straight = estimate_effect(records, outcomes).table
    swap = {'"treated"': '"control"', '"control"': '"treated"'}
    lines = records.read_text("utf-8").splitlines()
    swapped = [
        line.replace(arm, other) for line in lines for arm, other in swap.items() if arm in line
    ]
    exchanged = tmp_path / "exchanged.jsonl"
    exchanged.write_text("\n".join(swapped), encoding="utf-8")
    reverse = estimate_effect(exchanged, outcomes).table
    assert np.allclose(
        straight["effect"],
        -reverse["effect"].to_numpy(),
    )
    assert np.allclose(
        straight["low"],
        -reverse["high"].to_numpy(),
    )
    amounts = reverse.filter(pl.col("measure").str.contains("owed|earned"))
    for row in each(amounts.iter_rows(named=True)):
        assert not row["low"] <= EFFECT[row["measure"]] <= row["high"]


def test_without_an_effect_the_intervals_hold_zero(tmp_path: Path) -> None:
    records, outcomes = simulate(tmp_path, 3)
    random = np.random.default_rng(0)
    arms = random.choice(
        ["treated", "control"],
        2_400,
        p=[0.8, 0.2],
    )
    records = write_records(
        tmp_path,
        [record(account, str(arm)) for account, arm in enumerate(arms)],
    )
    table = estimate_effect(records, outcomes).table
    assert table.filter((pl.col("low") <= 0) & (pl.col("high") >= 0)).height >= 4


def test_the_first_decision_in_an_arm_counts(tmp_path: Path) -> None:
    """Later decisions depend on the arm, and a cut account is in none for a while."""
    later = {"decided_at": "2026-11-05T09:00:00.000000Z", "as_of": "2026-10"}
    records = write_records(
        tmp_path,
        [
            record(1, "control", **later),
            record(1, "control"),
            record(2, "treated"),
            record(2, None, **later),
        ],
    )
    outcomes = tmp_path / "outcomes.csv"
    outcomes.write_text(
        "account_id,as_of,label\na-1,2026-09,1\na-1,2026-10,0\na-2,2026-09,0\n", encoding="utf-8"
    )
    found = estimate_effect(records, outcomes)
    assert (found.accounts, found.known) == (2, 2)
    [row] = found.table.rows(named=True)
    assert (row["treated"], row["control"]) == (0.0, 1.0)
    # One account an arm has no interval.
    assert (row["effect"], row["low"], row["high"]) == (None, None, None)


def test_what_cannot_be_used_is_refused_with_its_place(tmp_path: Path) -> None:
    records, outcomes = simulate(tmp_path, 1, (5, 5))
    text = records.read_text("utf-8")
    broken = tmp_path / "broken.jsonl"
    broken.write_text(
        text.splitlines()[0] + "\n{}\n",
        encoding="utf-8",
    )
    with pytest.raises(PolicyLabError, match=r"broken\.jsonl:2: expected a decision"):
        estimate_effect(broken, outcomes)
    pl.read_parquet(outcomes).with_columns(earned=pl.lit("much")).write_parquet(outcomes)
    with pytest.raises(DataError, match="earned: expected amounts in CNY"):
        estimate_effect(records, outcomes)
    in_no_arm = write_records(tmp_path, [record(1, None)])
    with pytest.raises(PolicyLabError, match="got none: without \\[control\\] share"):
        estimate_effect(in_no_arm, outcomes)


def test_the_intervals_are_the_published_ones() -> None:
    """Newcombe (1998), table II, case a: 56 of 70 against 48 of 80."""
    one = np.repeat([1.0, 0.0], [56, 14])
    other = np.repeat([1.0, 0.0], [48, 32])
    found = [round(value, 4) for value in difference_of_shares(one, other)]
    assert found == [0.2, 0.0524, 0.3339]
    same = np.full(5, 3.0)
    assert difference_of_means(same, same) == (0.0, 0.0, 0.0)


def test_the_command_prints_every_measure(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    records, outcomes = simulate(tmp_path, 1)
    assert not main(["policy", "--effect", str(records), "--labels", str(outcomes)])
    printed = capsys.readouterr().out
    for name in (*EFFECT, *TABLE):
        assert name in printed
    assert "2,400 accounts in an arm, 2,400 with outcomes" in printed
