"""What only the end of a command would notice is refused first, and leaves nothing behind."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from serving.decision.bundle import BundleError
from serving.decision.config.strict_toml import ConfigError
from tests.training.conftest import STORE_WARNINGS
from training.__main__ import main
from training.data.config import DataConfig
from training.fit.bundle import BundleConfig
from training.fit.config import FitConfig
from training.fit.run import run_fit
from training.release.promote import PromotionConfig
from training.tracking import registry
from training.tracking.store import Store
from training.tune.tune import tune

pytestmark = STORE_WARNINGS
BAD_NAMES = ("a/b", "a:b", " ", "", "a'b", 'a"b', "a`b", "a\\b", "a\nb", " a", "a ", ".", "a" * 101)
GOOD_NAMES = ("limit-reduction-2", "降额 2", "v1.2_b", "7", "a" * 100)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_cannot_be_registered_or_read_is_refused(name: str, tmp_path: Path) -> None:
    for config in (BundleConfig, PromotionConfig):
        with pytest.raises(ValueError, match=r"name: expected .*letters, digits") as refused:
            config(name=name)
        assert repr(name) in str(refused.value)
    store = tmp_path / "mlruns"
    # Before the data are looked for.
    command = ["fit", "--data", str(tmp_path), "--store", str(store), "--set", f"name={name}"]
    assert main(command) == 2
    assert not store.exists()


def test_the_refused_names_would_fail_at_the_end(another_store: Store) -> None:
    """The control: MLflow refuses them, or registers what it cannot find again."""
    client = another_store.client()
    for name in ("a/b", "a:b", ""):
        with pytest.raises(MlflowException):
            client.create_registered_model(name)
    client.create_registered_model("a'b")
    with pytest.raises(LookupError, match="is not the name of a model"):
        registry.newest_version(another_store, "a'b")


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_every_name_that_is_taken_can_be_registered_and_read(
    another_store: Store, name: str
) -> None:
    BundleConfig(name=name)
    client = another_store.client()
    client.create_registered_model(name)
    first = client.get_model_version("limit-reduction", "1")
    tags = {"bundle": "0" * 64}
    client.create_model_version(name, f"runs:/{first.run_id}/bundle", first.run_id, tags=tags)
    assert registry.newest_version(another_store, name) == "1"
    assert registry.promote(another_store, name, None) == "1"
    assert registry.aliases(another_store, name) == {"champion": "1"}


@pytest.mark.parametrize("field", ["policy", "reasons", "advice"])
def test_a_file_for_the_bundle_is_read_before_the_fit(
    simulated: Path, tmp_path: Path, field: str
) -> None:
    own = files("serving.decision.config").joinpath(f"{field}.toml").read_text("utf-8")
    missing, unreadable = tmp_path / "missing.toml", tmp_path / "unreadable.toml"
    unreadable.write_text(own + "\n[no_such_section]\n", encoding="utf-8")
    store = Store(tmp_path / "mlruns")
    for file, error in ((missing, FileNotFoundError), (unreadable, ConfigError)):
        given: dict[str, Any] = {field: file}
        bundle = BundleConfig(**given)
        with pytest.raises(error, match=file.name):
            run_fit(simulated, store, (DataConfig(), FitConfig(), bundle))
        with pytest.raises(error, match=file.name):
            tune(simulated, store.folder, configs=(DataConfig(), FitConfig(), bundle))
    assert not store.folder.exists()


def test_a_policy_on_unknown_features_is_refused_before_the_fit(
    simulated: Path, tmp_path: Path
) -> None:
    own = files("serving.decision.config").joinpath("policy.toml").read_text("utf-8")
    policy = tmp_path / "policy.toml"
    policy.write_text(own.replace("days_past_due_now", "days_past_due_then"), encoding="utf-8")
    store = Store(tmp_path / "mlruns")
    with pytest.raises(BundleError, match="days_past_due_then"):
        run_fit(simulated, store, (DataConfig(), FitConfig(), BundleConfig(policy=policy)))
    assert not store.folder.exists()


@pytest.mark.parametrize("command", ["report champion", "request", "answers", "policy"])
def test_a_file_that_cannot_be_written_is_named_before_the_work(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither data nor store exist, so only what is checked first can be what is said."""
    absent = ["--data", str(tmp_path / "data"), "--store", str(tmp_path / "mlruns")]
    (tmp_path / "file").write_text("", encoding="utf-8")
    option = "--page" if command == "policy" else "--out"
    for out in (tmp_path, tmp_path / "file" / "out.html"):
        assert main([*command.split(), *absent, option, str(out)]) == 2
        assert str(out) in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
