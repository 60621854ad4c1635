"""The commands around models, decisions and API keys; each takes its parsed options."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from pathlib import Path

from features.console import refuse_options
from serving.auth import keys
from serving.auth.keys import Key, KeyTerms
from serving.decision.bundle import read
from serving.decision.golden import load
from serving.decision.pipeline import stages
from serving.operations.audit import open_audit_log
from serving.operations.client import ask, settings_for, start_service
from serving.operations.errors import RequestFileError
from serving.operations.explain import answer_text, stages_text
from serving.operations.new_file import check_writable
from serving.operations.pack import PackError, build, check_reason, fetch, store
from serving.schemas.base import parse
from serving.schemas.decision import Request, statements_table
from serving.storage.bundles.store import newest_bundle
from serving.storage.settings import read_settings
from serving.web.errors import ApiError


def pack_model(options: argparse.Namespace) -> None:
    """Store a registered model, or the bundle in a folder, and build a Bento of it."""
    force = options.force
    check_reason(force)
    if options.bundle:
        expected = "expected none with --bundle, which is in no registry"
        refuse_options(options, ("tracking_uri",), expected)
    if options.bundle and force is None:
        # A reason would not make a bundle of a folder that holds none.
        read(options.bundle)
        raise PackError(
            f"{options.bundle}: no gate has judged a bundle that is in no registry; "
            "give the reason to pack it all the same with --force"
        )
    with tempfile.TemporaryDirectory() as scratch:
        wanted = options.version or options.alias
        folder = options.bundle or fetch(
            wanted,
            options.tracking_uri,
            Path(scratch),
            force,
        )
        tag = store(folder, force)
    print(f"model  {tag}  {newest_bundle()}")
    if force is not None:
        print(f"packed by force, because: {force}")
    if not options.no_bento:
        print(f"bento  {build()}")


def explain_request(options: argparse.Namespace) -> None:
    """Print every stage of the decision on a request."""
    request = _read_request(options.request)
    bundle = load(options.bundle or newest_bundle())
    now = datetime.datetime.now(datetime.UTC)
    print(stages_text(stages(statements_table([request]), bundle, now), bundle))


def ask_service(options: argparse.Namespace) -> None:
    """Print the service's decision on a request."""
    body = options.request.read_bytes()
    if options.out:
        # Before the question: a decision is recorded, and may be in force.
        check_writable(options.out)
    arm: str | None = None
    if options.start:
        answer, arm = _ask_own_service(body, options.advice)
    else:
        answer = ask(options.url.rstrip("/"), body, options.advice)
    print(answer_text(json.loads(answer), arm))
    if options.out:
        options.out.write_bytes(answer)
        print(f"\nanswer  {options.out}")


def create_key(options: argparse.Namespace) -> None:
    """Create an API key; its text, alone on stdout, cannot be shown again."""
    scopes = [scope.strip() for scope in options.scopes.split(",")]
    terms = KeyTerms(options.days, options.rate, options.owner)
    keys.check(options.tenant, scopes, terms)  # before an audit log is made
    with open_audit_log(create=True) as log:
        text, key = keys.create(log.database, log.secrets, options.tenant, scopes, terms)
        log.sign_checkpoint()
    print(text)
    print(f"key {_key_line(key)}; save it now: only its hash is stored", file=sys.stderr)
    if key.owner is None and "review" in key.scopes:
        print("without --owner this key cannot take or resolve a review", file=sys.stderr)


def list_keys(_: argparse.Namespace) -> None:
    """Print all API keys, without their secrets."""
    now = datetime.datetime.now(datetime.UTC)
    with open_audit_log() as log:
        for key in keys.list_keys(log.database, log.secrets):
            print(f"{_state(key, now):8}{_key_line(key)}")


def revoke_key(options: argparse.Namespace) -> None:
    """Revoke an API key."""
    with open_audit_log() as log:
        revoked = keys.revoke(log.database, log.secrets, options.key_id)
        log.sign_checkpoint()
    print(f"revoked {_key_line(revoked)}")


def adopt_keys(options: argparse.Namespace) -> None:
    """Make API keys of an earlier version genuine, so that a service answers them."""
    with open_audit_log() as log:
        adopted = keys.adopt(log.database, log.secrets, options.key_id)
        log.sign_checkpoint()
    for key in adopted:
        print(f"adopted {_key_line(key)}")


def _read_request(file: Path) -> Request:
    try:
        return parse(Request, file.read_bytes())
    except ApiError as error:
        faults = "; ".join(f"{fault.path}: {fault.message}" for fault in error.problem.errors)
        raise RequestFileError(f"{file}: {faults}") from None


def _ask_own_service(body: bytes, advice: bool) -> tuple[bytes, str | None]:
    """The answer, and the account's arm, which the record has and no answer."""
    newest_bundle()  # BentoML's own error about an empty store names no command of ours
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        settings = read_settings(settings_for(folder))
        with open_audit_log(settings, create=True) as log:
            terms = KeyTerms(days=1)
            key, _ = keys.create(log.database, log.secrets, "demo", {"score"}, terms)
        with start_service(folder / "log") as url:
            answer = ask(url, body, advice, key)
        with open_audit_log(settings) as log:
            stored = log.reader.by_id(json.loads(answer)["decision_id"])
    return answer, None if stored is None else stored.metadata.get("arm")


def _state(key: Key, now: datetime.datetime) -> str:
    if key.problem is not None:
        return "refused"
    if key.is_live(now):
        return "live"
    return "revoked" if key.revoked_at else "expired"


def _key_line(key: Key) -> str:
    scopes = keys.scopes_text(key.scopes)
    owner = "unknown" if key.owner is None else key.owner
    problem = "" if key.problem is None else f"  ({key.problem})"
    return (
        f"{key.key_id}  {key.tenant}  {scopes}  until {key.expires_at:%Y-%m-%d}  {key.rate:g}/s  "
        f"owner {owner}{problem}"
    )
