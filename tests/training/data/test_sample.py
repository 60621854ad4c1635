from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from tests.support.each import each
from training.data.config import DataError
from training.data.dataset import load
from training.data.sample import SUMMARY, sample, sample_facts
from training.data.simulate import SimulationConfig, write


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred accounts in four parts."""
    folder = tmp_path_factory.mktemp("whole") / "data"
    write(SimulationConfig(accounts=200, months=8, partition_accounts=50, seed=2), folder)
    return folder


def accounts_of(folder: Path) -> set[str]:
    return set(load(folder).statements["account_id"])


def test_a_sample_has_whole_accounts_and_the_larger_share_those_of_the_smaller(
    whole: Path, tmp_path: Path
) -> None:
    everything = load(whole)
    sizes = []
    before: set[str] = set()
    for share in (0.2, 0.6, 1.0):
        out = tmp_path / str(share)
        summary = sample(whole, out, share)
        found = load(out)
        names = set(found.statements["account_id"])
        of_these = everything.statements.filter(pl.col("account_id").is_in(list(names)))
        assert found.statements.equals(of_these)
        assert (summary["accounts"], summary["statements"]) == (len(names), of_these.height)
        assert summary["of"] == everything.digest
        assert summary["digest"] == found.digest
        assert before <= names
        table = pl.read_parquet(out / "accounts")
        assert set(table["account_id"]) == names
        before = names
        sizes.append(len(names) / everything.statements["account_id"].n_unique())
    assert sizes[2] == 1.0
    assert abs(sizes[0] - 0.2) < 0.1
    assert abs(sizes[1] - 0.6) < 0.11


def test_a_sample_depends_on_ids_and_seed_and_not_on_the_parts(whole: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "statements").mkdir(parents=True)
    shuffled = load(whole).statements.sample(fraction=1.0, shuffle=True, seed=3)
    shuffled.write_parquet(other / "statements" / "all.parquet")
    sample(whole, tmp_path / "one", 0.3)
    sample(other, tmp_path / "two", 0.3)
    sample(whole, tmp_path / "three", 0.3, seed=1)
    assert accounts_of(tmp_path / "one") == accounts_of(tmp_path / "two")
    assert accounts_of(tmp_path / "one") != accounts_of(tmp_path / "three")


def test_a_fit_names_the_sample_and_refuses_a_changed_one(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "sample"
    summary = sample(whole, out, 0.5, seed=4)
    facts = sample_facts(out, load(out).digest)
    expected = {"of": summary["of"], "share": "0.5", "seed": "4"}
    assert facts == {f"data.sample.{name}": value for name, value in expected.items()}
    assert sample_facts(whole, load(whole).digest) == {}
    part = next((out / "statements").iterdir())
    pl.read_parquet(part).head(40).write_parquet(part)
    with pytest.raises(DataError, match=f"expected the sample of digest {summary['digest']}, got "):
        sample_facts(out, load(out).digest)


def test_what_cannot_be_sampled_leaves_nothing(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "inside" / "sample"
    for share in each([0.0, 1.5]):
        with pytest.raises(ValueError, match=f"at most 1, got {share}"):
            sample(whole, out, share)
    with pytest.raises(DataError, match="in a share of 1e-06, got none"):
        sample(whole, out, 1e-6)
    with pytest.raises(DataError, match="no such folder"):
        sample(tmp_path / "nowhere", out, 0.5)
    assert not out.parent.exists() or not list(out.parent.iterdir())
    with pytest.raises(FileExistsError, match="expected a new folder"):
        sample(whole, whole, 0.5)


def test_labels_of_the_data_s_own_are_sampled_too(whole: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "statements").mkdir(parents=True)
    statements = load(whole).statements
    statements.write_parquet(own / "statements" / "part.parquet")
    last = statements["month"].max()
    labels = statements.filter(pl.col("month") == last).select(
        "account_id", as_of="month", label=(pl.col("days_past_due") > 0).cast(pl.Int8)
    )
    labels.write_parquet(own / "labels.parquet")
    definition = {"label": {"definition": "late in the last month"}}
    (own / "ingest.json").write_text(json.dumps(definition), "utf-8")
    summary = sample(own, tmp_path / "sample", 0.5)
    found = load(tmp_path / "sample")
    assert found.labels is not None
    assert found.label_definition == "late in the last month"
    assert set(found.labels["account_id"]) <= set(found.statements["account_id"])
    assert (summary["of"], summary["digest"]) == (load(own).digest, found.digest)
    assert (tmp_path / "sample" / SUMMARY).exists()
