"""Comparisons and promotions in a store with good and bad versions."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from serving.decision.bundle import Bundle
from serving.decision.golden import load as load_bundle
from serving.decision.scoring.score import logit
from serving.operations.pack import PackError, fetch
from tests.support.gates import small_book_gates, write_small_book_gates
from tests.support.policies import POLICY_TEXT
from tests.support.small_fit import CONFIGS
from tests.training.conftest import STORE_WARNINGS, Kept, add_version, copy_of, understated
from training.__main__ import main
from training.compare.models.compare import compare
from training.compare.models.page import SECTIONS
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.labels import Labelled
from training.evaluate.model_lookup import find_model, version_of
from training.fit.fit import Fitted, fit
from training.release.findings import Outcome
from training.release.gate_config import read_gates
from training.release.gates import CHECKS, GOLDEN
from training.release.promote import PromotionConfig, nominate, promote, rollback
from training.tracking import registry, runs
from training.tracking.defaults import MODEL
from training.tracking.store import Store, TrackingError, fetch_run_info

pytestmark = STORE_WARNINGS
SMALL_BOOK = read_gates(small_book_gates())
# Cut-offs that are lower by far: a learnt margin alone would outweigh a smaller harm.
HARM, MARGIN = 0.01, 0.012
CHEAPER_CUTS = POLICY_TEXT.replace("\nharm = 0.05\n", f"\nharm = {HARM}\nmargin = {MARGIN}\n")
HONEST, UNDERSTATED, RESPLIT = "2", "3", "4"


@pytest.fixture(scope="module")
def stocked(
    kept: Kept,
    bundle: Bundle,
    data: Labelled,
    source: Source,
    tmp_path_factory: pytest.TempPathFactory,
) -> Store:
    """A store with four versions.

    1 is the champion, 2 an honest refit, 3 the refit with log-odds that are too low by as much as
    its policy has its cut-offs lower, so that it cuts the same accounts, and 4 the refit as if
    fitted with another split.
    """
    store = copy_of(kept.store, tmp_path_factory.mktemp("promotion") / "mlruns")
    refit = fit(data, replace(CONFIGS[1], seed=5))
    add_version(store, refit, data, source, None)
    policy = tmp_path_factory.mktemp("policy") / "policy.toml"
    policy.write_text(CHEAPER_CUTS, "utf-8")
    with_policy = replace(CONFIGS[2], policy=policy)
    by = log_odds_lower(bundle)
    add_version(store, understated(refit, by), data, source, None, with_policy)
    add_version(store, refit, data, source, DataConfig(split_seed=1))
    registry.promote(store, MODEL, "1")
    return store


def log_odds_lower(bundle: Bundle) -> float:
    """How much lower the cut-off of ``pay_later`` is by CHEAPER_CUTS than by the bundle's policy.

    That of the other product moves by nearly as many log-odds.
    """
    policy = bundle.policy
    economics = replace(policy.economics, harm=HARM, margin=MARGIN)
    cheaper = replace(policy, economics=economics)
    return logit(policy.cut_off("pay_later")) - logit(cheaper.cut_off("pay_later"))


@pytest.fixture
def store(stocked: Store, tmp_path: Path) -> Store:
    """A copy to write to."""
    return copy_of(stocked, tmp_path / "mlruns")


def version_tags(store: Store, version: str) -> dict[str, str]:
    return dict(store.client().get_model_version(MODEL, version).tags)


def options_of(store: Store, simulated: Path) -> list[str]:
    """The options of a command on this store and these data."""
    return ["--data", str(simulated), "--store", str(store.folder), "--quiet"]


# Which model a name means


def test_a_model_is_named_by_alias_version_run_or_folder(
    stocked: Store, kept: Kept, tmp_path: Path
) -> None:
    folder = registry.fetch_bundle(stocked, MODEL, "1", tmp_path)
    names = ["champion", "1", "v1", kept.report.run, str(folder)]
    found = [find_model(name, stocked, MODEL) for name in names]
    assert {model.bundle.digest for model in found} == {kept.report.bundle}
    assert [model.version for model in found] == ["1", "1", "1", None, None]
    assert {model.config for model in found} == {DataConfig()}
    assert {model.last_month for model in found} == {"2026-09"}
    assert find_model("v4", stocked, MODEL).config == DataConfig(split_seed=1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "champoin",
            "'champoin' is no alias or version of limit-reduction, no run and no folder; there "
            "are champion (version 1), v1, v2, v3, v4 in ",
        ),
        ("champoin", "; did you mean champion?"),
        ("v7", "expected a version of limit-reduction among ['1', '2', '3', '4'], got 7"),
        ("0" * 32, f"no run {'0' * 32} is in "),
    ],
)
def test_an_unknown_model_is_refused_with_the_known_ones(
    stocked: Store, name: str, words: str
) -> None:
    with pytest.raises(TrackingError) as refusal:
        find_model(name, stocked, MODEL)
    assert words in str(refusal.value)


def test_a_bundle_whose_split_is_not_known_is_refused(
    stocked: Store, bundle_folder: Path, tmp_path: Path
) -> None:
    no_run = "the bundle names no run, so it is not known which accounts it was fitted on"
    with pytest.raises(TrackingError, match=no_run):
        find_model(str(bundle_folder), stocked, MODEL)
    folder = registry.fetch_bundle(stocked, MODEL, "2", tmp_path / "bundle")
    nothing = Store(tmp_path / "nothing")
    no_store = r"expected a store in .*nothing, found none, so it is not known which accounts"
    with pytest.raises(TrackingError, match=no_store):
        find_model(str(folder), nothing, MODEL)
    assert version_of("champion", nothing, MODEL) is None


def test_a_run_that_is_not_a_fit_has_no_bundle(store: Store) -> None:
    with runs.start_run(store, "something else") as run:
        pass
    with pytest.raises(TrackingError, match=f"run {run} keeps no bundle"):
        find_model(run, store, MODEL)


# Comparisons


@pytest.mark.slow
def test_a_model_is_not_better_than_itself(
    store: Store, simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "v1", "champion", *options_of(store, simulated)]) == 1
    out = capsys.readouterr().out
    assert "\nchampion is not better than v1: nothing differs beyond noise\n" in out
    (run,) = re.findall(r"^run ([0-9a-f]{32}), kept in ", out, re.MULTILINE)
    kept = Path(store.client().download_artifacts(run, "tables", str(tmp_path)))
    tables = {file.stem: pl.read_csv(file) for file in kept.iterdir()}
    assert tables["differences"]["difference"].to_list() == [0.0] * 4
    assert tables["value"]["difference"].to_list() == [0.0, 0.0]
    assert tables["changes"].select("newly_cut", "spared").sum().row(0) == (0, 0)
    assert tables["shift"].select("psi_score", "psi_first_reason").sum().row(0) == (0.0, 0.0)


@pytest.mark.slow
def test_a_run_records_the_whole_comparison(store: Store, simulated: Path, tmp_path: Path) -> None:
    found = compare(["v1", "v2", "v3"], simulated, store)
    tags = fetch_run_info(store, found.run).tags
    assert tags["compared"] == "v1, v2, v3"
    assert tags["compared.2"].endswith(f"bundle {version_tags(store, UNDERSTATED)['bundle']}")
    assert tags["verdict.2"] == str(found.verdicts[1])
    kept = Path(store.client().download_artifacts(found.run, "", str(tmp_path)))
    assert (kept / "comparison.md").read_text("utf-8") == found.page
    assert {file.stem for file in (kept / "tables").iterdir()} == set(SECTIONS) == set(found.tables)
    figures = {file.stem for file in (kept / "figures").iterdir()}
    assert figures == {"roc", "calibration", "scores_1", "scores_2", "value"}
    metrics = store.client().get_run(found.run).data.metrics
    row = found.tables["differences"].filter(model="v3", measure="log_loss").row(0, named=True)
    assert metrics["difference_2.log_loss_low"] == row["low"] > 0
    assert "log_loss" in found.verdicts[1].for_first
    for name, (title, _) in SECTIONS.items():
        assert f"## {title}\n" in found.page, name
    assert not found.verdicts[1].better


@pytest.mark.slow
def test_the_exit_code_of_a_comparison_is_its_verdict(
    store: Store, simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = options_of(store, simulated)
    page = tmp_path / "page.md"
    assert main(["compare", "v3", "v1", *options, "--page", str(page)]) == 0
    out = capsys.readouterr().out
    verdict = r"^v1 is better than v3: .*log_loss.* beyond noise, nothing worse$"
    assert re.search(verdict, out, re.MULTILINE)
    assert "Better: of auc, brier, log_loss, value," in out
    assert page.read_text("utf-8").startswith("# v1 against v3\n")
    # v4 has the trees of v2.
    assert main(["compare", "v2", "v4", "--shared", *options]) == 1
    note = "accounts that no model has seen: v4 was fitted with another split"
    assert note in capsys.readouterr().out


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (["v1", "v4"], "the models cannot be compared fairly"),
        (["v1"], "expected two models or more, each once, got ['v1']"),
        (["v1", "v2", "v1"], "expected two models or more, each once"),
        (["v1", "challenger"], "'challenger' is no alias or version"),
    ],
)
def test_models_that_cannot_be_compared_are_refused(
    stocked: Store,
    simulated: Path,
    capsys: pytest.CaptureFixture[str],
    models: list[str],
    words: str,
) -> None:
    assert main(["compare", *models, *options_of(stocked, simulated)]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("compare: ")
    assert words in output.err
    assert output.out == ""


# Promotions


def test_an_honest_refit_is_promoted_and_rolled_back(store: Store, simulated: Path) -> None:
    assert nominate(store, version="2") == "2"
    assert registry.aliases(store, MODEL) == {"champion": "1", "challenger": "2"}
    done = promote(simulated, store, PromotionConfig(gates=SMALL_BOOK, version="challenger"))
    assert (done.promoted, done.forced, done.refused_by, done.before) == (True, False, (), "1")
    assert registry.aliases(store, MODEL) == {"champion": "2", "previous": "1"}
    assert done.summary.endswith("champion of limit-reduction is version 2")
    tags, info = version_tags(store, "2"), fetch_run_info(store, done.run)
    assert tags["promotion.outcome"] == info.tags["promotion.outcome"] == "promoted"
    assert tags["promotion.run"] == done.run
    assert (tags["promotion.by"], tags["promotion.at"]) == (info.by, info.at)
    metrics = store.client().get_run(done.run).data.metrics
    for gate in (GOLDEN, *CHECKS):
        assert info.tags[f"gate.{gate}"] == "passed"
        assert metrics[f"gate.{gate}"] == 1.0
    assert metrics["discrimination.auc"] == done.table.filter(measure="auc")["value"].item()

    assert rollback(store, why="complaints") == "1"
    assert registry.aliases(store, MODEL) == {"champion": "1", "previous": "2"}
    for version, outcome in (("2", "taken back"), ("1", "champion again")):
        tags = version_tags(store, version)
        said = tags["rollback"]
        assert said.startswith(f"{outcome}, because: complaints, by {info.by} at ")
        assert fetch_run_info(store, said.split("run ")[1]).tags["from"] == "2"
        # What the gates found is in the run: a page with twenty tags is read by nobody.
        assert len(tags) <= 8
    # A rollback swaps the two, so that another one takes it back.
    assert rollback(store) == "2"


@pytest.mark.slow
def test_a_bad_version_is_refused_until_it_is_forced(
    store: Store, simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gates = ["--gates", str(write_small_book_gates(tmp_path))]
    command = ["promote", "--version", "v3", *gates, *options_of(store, simulated)]
    assert main(command) == 1
    out = capsys.readouterr().out
    refusal = "version 3 of limit-reduction is refused by calibration: version 1 stays champion"
    assert refusal in out
    row = r"^calibration +intercept_size +1\.\d+ \[0\.[5-9]\d*, 1\.\d+\] +<= 0\.5 +failed\b"
    assert re.search(row, out, re.MULTILINE)
    assert registry.aliases(store, MODEL) == {"champion": "1"}
    tags = version_tags(store, "3")
    assert (tags["promotion.outcome"], tags["promotion.refused_by"]) == ("refused", "calibration")
    judged = fetch_run_info(store, tags["promotion.run"]).tags
    assert (judged["gate.calibration"], judged["gate.cost"]) == ("failed", "passed")

    assert main([*command, "--force"]) == 2
    assert "expected the reason with --why" in capsys.readouterr().err
    assert main([*command, "--force", "--why", "  "]) == 2
    assert "expected a reason to force a promotion" in capsys.readouterr().err
    assert registry.aliases(store, MODEL) == {"champion": "1"}

    why = "the regulator requires it"
    assert main([*command, "--force", "--why", why]) == 0
    forced = f"promoted although refused by calibration, because: {why}"
    assert forced in capsys.readouterr().out
    assert registry.aliases(store, MODEL) == {"champion": "3", "previous": "1"}
    tags = version_tags(store, "3")
    assert (tags["promotion.outcome"], tags["promotion.why"]) == ("forced", why)
    assert tags["promotion.by"]
    folder = str(tmp_path / "kept")
    kept = Path(store.client().download_artifacts(tags["promotion.run"], "", folder))
    table = pl.read_csv(kept / "tables" / "gates.csv")
    assert table.filter(outcome="failed")["gate"].unique().to_list() == ["calibration"]
    page = (kept / "promotion.md").read_text("utf-8")
    assert "**champion of limit-reduction is version 3**" in page


@pytest.mark.slow
def test_pack_takes_what_promote_passed_or_forced_and_no_alias_moved_by_hand(
    store: Store, simulated: Path, tmp_path: Path
) -> None:
    def pack(version: str) -> Path:
        return fetch(version, store.uri, tmp_path / "packed" / version)

    promote(simulated, store, PromotionConfig(gates=SMALL_BOOK, version="2"))
    assert pack("champion").is_dir()
    registry.set_alias(store, MODEL, "champion", "3")
    with pytest.raises(PackError, match="version 3: no gate has judged it"):
        pack("champion")
    assert not promote(simulated, store, PromotionConfig(gates=SMALL_BOOK, version="3")).promoted
    registry.set_alias(store, MODEL, "champion", "3")
    with pytest.raises(PackError, match="version 3: refused by calibration"):
        pack("champion")
    assert promote(
        simulated, store, PromotionConfig(gates=SMALL_BOOK, version="3", force="an order")
    ).forced
    assert pack("champion").is_dir()
    # The verdict on another version does not count, whoever copies the tag.
    run = version_tags(store, "2")["promotion.run"]
    registry.tag_version(store, MODEL, "3", {"promotion.run": run})
    with pytest.raises(PackError, match="version 3: expected a promotion of limit-reduction 3"):
        pack("champion")


def test_a_version_with_another_bundle_in_its_run_is_not_judged(
    store: Store, simulated: Path
) -> None:
    registry.tag_version(store, MODEL, "2", {"bundle": "0" * 64})
    with pytest.raises(TrackingError, match=r"version 2 of .*: expected bundle 0000"):
        promote(simulated, store, PromotionConfig(gates=SMALL_BOOK, version="2", force="an order"))
    assert registry.find_champion(store, MODEL) == "1"


@pytest.mark.slow
def test_a_file_of_gates_replaces_the_project_s_own(
    store: Store, simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gates.toml"
    options = ["--gates", str(file), *options_of(store, simulated)]
    command = ["promote", "--version", HONEST, *options]
    file.write_text(small_book_gates().replace("min_auc = 0.65", "min_auc = 0.99"), "utf-8")
    assert main(command) == 1
    assert "is refused by discrimination: " in capsys.readouterr().out
    file.write_text(small_book_gates().replace("min_auc", "least_acu"), "utf-8")
    assert main(command) == 2
    assert "[discrimination]: unknown key 'least_acu', expected " in capsys.readouterr().err


@pytest.mark.slow
def test_a_champion_of_another_split_is_compared_on_the_accounts_in_both_hold_outs(
    store: Store, simulated: Path
) -> None:
    registry.promote(store, MODEL, RESPLIT)
    done = promote(simulated, store, PromotionConfig(gates=SMALL_BOOK, version=HONEST))
    assert "accounts that no model has seen: 4 was fitted with another split" in done.summary
    # A third of these accounts has too few defaults: nothing about the version is decided.
    assert set(done.refused_by) >= {"hold_out", "discrimination", "calibration"}
    assert {done.outcomes[gate] for gate in done.refused_by} == {Outcome.NOT_DECIDED}
    assert "is refused by hold_out (not decided), discrimination (not decided)" in done.summary


@pytest.mark.slow
def test_a_version_without_unseen_accounts_is_refused_for_that(
    store: Store, data: Labelled, source: Source, fitted: Fitted, simulated: Path
) -> None:
    own = replace(source, label_definition="default next month")
    version = add_version(store, fitted, data, own)
    done = promote(simulated, store, PromotionConfig(gates=SMALL_BOOK, version=version))
    assert done.refused_by == ("hold_out",)
    assert done.table["gate"].to_list() == ["golden", "hold_out"]
    note = f"{version} was fitted on all rows of data with labels of their own"
    assert note in done.table["note"][1]
    forced = PromotionConfig(gates=SMALL_BOOK, version=version, force="no hold-out in these data")
    assert promote(simulated, store, forced).forced


def test_a_bundle_that_does_not_load_is_not_promoted_even_by_force(
    store: Store, simulated: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = registry.fetch_bundle(store, MODEL, "2", tmp_path / "bundle")
    golden = folder / "golden.json"
    golden.write_text(json.dumps(json.loads(golden.read_text("utf-8"))), "utf-8")
    monkeypatch.setattr(registry, "fetch_bundle", lambda *_: folder)
    registry.delete_alias(store, MODEL, "champion")
    done = promote(
        simulated,
        store,
        PromotionConfig(gates=SMALL_BOOK, version="2", force="it must go out today"),
    )
    assert (done.promoted, done.refused_by) == (False, ("golden",))
    assert "golden.json: its sha256 is not what the manifest states" in done.table["note"][0]
    assert registry.aliases(store, MODEL) == {}
    monkeypatch.undo()
    # The control: the store's own copy loads.
    folder = registry.fetch_bundle(store, MODEL, "2", tmp_path / "again")
    assert load_bundle(folder).digest == version_tags(store, "2")["bundle"]


def test_the_first_champion_has_no_previous_one(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollback", "--store", str(store.folder)]) == 2
    assert capsys.readouterr().err == (
        "rollback: limit-reduction has no previous champion to go back to; its aliases are "
        "{'champion': '1'}\n"
    )
    registry.promote(store, MODEL, "2")
    assert main(["rollback", "--store", str(store.folder)]) == 0
    assert capsys.readouterr().out == "champion of limit-reduction is version 1 again\n"


def test_the_command_points_the_alias_challenger_at_a_version(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["promote", "--challenger", "--store", str(store.folder)]) == 0
    assert capsys.readouterr().out == "challenger of limit-reduction is version 4\n"
    assert main(["promote", "--challenger", "--version", "9", "--store", str(store.folder)]) == 2
