from __future__ import annotations

import dataclasses
import datetime
import fcntl
import hashlib
import itertools
import json
import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from serving.__main__ import main
from serving.decision.bundle import Bundle
from serving.portfolio import partitions, worker
from serving.portfolio.errors import PortfolioError
from serving.portfolio.order import Order
from serving.portfolio.run import MANIFEST, Result, run
from tests.support import checks
from tests.support.each import each
from tests.support.paths import ROOT

ACCOUNTS = 120


@pytest.fixture(scope="module")
def statements(windows: pl.DataFrame) -> pl.DataFrame:
    names = windows["account_id"].unique(maintain_order=True)[:ACCOUNTS]
    return windows.filter(pl.col("account_id").is_in(names.to_list()))


Portfolio = Callable[[str, Sequence[pl.DataFrame]], Path]


@pytest.fixture
def portfolio(tmp_path: Path) -> Portfolio:
    """Writes tables as the files of a portfolio of that name; returns its folder."""

    def write(name: str, parts: Sequence[pl.DataFrame]) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for number, part in enumerate(parts):
            part.write_parquet(folder / f"part-{number}.parquet")
        return folder

    return write


@pytest.fixture
def order(tmp_path: Path, bundle_folder: Path) -> Callable[..., Order]:
    numbers = itertools.count()

    def make(folder: Path, **options: Any) -> Order:
        out = tmp_path / f"decisions-{next(numbers)}"
        wanted = Order(folder, out, bundle_folder, checks.WHEN)
        return dataclasses.replace(wanted, **options)

    return make


def split(statements: pl.DataFrame, parts: int) -> list[pl.DataFrame]:
    place = pl.col("account_id").rank("dense") % parts
    return [statements.filter(place == part) for part in range(parts)]


def read_all(decisions: Path) -> pl.DataFrame:
    tables = [pl.read_parquet(file) for file in decisions.rglob("*.parquet")]
    return pl.concat(tables).sort("account_id")


Make = Callable[..., Order]


def test_any_files_give_the_answers_of_the_function(
    statements: pl.DataFrame, portfolio: Portfolio, order: Make, bundle: Bundle
) -> None:
    """As one file of shuffled rows and columns, and as three."""
    answers = checks.answer_alone(bundle)(statements.partition_by("account_id"))
    shuffled = statements.sample(fraction=1.0, shuffle=True, seed=1)
    one = portfolio("one", [shuffled.select(sorted(shuffled.columns))])
    for folder in each([one, portfolio("three", split(statements, 3))]):
        wanted = order(folder, with_all_answers=True)
        run(wanted)
        assert read_all(wanted.decisions)["answer"].to_list() == answers


@pytest.mark.slow
def test_any_number_of_processes_writes_the_same_bytes(
    statements: pl.DataFrame, portfolio: Portfolio, order: Make
) -> None:
    wanted = order(portfolio("three", split(statements, 3)))
    run(wanted)
    by_two = order(wanted.statements, workers=2)
    run(by_two)
    assert same_files(wanted.decisions, by_two.decisions)


def test_a_file_too_large_for_the_memory_is_read_in_parts(
    statements: pl.DataFrame, portfolio: Portfolio, order: Make
) -> None:
    whole = order(portfolio("whole", [statements]))
    run(whole)
    parted = order(whole.statements, rows_at_once=statements.height // 4)
    run(parted)
    assert len(list(parted.decisions.glob("*.parquet"))) >= 4
    assert read_all(parted.decisions).equals(read_all(whole.decisions))


def test_the_manifest_has_the_digests_and_the_sums(
    statements: pl.DataFrame, portfolio: Portfolio, order: Make, bundle: Bundle
) -> None:
    wanted = order(portfolio("some", split(statements, 2)))
    result = run(wanted)
    manifest = json.loads((wanted.decisions / MANIFEST).read_text("utf-8"))
    assert manifest == result.manifest
    assert (manifest["state"], manifest["bundle"]) == ("finished", bundle.digest)
    files: dict[str, str] = {}
    for part in each(manifest["partitions"]):
        files |= part["decisions"]
        source = wanted.statements / f"{part['name']}.parquet"
        assert part["statements"] == partitions.digest_of(source)
    for name, digest in each(files.items()):
        assert digest == partitions.digest_of(wanted.decisions / name)
    table = read_all(wanted.decisions)
    assert manifest["accounts"] == table.height == ACCOUNTS
    after = sum(total["limit_after"] for total in manifest["totals"])
    assert after == table["new_limit"].sum()
    assert {total["action"] for total in manifest["totals"]} == set(table["action"])


def same_files(one: Path, other: Path) -> bool:
    """Whether both folders have the same files with the same bytes, but for their manifests."""
    contents = [
        {
            str(file.relative_to(folder)): file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file() and file.name != "_lock"
        }
        for folder in (one, other)
    ]
    return contents[0] == contents[1]


def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    statements: pl.DataFrame, portfolio: Portfolio, order: Make
) -> None:
    """Killed when the first of six files is decided; nothing that is whole is decided again."""
    wanted = order(portfolio("six", split(statements, 6)))
    undisturbed = dataclasses.replace(wanted, decisions=wanted.decisions.with_name("undisturbed"))
    run(undisturbed)
    command = [sys.executable, "-m", "serving", "portfolio", str(wanted.statements)]
    command += ["--out", str(wanted.decisions), "--bundle", str(wanted.bundle), "--workers", "1"]
    command += ["--decided-at", checks.WHEN.isoformat()]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    first = wanted.decisions / worker.NOTES / "part-0.json"
    while not first.exists() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = {file: file.stat().st_mtime_ns for file in wanted.decisions.glob("*.parquet")}
    assert 1 <= len(kept) < 6
    assert json.loads((wanted.decisions / MANIFEST).read_text("utf-8"))["state"] == "unfinished"

    run(dataclasses.replace(wanted, decided_at=None))
    assert same_files(wanted.decisions, undisturbed.decisions)
    done = first.with_name("part-0.json")
    assert done.exists()
    part = wanted.decisions / "part-0.parquet"
    assert part.stat().st_mtime_ns == kept[part]


def refused(order: Order) -> str:
    with pytest.raises(PortfolioError) as caught:
        run(order)
    manifest = order.decisions / MANIFEST
    if manifest.exists():
        assert json.loads(manifest.read_text("utf-8"))["state"] == "unfinished"
    return str(caught.value)


def test_an_account_in_two_files_is_named_with_both(
    statements: pl.DataFrame, portfolio: Portfolio, order: Make
) -> None:
    by_month = statements.partition_by("month")[-2:]
    wanted = order(portfolio("by-month", by_month))
    both = set(by_month[0]["account_id"]) & set(by_month[1]["account_id"])
    text = refused(wanted)
    assert f"got account {min(both)} and {len(both) - 1} more in part-0.parquet and in " in text


def test_what_cannot_be_decided_is_named_with_its_file(
    statements: pl.DataFrame, portfolio: Portfolio, order: Make
) -> None:
    good, bad = split(statements, 2)
    name = bad["account_id"][0]
    is_first = pl.col("account_id") == name
    broken = portfolio("broken", [good, bad])
    (broken / "part-1.parquet").write_bytes(b"PAR1 and then nothing")
    cases = {
        "part-1.parquet: cannot be read as Parquet": broken,
        "part-1.parquet: expected the columns": portfolio("column", [good, bad.drop("payment")]),
        f"credit_limit <= 1e+09: {len(bad.filter(is_first))} row(s): account {name}": portfolio(
            "negative",
            [
                good,
                bad.with_columns(
                    pl.when(is_first).then(-1.0).otherwise("credit_limit").alias("credit_limit")
                ),
            ],
        ),
        f"one statement a month: 1 row(s): account {name}": portfolio(
            "twice", [good, pl.concat([bad, bad[:1]])]
        ),
    }
    for expected, folder in each(cases.items()):
        text = refused(order(folder))
        assert expected in text
        assert "part-1.parquet" in text
    assert "expected a Parquet file" in refused(order(broken / "nowhere"))


def test_accounts_with_faults_are_set_aside_where_that_is_asked_for(
    statements: pl.DataFrame, portfolio: Portfolio, order: Make, tmp_path: Path
) -> None:
    """Of each kind one; the names look like numbers, and are listed as they are."""
    names = statements["account_id"].unique(maintain_order=True)
    numbers = {name: f"{place:05}" for place, name in enumerate(names)}
    numbered = statements.with_columns(
        pl.col("account_id").replace_strict(numbers), pl.col("product").cast(pl.String)
    )
    first, second = (pl.col("account_id") == name for name in ("00000", "00001"))
    is_last = pl.col("month") == pl.col("month").max()
    bad = numbered.with_columns(
        pl.when(first).then(-1.0).otherwise("payment").alias("payment"),
        pl.when(second).then(pl.lit("mortgage")).otherwise("product").alias("product"),
    )
    later = numbered.filter((pl.col("account_id") == "00002") & is_last)
    later = later.with_columns(pl.col("month").dt.offset_by("12mo"))
    rejects = tmp_path / "rejects.csv"
    wanted = order(portfolio("bad", split(pl.concat([bad, later]), 2)), rejects=rejects)
    result = run(wanted)
    listed = pl.read_csv(rejects, infer_schema=False)
    assert dict(listed.select("account_id", "rule").iter_rows()) == {
        "00000": "0 <= payment <= 1e+09",
        "00001": "product is pay_later or cash_loan",
        "00002": "no month is in the future",
    }
    assert result.set_aside == result.manifest["set_aside"] == 3
    assert set(read_all(wanted.decisions)["account_id"]).isdisjoint(listed["account_id"])
    assert result.totals.accounts + result.set_aside == ACCOUNTS

    # A list of last month is not taken for that of this run, and no other file is replaced.
    good = order(portfolio("good", [statements]), rejects=rejects)
    assert "rejects.csv exists already: expected a new file" in refused(good)
    nowhere = dataclasses.replace(good, rejects=tmp_path / "nowhere" / "rejects.csv")
    assert "expected a file in a folder that exists" in refused(nowhere)
    assert not good.decisions.exists()
    none = dataclasses.replace(good, rejects=tmp_path / "none.csv")
    assert run(none).set_aside == 0
    assert pl.read_csv(tmp_path / "none.csv").shape == (0, 3)


def test_places_where_the_decisions_cannot_be_are_refused(
    statements: pl.DataFrame, portfolio: Portfolio, order: Make, tmp_path: Path
) -> None:
    few = statements.filter(pl.col("account_id").is_in(statements["account_id"][:1].implode()))
    folder = portfolio("here", [few])
    before = sorted(folder.rglob("*"))
    link = tmp_path / "link"
    link.symlink_to(folder)
    wanted = order(folder)
    for place in each((folder, folder / "decisions", link / "decisions")):
        text = refused(dataclasses.replace(wanted, decisions=place))
        assert "expected a folder outside the statements" in text
    note = tmp_path / "note.txt"
    note.write_text("no folder", "utf-8")
    with pytest.raises(OSError, match="Not a directory"):
        run(dataclasses.replace(wanted, decisions=note / "decisions"))
    assert sorted(folder.rglob("*")) == before
    wanted.decisions.mkdir()
    with (wanted.decisions / "_lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert f"{wanted.decisions}: another process runs here" in refused(wanted)


def test_the_command_decides_without_any_option(
    statements: pl.DataFrame,
    portfolio: Portfolio,
    order: Make,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a machine of one core, where the process of the command itself decides."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    wanted = order(portfolio("plain", [statements]))
    command = ["portfolio", str(wanted.statements), "--out", str(wanted.decisions)]
    assert main([*command, "--bundle", str(wanted.bundle)]) == 0
    printed = capsys.readouterr().out
    assert "nothing was recorded, and nothing is in force by this" in printed
    assert read_all(wanted.decisions).height == ACCOUNTS


def test_the_command_says_why_no_account_was_decided(
    statements: pl.DataFrame,
    portfolio: Portfolio,
    order: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = statements.filter(pl.col("account_id") == statements["account_id"][0])
    wrong = one.with_columns(payment=pl.lit(-1.0))
    rejects = str(tmp_path / "rejects.csv")
    cases: list[tuple[str, pl.DataFrame, list[str], str]] = [
        ("early", one, ["--last-month", "2000-01"], "no statement is of 2000-01 or before"),
        ("none", one[:0], [], "the files have no statement"),
        ("wrong", wrong, ["--rejects", rejects], "all accounts have faults"),
    ]
    for name, rows, options, because in each(cases):
        wanted = order(portfolio(name, [rows]))
        command = ["portfolio", str(wanted.statements), "--out", str(wanted.decisions)]
        assert main([*command, "--bundle", str(wanted.bundle), "--workers", "1", *options]) == 0
        assert f"no account was decided: {because}" in capsys.readouterr().err
    # The control.
    wanted = order(portfolio("one", [one]))
    command = ["portfolio", str(wanted.statements), "--out", str(wanted.decisions)]
    assert main([*command, "--bundle", str(wanted.bundle), "--workers", "1"]) == 0
    assert "no account was decided" not in capsys.readouterr().err


def test_a_part_does_not_replace_the_decisions_of_another_file(
    statements: pl.DataFrame, portfolio: Portfolio, order: Make
) -> None:
    folder = portfolio("parts", split(statements, 2))
    (folder / "part-1.parquet").rename(folder / "part-0.2.parquet")
    wanted = order(folder, rows_at_once=statements.height // 4)
    assert "a part of its decisions would be part-0.2.parquet, as those of" in refused(wanted)
    # The same files in the memory for them are no fault.
    whole = order(folder)
    run(whole)
    assert read_all(whole.decisions).height == ACCOUNTS


def test_files_without_accounts_are_no_fault(
    statements: pl.DataFrame, portfolio: Portfolio, order: Make
) -> None:
    folder = portfolio("empty", [statements[:0]])
    (folder / "notes.txt").write_text("of last month", "utf-8")
    result = run(order(folder))
    assert (result.totals.accounts, result.manifest["partitions"][0]["decisions"]) == (0, {})
    assert result.manifest["left_out"] == ["notes.txt"]
    early = order(portfolio("early", [statements]), last_month=datetime.date(2000, 1, 1))
    assert run(early).totals.accounts == 0


def test_decisions_on_statements_that_are_gone_are_not_mixed_with_the_others(
    statements: pl.DataFrame, portfolio: Portfolio, order: Make
) -> None:
    """As after a run that was refused, and whose statements were then put in order."""
    folder = portfolio("renamed", [statements])
    wanted = order(folder)
    run(wanted)
    manifest = wanted.decisions / MANIFEST
    stored = json.loads(manifest.read_text("utf-8"))
    manifest.write_text(json.dumps(stored | {"state": "unfinished"}), "utf-8")
    [file] = folder.glob("*.parquet")
    file.rename(folder / "other.parquet")
    assert f"{file.name} and 0 more have decisions on statements" in refused_text(wanted)
    (wanted.decisions / file.name).unlink()
    run(wanted)
    assert read_all(wanted.decisions).height == ACCOUNTS


def test_another_run_is_not_mixed_with_the_one_in_the_folder(
    statements: pl.DataFrame, portfolio: Portfolio, order: Make, tmp_path: Path
) -> None:
    wanted = order(portfolio("whole", [statements]))
    run(wanted)
    assert "holds a finished run" in refused_text(wanted)
    manifest = wanted.decisions / MANIFEST
    stored = json.loads(manifest.read_text("utf-8"))
    manifest.write_text(json.dumps(stored | {"state": "unfinished"}), "utf-8")
    later = checks.WHEN + datetime.timedelta(days=1)
    changed = dataclasses.replace(wanted, decided_at=later)
    assert "unfinished run with other decided_at, run" in refused(changed)
    # As if the bundle had been changed since the run was interrupted.
    other_bundle = {"bundle": "0" * 64, "state": "unfinished"}
    manifest.write_text(json.dumps(stored | other_bundle), "utf-8")
    assert "unfinished run with other bundle;" in refused(wanted)
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("mine", "utf-8")
    assert "expected a new folder" in refused(dataclasses.replace(wanted, decisions=other))
    assert [file.name for file in other.iterdir()] == ["letter.txt"]


def test_a_run_of_an_earlier_version_goes_on_with_its_id(
    statements: pl.DataFrame, portfolio: Portfolio, order: Make
) -> None:
    """It wrote a space after the name of a model that has no version, here as in most trials."""
    wanted = order(portfolio("spaced", [statements]))
    first = run(wanted).manifest
    assert first["model"] == first["model"].strip() != ""
    manifest = wanted.decisions / MANIFEST
    earlier = first | {"state": "unfinished", "model": f"{first['model']} "}
    manifest.write_text(json.dumps(earlier), "utf-8")
    # The id as that version made it.
    described = (
        "decided_at",
        "last_month",
        "model",
        "bundle",
        "policy",
        "all_answers",
        "contributions",
        "sets_aside",
        "tenant",
        "records",
    )
    text = json.dumps({name: earlier[name] for name in described}, sort_keys=True)
    assert first["run"] == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert run(wanted).manifest == first


def refused_text(order: Order) -> str:
    with pytest.raises(PortfolioError) as caught:
        run(order)
    return str(caught.value)


def test_statements_that_changed_since_are_decided_again(
    statements: pl.DataFrame, portfolio: Portfolio, order: Make
) -> None:
    """A note of other statements is not taken for one of these."""
    folder = portfolio("changing", split(statements, 2))
    wanted = order(folder)
    run(wanted)
    manifest = wanted.decisions / MANIFEST
    stored = json.loads(manifest.read_text("utf-8"))
    manifest.write_text(json.dumps(stored | {"state": "unfinished"}), "utf-8")
    fewer = split(statements, 2)[1]
    fewer = fewer.filter(pl.col("account_id") != fewer["account_id"][0])
    fewer.write_parquet(folder / "part-1.parquet")
    result: Result = run(wanted)
    assert result.totals.accounts == ACCOUNTS - 1 == read_all(wanted.decisions).height


@pytest.mark.torture
def test_a_process_that_is_killed_ends_the_run_with_a_message(
    statements: pl.DataFrame,
    portfolio: Portfolio,
    order: Make,
) -> None:
    wanted = order(portfolio("killed", split(statements, 3)), workers=2)

    def kill_workers(*_: int) -> None:
        for child in each(multiprocessing.active_children()):
            child.kill()

    with pytest.raises(PortfolioError, match="goes on where it stopped"):
        run(wanted, kill_workers)
    assert run(wanted).totals.accounts == ACCOUNTS
