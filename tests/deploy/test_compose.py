"""The compose file: two replicas with files of their own, and no secret in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.support.each import each
from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
FILE = DEPLOY / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"].startswith("clearline:")}
REPLICAS = {name: one for name, one in OURS.items() if name != "setup"}


def volumes_of(service: dict[str, Any]) -> list[tuple[str, str]]:
    """What is mounted, and where."""
    pairs = [one.split(":")[:2] for one in service.get("volumes", [])]
    return [(source, target) for source, target in pairs]


def test_two_replicas_share_the_secrets_and_nothing_else() -> None:
    assert len(REPLICAS) == 2
    mounted = [dict(volumes_of(one)) for one in REPLICAS.values()]
    assert mounted[0].keys() & mounted[1].keys() == {"secrets"}
    for one in each(mounted):
        assert set(one.values()) == {"/var/lib/clearline", "/var/lib/clearline/secrets"}


def test_our_containers_can_do_little() -> None:
    for one in each(list(OURS.values())):
        assert one["user"] == "10001:10001"
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]


def test_what_is_used_is_declared() -> None:
    for name, one in each(sorted(SERVICES.items())):
        assert set(one.get("secrets", [])) <= COMPOSE["secrets"].keys(), name
        assert set(one.get("depends_on", {})) <= SERVICES.keys(), name
        for source, _ in volumes_of(one):
            is_file = source.startswith("./")
            assert (DEPLOY / source).exists() if is_file else source in COMPOSE["volumes"], source


def test_every_service_is_pinned_and_reachable_from_this_machine_only() -> None:
    for name, one in each(sorted(SERVICES.items())):
        assert re.search(r":(\$\{CLEARLINE_VERSION|v?\d)", one["image"]), name
        for port in one.get("ports", []):
            assert port.startswith("127.0.0.1:"), name


def test_no_secret_is_in_the_file() -> None:
    assert secrets_in(FILE.read_text("utf-8")) == []
    ignored = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert "/deploy/secrets/" in ignored
    for one in each(list(COMPOSE["secrets"].values())):
        assert Path(one["file"]).parent == Path("secrets")


def test_a_secret_in_the_file_would_be_found() -> None:
    assert secrets_in("  POSTGRES_PASSWORD: hunter2") == ["POSTGRES_PASSWORD: hunter2"]
    assert secrets_in("CLEARLINE_RECORD: postgresql://me:hunter2@db/x") != []


def secrets_in(text: str) -> list[str]:
    """Passwords as values, and in addresses."""
    values = re.findall(r"\b\w*(?:PASSWORD|TOKEN|KEY): \S+", text)
    return values + re.findall(r"\w+://[^\s/@:]+:[^\s@]+@", text)
