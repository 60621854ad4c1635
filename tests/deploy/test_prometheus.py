"""Alerts and board use series and labels that the service exports, and the alerts fire."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.auth.routes import ROUTES
from serving.decision.policy.outcome import Action
from serving.reviews.backlog import When
from serving.web.telemetry.metrics import refusal_kind
from tests.support.each import each
from tests.support.exported import exported_names
from tests.support.paths import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
BOARD = ROOT / "deploy" / "grafana" / "board.json"
ALERTS = PROMETHEUS / "alerts.yaml"
# What a label may be compared with.
KNOWN = {
    "kind": {refusal_kind(status) for status in range(400, 600)},
    "route": {route.template for route in ROUTES},
    "action": set(Action.__args__),  # type: ignore[attr-defined]
    "when": set(When.__args__),  # type: ignore[attr-defined]
}
COMPARISON = re.compile(r'\b(kind|route|action|when)=~?"([^"]*)"')


def alert_rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def board_expressions() -> Iterator[str]:
    for panel in json.loads(BOARD.read_text("utf-8"))["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]


EXPRESSIONS = [rule["expr"] for rule in alert_rules()] + list(board_expressions())


def faults_in(expression: str) -> set[str]:
    """The series, and the values of labels, that the service never exports."""
    series = set(re.findall(r"\bclearline_\w+", expression)) - set(exported_names())
    unknown: set[str] = set()
    for label, pattern in COMPARISON.findall(expression):
        unknown |= set(pattern.split("|")) - KNOWN[label]
    return series | unknown


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_alerts_and_board_read_is_exported(expression: str) -> None:
    assert faults_in(expression) == set()


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("sum(rate(clearline_decision_total[5m]))", "clearline_decision_total"),
        ("clearline_request_seconds > 1", "clearline_request_seconds"),
        ('clearline_refusals_total{kind=~"fault|overload"}', "overload"),
        ('clearline_notices{when="late"}', "late"),
        ('clearline_request_seconds_count{route="/v1/decision"}', "/v1/decision"),
    ],
)
def test_what_is_not_exported_would_be_found(expression: str, fault: str) -> None:
    assert faults_in(expression) == {fault}


def test_every_series_is_on_the_board_or_in_an_alert() -> None:
    read = set(re.findall(r"\bclearline_\w+", " ".join(EXPRESSIONS)))
    for family in each({name.removesuffix("_total") for name in families()}):
        assert any(name.startswith(family) for name in read), family


def families() -> set[str]:
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported_names()}


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in each(alert_rules()):
        assert rule["alert"].startswith("Clearline")
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "action"}


def test_the_board_s_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    panels = json.loads(BOARD.read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in each(panels):
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def promtool(*arguments: str, folder: Path = PROMETHEUS) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian's package prometheus has it)")
    return subprocess.run(
        [found, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_promtool_accepts_rules_and_configuration() -> None:
    checked = promtool("check", "config", "--syntax-only", "prometheus.yaml")
    assert checked.returncode == 0, checked.stderr
    tested = promtool("test", "rules", "alerts_test.yaml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_an_alert_that_does_not_fire_would_be_found(tmp_path: Path) -> None:
    text = ALERTS.read_text("utf-8")
    broken = text.replace("clearline_record_ready == 0", "clearline_record_ready == 2")
    assert broken != text
    (tmp_path / "alerts.yaml").write_text(broken, encoding="utf-8")
    shutil.copy(PROMETHEUS / "alerts_test.yaml", tmp_path)
    tested = promtool("test", "rules", "alerts_test.yaml", folder=tmp_path)
    assert tested.returncode != 0
    assert "ClearlineRecordNotReady" in tested.stdout + tested.stderr


def test_promtool_reads_the_board_s_expressions(tmp_path: Path) -> None:
    expressions = [one.replace("$__rate_interval", "5m") for one in board_expressions()]
    rules = [{"record": f"panel:{n}", "expr": one} for n, one in enumerate(each(expressions))]
    groups = yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]})
    (tmp_path / "board.yaml").write_text(groups, encoding="utf-8")
    checked = promtool("check", "rules", "board.yaml", folder=tmp_path)
    assert checked.returncode == 0, checked.stderr
