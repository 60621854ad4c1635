"""API keys in a real database: created, stored, found, revoked."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.__main__ import main
from serving.auth.caller import SCOPES
from serving.auth.key_cache import KeyCache
from serving.auth.keys import Key, KeyRefused, KeyTerms, create, find_key, list_keys, revoke
from serving.operations.audit import open_audit_log
from serving.storage.database import Database
from serving.storage.tables import api_keys
from tests.support.each import each
from tests.support.gated_app import DAY, KEY, NOW, TEXT
from tests.support.records import SECRETS, environment_of, settings_in

KNOWN = {KEY.key_id: KEY}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(f"sqlite:///{tmp_path / 'record.db'}")) as opened:
        yield opened


def set_environment(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let commands find the audit log in a folder."""
    for name, value in environment_of(settings_in(folder)).items():
        monkeypatch.setenv(name, value)


def until(holds: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.005)
    return holds()


def test_a_key_is_found_by_its_text_and_by_no_other(database: Database) -> None:
    text, key = create(
        database, SECRETS, "lender", ["score", "review"], KeyTerms(30, 7.0, "Li Na"), now=NOW
    )
    by_id = {stored.key_id: stored for stored in list_keys(database, SECRETS)}
    assert by_id == {key.key_id: key}
    assert find_key(text, by_id, NOW) == key
    caller = key.caller
    assert (caller.tenant, caller.scopes) == ("lender", frozenset({"score", "review"}))
    assert (caller.owner, key.rate) == ("Li Na", 7.0)
    other, _ = create(database, SECRETS, "lender", ["score", "review"], now=NOW)
    assert find_key(other, by_id, NOW) is None


@given(place=st.integers(0, len(TEXT) - 1), letter=st.characters(max_codepoint=255))
def test_a_text_with_one_wrong_character_is_no_key(place: int, letter: str) -> None:
    changed = TEXT[:place] + letter + TEXT[place + 1 :]
    assert (find_key(changed, KNOWN, NOW) is None) is (changed != TEXT)


@given(text=st.text())
def test_no_other_text_is_a_key(text: str) -> None:
    assert find_key(text, KNOWN, NOW) is None
    assert find_key(TEXT + text, KNOWN, NOW) is (KEY if not text else None)


@given(
    seconds=st.floats(-2 * 86400, 4 * 86400), revoked=st.none() | st.floats(-2 * 86400, 2 * 86400)
)
def test_a_key_ends_when_it_expires_or_is_revoked(seconds: float, revoked: float | None) -> None:
    now = NOW + datetime.timedelta(seconds=seconds)
    ended = None if revoked is None else NOW + datetime.timedelta(seconds=revoked)
    found = find_key(TEXT, {KEY.key_id: replace(KEY, revoked_at=ended)}, now)
    assert (found is not None) is (now < NOW + DAY and (ended is None or now < ended))


def test_a_key_ends_exactly_at_that_time() -> None:
    moment = datetime.timedelta(microseconds=1)
    ended = {KEY.key_id: replace(KEY, revoked_at=NOW + moment)}
    assert find_key(TEXT, KNOWN, NOW + DAY - moment) == KEY
    assert find_key(TEXT, KNOWN, NOW + DAY) is None
    assert find_key(TEXT, ended, NOW) is not None
    assert find_key(TEXT, ended, NOW + moment) is None


def test_every_text_costs_one_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a refusal must not reveal whether a key id exists."""
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def counting(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    for text in (TEXT, TEXT[:-1] + "x", TEXT.replace("0123", "ffff"), "", "clk_"):
        find_key(text, KNOWN, NOW)
    assert compared == [(64, 64)] * 5


def test_only_the_hash_of_a_256_bit_secret_is_stored(database: Database, tmp_path: Path) -> None:
    texts = [create(database, SECRETS, f"t{number}", ["score"])[0] for number in range(50)]
    secrets = {text[-43:] for text in texts}
    assert len(secrets) == 50
    database.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in each(secrets):
        assert len(base64.urlsafe_b64decode(secret + "=")) == 32
        assert secret.encode() not in kept
        # The control: the search finds the hash.
        assert hashlib.sha256(secret.encode()).hexdigest().encode() in kept


def test_a_tenant_has_at_most_two_live_keys_for_the_same_scopes(database: Database) -> None:
    _, first = create(database, SECRETS, "lender", ["score", "review"], now=NOW)
    create(database, SECRETS, "lender", ["review", "score"], now=NOW)
    with pytest.raises(
        KeyRefused, match=f"2 live keys for score,review .*{first.key_id}.*keys revoke"
    ):
        create(database, SECRETS, "lender", ["score", "review"], now=NOW)
    create(database, SECRETS, "lender", ["score"], now=NOW)  # other scopes
    create(database, SECRETS, "other", ["score", "review"], now=NOW)  # another tenant
    owned = KeyTerms(owner="Li Na")
    create(database, SECRETS, "lender", ["score", "review"], owned, now=NOW)  # another owner
    revoke(database, SECRETS, first.key_id, NOW)
    create(database, SECRETS, "lender", ["score", "review"], now=NOW)
    create(
        database, SECRETS, "lender", ["score", "review"], now=NOW + 366 * DAY
    )  # by then all have expired
    assert len(list_keys(database, SECRETS)) == 7


def test_of_many_concurrent_commands_two_create_a_key(database: Database) -> None:
    def one(_: int) -> None:
        with suppress(KeyRefused):
            create(database, SECRETS, "lender", ["score"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(16)))
    assert len(list_keys(database, SECRETS)) == 2


def test_a_revoked_key_keeps_its_time(database: Database) -> None:
    _, key = create(database, SECRETS, "lender", ["score"], now=NOW)
    assert revoke(database, SECRETS, key.key_id, NOW + DAY).revoked_at == NOW + DAY
    assert revoke(database, SECRETS, key.key_id, NOW + 2 * DAY).revoked_at == NOW + DAY
    with pytest.raises(KeyRefused, match="keys list"):
        revoke(database, SECRETS, "f" * 16)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"tenant": ""}, "tenant"),
        ({"tenant": "a b"}, "tenant"),
        ({"tenant": "-a"}, "tenant"),
        ({"tenant": "a" * 65}, "tenant"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["score", "all"]}, "scopes"),
        ({"days": 0}, "days"),
        ({"days": 4000}, "days"),
        ({"days": float("nan")}, "days"),
        ({"rate": 0}, "rate"),
        ({"rate": -1}, "rate"),
        ({"rate": float("inf")}, "rate"),
        ({"owner": ""}, "owner"),
        ({"owner": " Li Na"}, "owner"),
        ({"owner": "Li  Na"}, "owner"),
        ({"owner": "Li\tNa"}, "owner"),
        ({"owner": "Li\u200bNa"}, "owner"),
        ({"owner": "e\u0301"}, "owner"),
        ({"owner": "a" * 101}, "owner"),
    ],
)
def test_invalid_arguments_are_refused_and_store_nothing(
    database: Database,
    changed: dict[str, object],
    named: str,
) -> None:
    terms = {name: value for name, value in changed.items() if name in ("days", "rate", "owner")}
    whom: dict[str, object] = {"tenant": "lender", "scopes": ["score"]} | changed
    asked = {name: whom[name] for name in ("tenant", "scopes")}
    with pytest.raises(KeyRefused, match=named):
        create(database, SECRETS, terms=KeyTerms(**terms), **asked)  # type: ignore[arg-type]
    assert list_keys(database, SECRETS) == []


def test_the_cache_follows_the_database(database: Database) -> None:
    with closing(KeyCache(lambda: list_keys(database, SECRETS), 0.02)) as held:
        held.wait()
        assert held.known
        assert not held.needed
        text, key = create(database, SECRETS, "lender", ["score"])
        assert until(lambda: held.find(text) is not None)
        assert held.needed
        revoke(database, SECRETS, key.key_id)
        assert until(lambda: held.find(text) is None)
        assert held.needed  # although no key is live
        with database.writing() as connection:
            connection.execute(api_keys.delete())
        time.sleep(0.1)
        assert held.needed  # although the table is empty


def test_the_last_keys_stay_valid_while_the_database_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=0.3)
    expiring = replace(KEY, expires_at=soon)
    reads = 0

    def read() -> Sequence[Key]:
        nonlocal reads
        reads += 1
        if reads > 1:
            raise [OSError("Geheimnis"), ValueError("Geheimnis"), MemoryError()][(reads - 2) % 3]
        return [expiring]

    with caplog.at_level(logging.WARNING), closing(KeyCache(read, 0.01)) as held:
        assert until(lambda: reads > 5)
        assert held.find(TEXT) == expiring
        assert until(lambda: held.find(TEXT) is None)  # an expiry needs no read
    assert [record.levelname for record in caplog.records] == [
        "ERROR"
    ]  # logged once, not at every read
    assert "Geheimnis" not in caplog.text


def test_a_request_does_not_wait_for_a_read_that_hangs() -> None:
    let_go, hanging = threading.Event(), threading.Event()
    first = True

    def read() -> Sequence[Key]:
        nonlocal first
        if first:
            first = False
            return [replace(KEY, expires_at=datetime.datetime.now(datetime.UTC) + DAY)]
        hanging.set()
        let_go.wait(10)
        return []

    with closing(KeyCache(read, 0.01)) as held:
        assert hanging.wait(5)
        for _ in range(1000):
            # After a wait for the read, which returns no key, this would be None.
            assert held.find(TEXT) is not None
        let_go.set()


def test_a_start_without_any_key_is_reported_once(database: Database) -> None:
    reported: list[str] = []

    def start() -> None:
        def report() -> None:
            reported.append("no key")

        with closing(KeyCache(lambda: list_keys(database, SECRETS), 0.01, report)):
            time.sleep(0.1)

    start()
    assert reported == ["no key"]
    create(database, SECRETS, "lender", ["score"])
    start()
    assert reported == ["no key"]


def test_the_commands_create_list_and_revoke_a_key(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_environment(monkeypatch, tmp_path / "made")
    new = "keys new --tenant lender --scopes score,review --days 30 --rate 5"
    assert main([*new.split(), "--owner", "Li Na"]) == 0
    made = capsys.readouterr()
    text = made.out.removesuffix("\n")  # alone on stdout, for use in a shell
    with open_audit_log() as log:
        [key] = list_keys(log.database, log.secrets)
    now = datetime.datetime.now(datetime.UTC)
    assert find_key(text, {key.key_id: key}, now) == key
    secret = text[-43:]
    assert secret not in made.err
    assert "--owner" not in made.err
    assert main(["keys", "list"]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith(f"live    {key.key_id}  lender  score,review  until ")
    assert listed.endswith("  5/s  owner Li Na\n")
    assert secret not in listed
    assert main(["keys", "revoke", key.key_id]) == 0
    assert main(["keys", "list"]) == 0
    assert "revoked " + key.key_id in capsys.readouterr().out
    assert main(["keys", "revoke", "nobody"]) == 2
    assert main(["keys", "new", "--tenant", "lender", "--scopes", "everything"]) == 2
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 2
    assert ",".join(SCOPES) in errors


def test_a_key_for_reviews_without_an_owner_is_made_with_a_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_environment(monkeypatch, tmp_path)
    warning = "without --owner this key cannot take or resolve a review"
    assert main(["keys", "new", "--tenant", "lender", "--scopes", "review"]) == 0
    assert warning in capsys.readouterr().err
    assert main(["keys", "new", "--tenant", "lender", "--scopes", "score"]) == 0
    assert warning not in capsys.readouterr().err


def test_a_damaged_database_is_reported_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "record.db").write_bytes(b"no database at all" * 100)
    set_environment(monkeypatch, tmp_path)
    assert main(["keys", "list"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
