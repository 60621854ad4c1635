"""Bundles that decide otherwise than the golden one, stored ones, and ones that are refused."""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import bentoml

from features import schema
from serving.decision.bundle import SEAL, read
from serving.decision.golden import make
from serving.storage.bundles.store import (
    BUNDLE_FOLDER,
    MODEL,
    model_store,
    stated_digest,
    stored_models,
)
from tests.support.each import each
from tests.support.paths import GOLDEN

MANIFEST = "manifest.json"
DAMAGES = ("golden row", "policy", "format", "seal")
_MARGIN = "margin = 0.008  #"


def write_variant(folder: Path, margin: float) -> str:
    """Write a bundle with another margin, and so other limits and texts; returns its digest."""
    shutil.copytree(GOLDEN, folder)
    policy = (folder / "policy.toml").read_text("utf-8")
    assert _MARGIN in policy
    changed = policy.replace(_MARGIN, f"margin = {margin}  #")
    (folder / "policy.toml").write_text(changed, encoding="utf-8")
    seal(folder)
    content = json.loads((folder / "golden.json").read_text("utf-8"))
    rows = [dict(zip(schema.NAMES, row, strict=True)) for row in content["statements"]]
    for row in rows:
        row["month"] = datetime.date.fromisoformat(row["month"])
    decided_at = datetime.datetime.fromisoformat(content["decided_at"])
    answers = make(read(folder), schema.table(rows), decided_at)
    (folder / "golden.json").write_text(answers, encoding="utf-8")
    return seal(folder)


def seal(folder: Path, **changes: Any) -> str:
    """State the digests of the files as they are, and `changes` of the manifest."""
    manifest = json.loads((folder / MANIFEST).read_text("utf-8")) | changes
    for name in manifest["files"]:
        manifest["files"][name] = _sha256((folder / name).read_bytes())
    content = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(content)
    (folder / SEAL).write_text(f"{_sha256(content)}\n", encoding="utf-8")
    return _sha256(content)


def store_damaged(folder: Path, kind: str) -> str:
    """Store a golden bundle with damage of one of the :data:`DAMAGES`; the digest that it states.

    `folder` is where it is made.
    """
    shutil.copytree(GOLDEN, folder)
    if kind == "golden row":
        rows = json.loads((folder / "golden.json").read_text("utf-8"))
        rows["answers"][0]["log_odds"] += 1e-3
        (folder / "golden.json").write_text(json.dumps(rows), encoding="utf-8")
        digest = seal(folder)
    elif kind == "policy":
        with (folder / "policy.toml").open("a", encoding="utf-8") as policy:
            policy.write("\n[unknown]\nkey = 1\n")
        digest = seal(folder)
    elif kind == "format":
        digest = seal(folder, format=7)
    else:
        digest = seal(folder, note=kind)
        (folder / "model.txt").write_text("tree", encoding="utf-8")
    with bentoml.models.create(MODEL, _model_store=model_store()) as model:
        shutil.copytree(folder, Path(model.path_of(BUNDLE_FOLDER)))
    return digest


def delete_stored(digest: str) -> None:
    """Delete a stored bundle, however often it was stored."""
    tags = [
        model.tag
        for model in stored_models()
        if stated_digest(Path(model.path) / BUNDLE_FOLDER) == digest
    ]
    for tag in each(tags):
        bentoml.models.delete(tag, _model_store=model_store())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
