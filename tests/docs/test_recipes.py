"""The three recipes of docs/service/recipes.md, followed in a copy of the project."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

# The copy is made once, by one worker.
FOLLOWED = """
import datetime, json, math, pathlib, sys
import polars as pl
from serving.decision.golden import load
from serving.decision.pipeline import decide_many
from serving.decision.reasons.ranking import Evidence, principal_reasons
from training.data import dataset, labels
from training.data.config import DataConfig
from training.data.simulate.config import SimulationConfig
from training.data.simulate.output import write
from training.fit import bundle as bundling
from training.fit.config import FitConfig
from training.fit.fit import fit

write(SimulationConfig(accounts=4000, seed=3), pathlib.Path("sim"))
source = dataset.load(pathlib.Path("sim"))
labelled = labels.label_accounts(source, DataConfig())
fitted = fit(labelled, FitConfig(trees=30))
config = bundling.BundleConfig(reference_size=200)
folder = pathlib.Path("bundle")
bundling.make_bundle(bundling.FitResult(fitted, labelled, source, config), folder)
bundle = load(folder)
none = dict.fromkeys(bundle.features, 0.0)
quiet = none | {"months_observed": 24.0}
said = []
for value in (0.8, math.nan):
    evidence = Evidence(none | {"cash_share_6": 1.0}, quiet | {"cash_share_6": value}, quiet | {"cash_share_6": 0.1})
    said.append(principal_reasons(evidence, (), True, bundle.wording)[0].text.en)
last = source.statements["month"].max()
windows = labels.select_windows(source.statements, last).with_columns(
    cash_advance=pl.when(pl.col("product") == "pay_later").then(100.0).otherwise("cash_advance"), income=pl.lit(1500.0)
)
decisions = decide_many(windows, bundle, datetime.datetime(last.year, last.month, 28, tzinfo=datetime.UTC))
by_rule = [r.text.en for d in decisions if d.product == "pay_later" for r in d.reasons if r.code == "cash_every_month"]
print(json.dumps({"features": bundle.features, "said": said, "by_rule": by_rule[:1]}))
"""


def blocks() -> list[str]:
    """The page's fenced blocks, in order: the feature, the text, the rule."""
    page = (ROOT / "docs" / "service" / "recipes.md").read_text("utf-8")
    return re.findall(r"```(?:python|toml)\n(.*?)```", page, flags=re.DOTALL)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> str:
    project = tmp_path_factory.mktemp("recipes")
    for package in ("features", "serving", "training"):
        shutil.copytree(ROOT / package, project / package)
    feature, text, rule = blocks()
    spending = project / "features" / "catalogue" / "spending.py"
    spending.write_text(spending.read_text("utf-8").removesuffix(")\n") + feature + ")\n", "utf-8")
    for name, block in (("reasons.toml", text), ("policy.toml", rule)):
        file = project / "serving" / "decision" / "config" / name
        file.write_text(file.read_text("utf-8") + "\n" + block, "utf-8")
    # -P and the path: this copy, and not the project that is installed.
    run = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, '.')\n{FOLLOWED}"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()[-1]


def test_the_feature_is_fitted(followed: str) -> None:
    assert '"cash_share_6"' in followed


def test_the_text_is_said(followed: str) -> None:
    assert (
        "Of all you drew in the last 6 months, 80 % was cash; accounts that keep their limit: 10 %."
        in followed
    )
    assert "so the share of cash is not known." in followed


def test_the_rule_decides_and_is_the_reason(followed: str) -> None:
    assert (
        "You drew cash in each of the last 12 months; a line used so may be at most one monthly income, CNY 1,500."
        in followed
    )


def test_the_control_without_the_recipes() -> None:
    from features.catalogue import BY_NAME

    assert "cash_share_6" not in BY_NAME
    assert "cash_every_month" not in (
        ROOT / "serving" / "decision" / "config" / "policy.toml"
    ).read_text("utf-8")
