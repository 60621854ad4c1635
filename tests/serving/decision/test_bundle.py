from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
from pathlib import Path

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.decision import bundle as bundle_module
from serving.decision.bundle import (
    FILES,
    SEAL,
    Bundle,
    BundleError,
    Parts,
    ReferenceNote,
    assemble,
    read,
    write,
)
from serving.decision.golden import load
from serving.decision.scoring.score import Scorer, Scores, score
from serving.decision.scoring.shapley import Explainer, make_explainer
from serving.decision.scoring.shapley_tables import Layout
from tests.support.each import each
from tests.support.paths import ROOT
from tests.support.policies import policy_without_control_arm

NAMES = (SEAL, "manifest.json", *FILES)


def parts_of(bundle: Bundle) -> Parts:
    notes = {
        product: ReferenceNote(300, 600, 1.0, False, 0.9, 0.001, 0.0, 0.0, "drawn")
        for product in bundle.comparisons
    }
    return Parts(
        provenance=bundle.provenance,
        features=bundle.features,
        never_missing=bundle.never_missing,
        calibration=bundle.scorer.calibration,
        reference_notes=notes,
        model_text=bundle.scorer.model.model_to_string(),
        reference=bundle.reference,
        policy_text=policy_without_control_arm(),  # as tests/conftest.py made the bundle
        reasons_text=ROOT.joinpath("serving/decision/config/reasons.toml").read_text("utf-8"),
        advice_text=ROOT.joinpath("serving/decision/config/advice.toml").read_text("utf-8"),
        economics=bundle.economics,
    )


def test_a_written_bundle_is_read_as_it_was(
    bundle: Bundle, bundle_folder: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    digest = write(parts_of(bundle), bundle.golden_text, again)
    assert {path.name for path in again.iterdir()} == set(NAMES)
    found = load(again)
    assert found.digest == digest == (again / SEAL).read_text(encoding="utf-8").strip()
    assert found.features == bundle.features
    for product, comparison in each(bundle.comparisons.items()):
        again_compared = found.comparisons[product]
        assert again_compared.size == comparison.size == 300
        assert again_compared.medians == pytest.approx(comparison.medians, nan_ok=True)
    # The manifest has other notes on the reference, and with it the seal.
    for name in each(FILES):
        assert (again / name).read_bytes() == (bundle_folder / name).read_bytes(), name


def test_the_same_parts_give_the_same_digest(bundle: Bundle, tmp_path: Path) -> None:
    digests = {
        write(parts_of(bundle), bundle.golden_text, tmp_path / name) for name in ("one", "two")
    }
    assert len(digests) == 1


def test_a_bundle_is_never_written_over(bundle: Bundle, tmp_path: Path) -> None:
    write(parts_of(bundle), bundle.golden_text, tmp_path / "one")
    with pytest.raises(FileExistsError, match="never overwritten"):
        write(parts_of(bundle), bundle.golden_text, tmp_path / "one")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(NAMES), place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255)
)
def test_any_changed_byte_is_refused_before_anything_is_parsed(
    name: str,
    place: float,
    change: int,
    bundle_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    damaged = tmp_path_factory.mktemp("damaged") / "bundle"
    shutil.copytree(bundle_folder, damaged)
    content = bytearray((damaged / name).read_bytes())
    content[int(place * len(content))] ^= change
    (damaged / name).write_bytes(content)

    def parse(*_: object, **__: object) -> None:
        pytest.fail("parsed before its digest was verified")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle_module, "assemble", parse)
        with pytest.raises(BundleError, match="damaged"):
            read(damaged)
    shutil.rmtree(damaged)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_truncated_or_foreign_file_is_refused(
    name: str, bundle_folder: Path, tmp_path: Path
) -> None:
    for fault in ("missing", "truncated", "foreign"):
        damaged = tmp_path / f"{fault}-{name}"
        shutil.copytree(bundle_folder, damaged)
        if fault == "missing":
            (damaged / name).unlink()
        elif fault == "truncated":
            (damaged / name).write_bytes((damaged / name).read_bytes()[:-1])
        else:
            (damaged / f"{name}.pkl").write_bytes(b"")
        with pytest.raises(BundleError):
            read(damaged)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="missing"):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize("change", ["format", "missing", "unknown"])
def test_a_sealed_manifest_of_another_kind_is_refused(
    change: str, bundle_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(bundle_folder, other)
    manifest = json.loads((other / "manifest.json").read_text(encoding="utf-8"))
    if change == "format":
        manifest["format"] = 99
    elif change == "missing":
        del manifest["never_missing"]
    else:
        manifest["provenance"]["colour"] = "blue"
    content = json.dumps(manifest).encode()
    (other / "manifest.json").write_bytes(content)
    (other / SEAL).write_text(f"{hashlib.sha256(content).hexdigest()}\n", encoding="utf-8")
    with pytest.raises(BundleError, match="format"):
        read(other)


def test_golden_rows_notice_another_answer(bundle: Bundle, tmp_path: Path) -> None:
    """Control: valid digests and other answers, as with another version of a library."""
    golden = json.loads(bundle.golden_text)
    golden["answers"][0]["log_odds"] += 1e-6
    write(parts_of(bundle), json.dumps(golden), tmp_path / "other")
    read(tmp_path / "other")
    with pytest.raises(
        BundleError, match=r"golden-01 is answered differently here in \['log_odds'\]"
    ):
        load(tmp_path / "other")
    golden["answers"][0]["log_odds"] -= 1e-6
    golden["answers"][-1]["reasons"] = ["whim"]
    write(parts_of(bundle), json.dumps(golden), tmp_path / "another")
    with pytest.raises(BundleError, match=r"in \['reasons'\]"):
        load(tmp_path / "another")


def test_golden_rows_name_no_customer(bundle: Bundle) -> None:
    accounts = {row[0] for row in json.loads(bundle.golden_text)["statements"]}
    assert len(accounts) >= 8
    assert accounts == {f"golden-{number:02d}" for number in range(1, len(accounts) + 1)}


def test_parts_that_do_not_fit_are_refused(bundle: Bundle) -> None:
    parts = parts_of(bundle)
    cases = {
        "expected the features": dataclasses.replace(parts, features=parts.features[::-1]),
        "expected the columns": dataclasses.replace(
            parts, reference=parts.reference.drop(parts.features[0])
        ),
        "expected 300 accounts of cash_loan, got 299": dataclasses.replace(
            parts, reference=parts.reference[1:]
        ),
        "expected finite values": dataclasses.replace(
            parts, reference=parts.reference.with_columns(pl.lit(np.inf).alias(parts.features[3]))
        ),
        "expected the products": dataclasses.replace(parts, reference_notes={}),
        "not in the catalogue": dataclasses.replace(
            parts, policy_text=parts.policy_text.replace("idle_months", "idle_years")
        ),
        "expected the model's name": dataclasses.replace(
            parts, provenance=dataclasses.replace(parts.provenance, name="")
        ),
    }
    for message, broken in cases.items():
        with pytest.raises(BundleError, match=message):
            assemble(broken)


@pytest.mark.parametrize("options", [{"linear_tree": True}, {"max_depth": 12, "num_leaves": 200}])
def test_a_model_that_cannot_be_explained_is_no_bundle(
    bundle: Bundle, options: dict[str, object]
) -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(600, len(bundle.features)))
    parameters = {"verbose": -1, "min_data_in_leaf": 1} | options
    label = np.exp(3 * rows[:, 0])
    data = lgb.Dataset(rows, label, feature_name=list(bundle.features), params=parameters)
    text = lgb.train(parameters, data, 2).model_to_string()
    with pytest.raises(BundleError, match=r"model.txt: tree \d: expected"):
        assemble(dataclasses.replace(parts_of(bundle), model_text=text))


def test_tables_that_do_not_add_up_on_the_reference_are_no_bundle(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lying(layout: Layout, reference: np.ndarray) -> Explainer:
        found = make_explainer(layout, reference)
        return dataclasses.replace(found, base=found.base + 1e-6)

    parts = parts_of(bundle)
    assemble(parts)
    monkeypatch.setattr(bundle_module, "make_explainer", lying)
    with pytest.raises(BundleError, match=r"model.txt: contributions miss the log-odds by"):
        assemble(parts)


def test_every_reference_row_is_tried(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def counted(matrix: np.ndarray, products: list[str], scorer: Scorer) -> Scores:
        tried.append(len(matrix))
        return score(matrix, products, scorer)

    monkeypatch.setattr(bundle_module, "score", counted)
    assemble(parts_of(bundle))
    assert sum(tried) == bundle.reference.height


def test_medians_are_of_known_values_and_unknown_where_most_are(bundle: Bundle) -> None:
    one, other = bundle.features[:2]
    product = next(iter(bundle.comparisons))
    place = pl.int_range(pl.len()).over("product")
    reference = bundle.reference.with_columns(
        pl.when(place < 150).then(None).otherwise(pl.lit(7.0)).alias(one),
        pl.when(place < 151).then(None).otherwise(1.0).alias(other),
    )
    changed = assemble(dataclasses.replace(parts_of(bundle), reference=reference))
    medians = changed.comparisons[product].medians
    assert medians[one] == 7.0
    assert math.isnan(medians[other])
    for name in bundle.features[2:]:
        values = bundle.reference.filter(product=product)[name].drop_nulls().to_numpy()
        assert (
            medians[name] == np.median(values) if len(values) >= 150 else math.isnan(medians[name])
        )


def test_the_reference_names_no_account(bundle: Bundle) -> None:
    assert bundle.reference.columns == ["product", *bundle.features]
    assert bundle.reference.group_by("product").len()["len"].to_list() == [300, 300]
    assert bundle.reference.select(pl.exclude("product")).dtypes == [pl.Float64()] * len(
        bundle.features
    )


def test_a_bundle_of_an_older_format_says_what_to_do(bundle_folder: Path, tmp_path: Path) -> None:
    """It has other files, so its format is stated and not their names."""
    older = tmp_path / "older"
    shutil.copytree(bundle_folder, older)
    (older / "economics.json").unlink()
    manifest = json.loads((older / "manifest.json").read_text("utf-8"))
    (older / "manifest.json").write_text(json.dumps(manifest | {"format": 7}), encoding="utf-8")
    with pytest.raises(BundleError, match="expected bundle format 8, got 7; fit the model again"):
        read(older)


def test_a_product_without_economics_is_refused(bundle: Bundle) -> None:
    learnt = {name: one for name, one in bundle.economics.items() if name != "pay_later"}
    text = parts_of(bundle).policy_text
    numbers = ("margin = ", "credit_conversion = ")
    lines = [line for line in text.splitlines() if not line.startswith(numbers)]
    parts = dataclasses.replace(
        parts_of(bundle), economics=learnt, policy_text="\n".join(lines) + "\n"
    )
    with pytest.raises(BundleError, match=r"margin and credit_conversion of 'pay_later'"):
        assemble(parts)
