"""The registered model, as MLflow loads it: its answers are those of the endpoint, to the bit."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import mlflow
import pandas as pd
import polars as pl
import pytest
from sklearn.metrics import brier_score_loss
from uv import find_uv_bin

from features.schema import COLUMNS
from serving.api.answers import Basis, answer_requests
from serving.decision.bundle import Bundle
from serving.decision.golden import load
from serving.schemas.base import parse
from serving.schemas.decision import Request
from tests.support.each import each
from tests.support.paths import ROOT
from tests.support.served import as_requests
from tests.support.small_fit import CONFIGS
from tests.training.conftest import STORE_WARNINGS, Kept
from training.data.dataset import Source
from training.data.labels import Labelled
from training.data.sample_request import hold_out
from training.tracking import code_archive, registry
from training.tracking.store import Store

pytestmark = [
    *STORE_WARNINGS,
    # mlflow 3.17.2 when it evaluates.
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
]
NAME = "limit-reduction"
URI = f"models:/{NAME}/1"
# In another folder, where nothing but MLflow and the model's requirements is known.
PROGRAM = """
import json, sys
import mlflow, polars as pl
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
statements = pl.read_parquet("statements.parquet").to_pandas()
answers = model.predict(statements, params={"detail": "full", "decided_at": sys.argv[3]})
packages = ("features", "serving", "training")
loaded = [name for name in sys.modules if name.split(".")[0] in packages]
code = model.unwrap_python_model()._pipeline.__file__
found = {"answers": answers.to_dict("records"), "loaded": loaded, "code": code}
print(json.dumps(found | {"path": sys.path}))
"""
# The model explains itself; MLflow's estimate by `shap` takes neither texts nor several outputs.
WITHOUT_SHAP = {"log_model_explainability": False}
# What a decision of the model has of the endpoint's answer.
COMMON = (
    "account_id",
    "as_of",
    "decided_at",
    "action",
    "credit_limit",
    "new_limit",
    "proposed_limit",
    "effective_on",
    "review_on",
    "review_because",
    "probability",
    "log_odds",
    "base_log_odds",
    "cut_off",
    "reasons",
    "leaders",
    "comparison",
)


class Endpoint(NamedTuple):
    """Hold-out statements, when they are decided, and the endpoint's answers by account."""

    statements: pl.DataFrame
    decided_at: str
    answers: dict[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def at_the_kept_store(kept: Kept) -> None:
    mlflow.set_tracking_uri(kept.store.uri)
    mlflow.set_registry_uri(kept.store.uri)


@pytest.fixture(scope="module")
def model(kept: Kept) -> Any:
    """As MLflow loads it; of its own classes, whose module warns when it is imported."""
    mlflow.set_tracking_uri(kept.store.uri)
    mlflow.set_registry_uri(kept.store.uri)
    return mlflow.pyfunc.load_model(URI)


@pytest.fixture(scope="module")
def bundle(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("registered")
    return load(registry.fetch_bundle(kept.store, NAME, "1", folder))


@pytest.fixture(scope="module")
def endpoint(source: Source, bundle: Bundle) -> Endpoint:
    """All hold-out accounts, answered by what the endpoint runs."""
    statements = hold_out(source, CONFIGS[0])
    last = statements["month"].max()
    assert isinstance(last, datetime.date)
    decided_at = datetime.datetime(last.year, last.month, 28, 9, 30, tzinfo=datetime.UTC)
    requests = [parse(Request, json.dumps(body).encode()) for body in as_requests(statements)]
    answered = answer_requests("batch", requests, False, Basis(bundle, decided_at, bytes(32)))
    answers = [json.loads(answer.content) for answer in answered]
    by_account = {answer["account_id"]: answer for answer in answers}
    return Endpoint(statements, decided_at.isoformat(), by_account)


def records(answers: pl.DataFrame | pd.DataFrame) -> list[dict[str, Any]]:
    """Answers as Python's own values, with None for null."""
    if isinstance(answers, pl.DataFrame):
        return answers.to_dicts()
    found: list[dict[str, Any]] = answers.to_dict("records")
    return found


def differing(answers: list[dict[str, Any]], endpoint: Endpoint) -> list[str]:
    """The accounts that are answered otherwise than by the endpoint, in any bit."""
    assert [answer["account_id"] for answer in answers] == sorted(endpoint.answers)
    assert {answer["action"] for answer in answers} == {"keep", "reduce", "suspend", "review"}
    found = []
    for answer in answers:
        expected = endpoint.answers[answer["account_id"]]
        if any(answer[name] != expected[name] for name in COMMON):
            found.append(answer["account_id"])
    return found


# The same answers


@pytest.mark.parametrize(
    "kind",
    [
        "polars",
        "remainders",
        "pandas",
        pytest.param("pandas as read from CSV", marks=pytest.mark.slow),
        pytest.param("records", marks=pytest.mark.slow),
    ],
)
def test_every_hold_out_account_is_answered_as_by_the_endpoint(
    model: Any, endpoint: Endpoint, kind: str, tmp_path: Path
) -> None:
    statements: Any = endpoint.statements
    if kind == "remainders":
        amounts = [column.name for column in COLUMNS if column.kind == "amount"]
        statements = statements.with_columns(pl.col(amounts) + 1e-9)
        assert not statements.equals(endpoint.statements)
    if kind == "pandas":
        # Rows and columns in any order.
        statements = statements.to_pandas().sample(frac=1, axis=0, random_state=1)
        statements = statements.sample(frac=1, axis=1, random_state=1)
    elif kind == "pandas as read from CSV":
        statements.write_csv(tmp_path / "statements.csv")
        statements = pd.read_csv(tmp_path / "statements.csv", dtype={"account_id": str})
    elif kind == "records":
        statements = json.loads(json.dumps(statements.to_dicts(), default=str))
    params = {"detail": "full", "decided_at": endpoint.decided_at}
    answers = model.predict(statements, params=params)
    is_polars = kind in ("polars", "remainders")
    assert isinstance(answers, pl.DataFrame if is_polars else pd.DataFrame)
    assert differing(records(answers), endpoint) == []


@pytest.mark.slow
def test_a_score_of_the_bare_booster_would_be_noticed(
    kept: Kept, model: Any, endpoint: Endpoint, data: Labelled
) -> None:
    """The control: what was registered before is neither calibrated nor complete."""
    booster = mlflow.lightgbm.load_model(f"runs:/{kept.report.run}/booster")
    test = data.features.frame().filter(pl.Series(data.split == "test"))
    raw = booster.predict(test.select(booster.feature_name()).to_numpy())
    scores = model.predict(test)
    assert not (raw == scores["probability"].to_numpy()).any()
    params = {"decided_at": endpoint.decided_at}
    answers = records(model.predict(endpoint.statements, params={**params, "detail": "full"}))
    answers[3]["log_odds"] += 1e-15
    assert differing(answers, endpoint) == [answers[3]["account_id"]]


@pytest.mark.slow
def test_features_are_scored_as_their_statements_are(
    model: Any, data: Labelled, endpoint: Endpoint, source: Source
) -> None:
    features = model.unwrap_python_model()
    windows = features._schema.check(endpoint.statements)
    decided_at = datetime.datetime.fromisoformat(endpoint.decided_at)
    table = features._pipeline.stages(windows, features.bundle, decided_at).features.frame()
    decided = {"decided_at": endpoint.decided_at, "detail": "full"}
    of_statements = model.predict(endpoint.statements, params=decided)
    for given in (table, table.to_pandas()):
        of_features = model.predict(given, params={"detail": "full"})
        for name in ("probability", "log_odds", "base_log_odds", "above_cut_off", "contributions"):
            assert of_features[name].to_list() == of_statements[name].to_list(), name
    # A column of the answer belongs to the rows that were given.
    shuffled = table.to_pandas().sample(frac=1, random_state=2)
    answered = model.predict(shuffled)
    assert answered.index.equals(shuffled.index)


@pytest.mark.slow
def test_contributions_add_up_to_the_log_odds(model: Any, endpoint: Endpoint) -> None:
    params = {"detail": "full", "decided_at": endpoint.decided_at}
    answers = model.predict(endpoint.statements, params=params)
    for answer in each(answers.to_dicts()):
        total = answer["base_log_odds"] + sum(answer["contributions"].values())
        assert total == pytest.approx(answer["log_odds"], abs=1e-9)


def test_params_say_how_much(model: Any, endpoint: Endpoint) -> None:
    few = endpoint.statements.head(200)
    columns = {}
    for detail in ("score", "decision", "full", ""):
        params = {"detail": detail, "decided_at": endpoint.decided_at}
        columns[detail] = set(model.predict(few, params=params).columns)
    assert columns["score"] < columns["decision"] < columns["full"]
    assert columns[""] == columns["decision"]
    assert {"probability", "log_odds"} <= columns["score"]
    assert {"action", "new_limit", "reasons"} <= columns["decision"] - columns["score"]
    assert "contributions" in columns["full"]


# Bad input


@pytest.mark.parametrize(
    ("spoil", "params", "words"),
    [
        (lambda t: t.drop("balance"), {}, r"missing \['balance'\]"),
        (lambda t: t.with_columns(new=1), {}, r"unknown columns \['new'\]"),
        (lambda t: t.with_columns(balance=pl.lit("x")), {}, "balance: expected Float64"),
        (lambda t: t.with_columns(days_past_due=0.5), {}, "days_past_due: expected Int32"),
        (lambda t: t.with_columns(credit_limit=-1.0), {}, r"credit_limit .*account sim-\d+ in"),
        (lambda t: t.with_columns(month=pl.lit("09/2026")), {}, "expected YYYY-MM .* '09/2026'"),
        (lambda t: t.with_columns(month=pl.lit("2026-13")), {}, "expected YYYY-MM .* '2026-13'"),
        (lambda t: t.with_columns(month=pl.lit("2026-09-02")), {}, "expected YYYY-MM"),
        (lambda t: t.drop("month"), {}, "expected statements, with a column 'month', or the feat"),
        (lambda t: t.head(0), {}, "got no row"),
        (lambda t: 7, {}, "expected a table of pandas or Polars, or records, got int"),
        (lambda t: t, {"detail": "all"}, r"expected a detail of .*'full'\), got 'all'"),
        (lambda t: t, {"decided_at": "2026-09-01T00:00:00"}, "with a time zone"),
        (lambda t: t, {"decided_at": "soon"}, "expected decided_at as ISO 8601"),
        (lambda t: t, {"decided_at": "2020-01-01T00:00:00Z"}, "no month is in the future"),
    ],
)
def test_a_wrong_question_is_refused_with_a_sentence(
    model: Any,
    endpoint: Endpoint,
    spoil: Callable[[pl.DataFrame], Any],
    params: dict[str, str],
    words: str,
) -> None:
    few = endpoint.statements.head(30)
    with pytest.raises(ValueError, match=words):
        model.predict(spoil(few), params={"decided_at": endpoint.decided_at} | params)


def test_features_do_not_get_a_decision(model: Any, data: Labelled) -> None:
    table = data.features.frame().head(5)
    with pytest.raises(ValueError, match="'decision'; action, limit and reasons follow from sta"):
        model.predict(table, params={"detail": "decision"})
    name = model.unwrap_python_model().bundle.features[0]
    with pytest.raises(ValueError, match=rf"without \['{name}'\]"):
        model.predict(table.drop(name))
    with pytest.raises(ValueError, match=f"{name}: expected finite numbers"):
        model.predict(table.with_columns(pl.lit(float("inf")).alias(name)))


# The page


@pytest.mark.slow
def test_the_page_s_example_runs(
    another_store: Store,
    endpoint: Endpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = (ROOT / "docs" / "modelling" / "model.md").read_text("utf-8")
    section = page.split("## What MLflow loads\n")[1].split("\n## ")[0]
    # As in a new process: the page names one address.
    mlflow.set_registry_uri("")
    load, ask, measure = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    registry.set_alias(another_store, NAME, "champion", "1")
    monkeypatch.chdir(tmp_path)  # the folder with mlruns/
    names: dict[str, Any] = {"statements": endpoint.statements, "time": endpoint.decided_at}
    exec(load, names)
    assert set(endpoint.answers) == set(names["answers"]["account_id"])
    exec(ask, names)
    assert differing(records(names["answers"]), endpoint) == []
    assert "mlflow.models.evaluate(" in measure  # its own test runs it on the hold-out


# Any process


def run_elsewhere(
    python: str | Path, kept: Kept, endpoint: Endpoint, folder: Path, uri: str
) -> dict[str, Any]:
    endpoint.statements.write_parquet(folder / "statements.parquet")
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    run = subprocess.run(
        [python, "-W", "ignore", "-c", PROGRAM, kept.store.uri, uri, endpoint.decided_at],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_another_process_answers_the_same_with_the_model_s_own_code(
    kept: Kept, endpoint: Endpoint, tmp_path: Path
) -> None:
    found = run_elsewhere(sys.executable, kept, endpoint, tmp_path, URI)
    assert differing(found["answers"], endpoint) == []
    assert Path(found["code"]).is_relative_to(kept.store.folder)
    # Nothing of it stays in the process for others to import.
    assert found["loaded"] == []
    assert not any(str(kept.store.folder) in place for place in found["path"])


@pytest.mark.torture  # it installs an environment; test_environment.py has that of a Bento
def test_an_environment_of_the_model_s_requirements_answers_the_same(
    kept: Kept, endpoint: Endpoint, tmp_path: Path
) -> None:
    requirements = str(mlflow.pyfunc.get_model_dependencies(URI))
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(re.sub(r" \\\n    --hash=\S+", "", lock), "utf-8")
    uv, environment = str(find_uv_bin()), tmp_path / "venv"
    python = str(environment / "bin" / "python")
    make = [uv, "venv", "--quiet", "--python", sys.executable, str(environment)]
    subprocess.run(make, check=True)
    install = [uv, "pip", "install", "--quiet", "--python", python, "-c", str(constraints)]
    subprocess.run([*install, "-r", requirements], check=True)
    # The control: this project is not installed there.
    absent = [python, "-I", "-c", "import features"]
    assert subprocess.run(absent, capture_output=True, check=False, cwd=tmp_path).returncode == 1
    found = run_elsewhere(python, kept, endpoint, tmp_path, URI)
    assert differing(found["answers"], endpoint) == []


@pytest.mark.slow
def test_loading_leaves_the_modules_of_the_process_alone(kept: Kept, model: Any) -> None:
    import serving.decision.pipeline as own

    before = {name: module for name, module in sys.modules.items() if is_ours(name)}
    path = list(sys.path)
    loaded: Any = mlflow.pyfunc.load_model(URI)
    assert {name: module for name, module in sys.modules.items() if is_ours(name)} == before
    assert sys.path == path
    assert loaded.unwrap_python_model()._pipeline is not own


def is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("features", "serving", "training")


@pytest.mark.torture
def test_each_model_runs_the_code_that_it_was_registered_with(
    kept: Kept, endpoint: Endpoint, tmp_path: Path
) -> None:
    """MLflow's own ``code_paths`` would give the second model the modules of the first."""
    first = mlflow.artifacts.download_artifacts(URI, dst_path=str(tmp_path / "first"))
    second = tmp_path / "second"
    shutil.copytree(first, second)
    with edited(second / "artifacts" / "code.zip", "serving/decision/policy/outcome.py") as text:
        text[0] += "\nMARK = 'second'\n"
    marks = []
    for folder in (first, second, first):
        loaded: Any = mlflow.pyfunc.load_model(str(folder))
        marks.append(loaded.unwrap_python_model()._pipeline.apply_many.__globals__.get("MARK"))
    assert marks == [None, "second", None]


@contextmanager
def edited(archive: Path, name: str) -> Iterator[list[str]]:
    """Change a file of an archive: its text is the only item of the list."""
    with zipfile.ZipFile(archive) as opened:
        contents = {info.filename: opened.read(info) for info in opened.infolist()}
    text = [contents[name].decode()]
    yield text
    contents[name] = text[0].encode()
    with zipfile.ZipFile(archive, "w") as changed:
        for file, content in contents.items():
            changed.writestr(file, content)


def test_the_archive_is_the_code_and_nothing_else(tmp_path: Path) -> None:
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    code_archive.write_code(first)
    code_archive.write_code(second)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        for name in each(archive.namelist()):
            assert archive.read(name) == (ROOT / name).read_bytes()
            assert name.startswith(("features/", "serving/decision/", "serving/__init__.py"))


# MLflow's other tools


@pytest.mark.slow
def test_mlflow_evaluates_the_probabilities_and_the_cuts(
    model: Any, another_store: Store, data: Labelled
) -> None:
    # The runs of these evaluations are not to stand in the store that all tests share.
    mlflow.set_tracking_uri(another_store.uri)
    mlflow.set_registry_uri(another_store.uri)
    test = pl.Series(data.split == "test")
    table = data.features.frame().with_columns(default=pl.Series(data.label)).filter(test)
    rows = table.to_pandas()
    evaluate: Any = mlflow.models.evaluate
    with mlflow.start_run(experiment_id=another_store.experiment_id()):
        measured = evaluate(
            model,
            rows,
            targets="default",
            model_type="regressor",
            predictions="probability",
            evaluator_config=WITHOUT_SHAP,
        )
    scores = model.predict(rows)
    brier = brier_score_loss(rows["default"], scores["probability"])
    assert measured.metrics["mean_squared_error"] == pytest.approx(brier, abs=1e-12)
    with mlflow.start_run(experiment_id=another_store.experiment_id()):
        judged = evaluate(
            lambda table: model.predict(table)["above_cut_off"].astype(int),
            rows,
            targets="default",
            model_type="classifier",
            evaluator_config=WITHOUT_SHAP,
        )
    cut = int(scores["above_cut_off"].sum())
    assert judged.metrics["true_positives"] + judged.metrics["false_positives"] == cut > 10


@pytest.mark.slow
def test_mlflow_serves_the_same_answers(kept: Kept, endpoint: Endpoint, tmp_path: Path) -> None:
    port = free_port()
    log = (tmp_path / "log").open("w", encoding="utf-8")
    command = ["mlflow", "models", "serve", "-m", URI, "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    binaries = Path(sys.executable).parent  # MLflow starts uvicorn by its name
    environment = dict(os.environ) | {
        "MLFLOW_TRACKING_URI": kept.store.uri,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
    }
    process = subprocess.Popen(
        [binaries / command[0], *command[1:]],
        cwd=tmp_path,
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    # The environment may name a proxy, which knows nothing of this machine.
    client = httpx.Client(trust_env=False, timeout=60)
    try:
        wait_until_ready(client, address, process)
        few = endpoint.statements.head(100)
        body = {
            "inputs": json.loads(json.dumps(few.to_dicts(), default=str)),
            "params": {"decided_at": endpoint.decided_at, "detail": "full"},
        }
        answered = client.post(f"{address}/invocations", json=body)
    finally:
        log.close()
        client.close()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
    assert "NaN" not in answered.text  # it is no JSON
    answers = answered.json()["predictions"]
    assert len(answers) == few["account_id"].n_unique()
    for answer in each(answers[:-1]):  # the last one's statements may be cut off
        expected = endpoint.answers[answer["account_id"]]
        assert {name: answer[name] for name in COMMON} == {name: expected[name] for name in COMMON}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(client: httpx.Client, address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None
        try:
            if client.get(f"{address}/ping").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the server did not answer in a minute")
