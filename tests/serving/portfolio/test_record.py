"""A recorded run: everything once, as the endpoint would have stored it, whatever interrupts it."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from serving.api.decisions import Decisions
from serving.audit_log.log import AuditLog
from serving.audit_log.verify import verify
from serving.decision.bundle import Bundle
from serving.decision.config.run_bounds import RunBounds
from serving.operations.decide_again.replay import Bundles, replay
from serving.operations.export import export
from serving.portfolio.errors import PortfolioError
from serving.portfolio.order import Order
from serving.portfolio.partitions import find_partitions
from serving.portfolio.recorded.merkle import proves
from serving.portfolio.recorded.proof import check_run, prove_keep
from serving.portfolio.recorded.record import Recorder, overtaken_accounts
from serving.portfolio.run import MANIFEST, run
from serving.portfolio.totals import Totals
from serving.portfolio.worker import NOTES, Decider
from serving.reviews.due import all_due
from serving.storage.settings import StorageSettings
from tests.support import checks
from tests.support.each import each
from tests.support.paths import ROOT
from tests.support.records import environment_of, settings_in
from tests.support.served import as_requests
from tests.support.submissions import LENDER, answer_to_batch

ACCOUNTS = 450
# Of each of three partitions: its rows for the audit log, its note, and who was overtaken.
FILES_OF_RUN = 9


@pytest.fixture(scope="module")
def statements(windows: pl.DataFrame) -> pl.DataFrame:
    names = windows["account_id"].unique(maintain_order=True)[:ACCOUNTS]
    return windows.filter(pl.col("account_id").is_in(names.to_list()))


@pytest.fixture
def order(statements: pl.DataFrame, bundle_folder: Path, tmp_path: Path) -> Order:
    """Of a portfolio of three files, to be stored in an audit log that is there."""
    folder = tmp_path / "statements"
    folder.mkdir()
    place = pl.col("account_id").rank("dense") % 3
    for part in range(3):
        statements.filter(place == part).write_parquet(folder / f"part-{part}.parquet")
    settings = settings_in(tmp_path)
    AuditLog(settings).close()
    return Order(
        statements=folder,
        decisions=tmp_path / "decisions",
        bundle=bundle_folder,
        decided_at=checks.WHEN,
        record=settings,
        tenant=LENDER.tenant,
        records=True,
    )


def settings_of(order: Order) -> StorageSettings:
    assert order.record is not None
    return order.record


@pytest.fixture
def audit_log(order: Order) -> Iterator[AuditLog]:
    with closing(AuditLog(settings_of(order))) as opened:
        yield opened


def answers_of(order: Order) -> dict[str, dict[str, Any]]:
    """The answers of the decisions with one, by account."""
    tables = [pl.read_parquet(file) for file in order.decisions.glob("*.parquet")]
    answers = pl.concat(tables)["answer"].drop_nulls()
    found = [json.loads(answer) for answer in answers]
    return {answer["account_id"]: answer for answer in found}


def ask(
    audit_log: AuditLog, bundle: Bundle, statements: pl.DataFrame, at: datetime.datetime
) -> None:
    """Let the service decide on these accounts from its own record."""
    requests = as_requests(statements)
    for request in requests:
        del request["prior"]
    decisions = Decisions(bundle, audit_log, lambda: at)
    asyncio.run(answer_to_batch(decisions, requests, at.isoformat()))


def test_all_is_stored_as_the_endpoint_stores_it(
    order: Order, audit_log: AuditLog, bundle: Bundle, statements: pl.DataFrame
) -> None:
    result = run(order)
    answers = answers_of(order)
    assert result.manifest["recorded"] == len(answers) > 20
    assert result.manifest["overtaken"] == 0

    exported = {one.decision_id: one for one in export(audit_log.reader, None, None)}
    assert set(exported) == {answer["decision_id"] for answer in answers.values()}
    for answer in each(answers.values()):
        stored = audit_log.reader.by_id(answer["decision_id"])
        assert stored is not None
        assert json.loads(stored.response_body or b"") == answer
        told = exported[answer["decision_id"]]
        assert (told.action, told.new_limit) == (answer["action"], answer["new_limit"])
        assert len(told.reviews) == (answer["action"] == "review")
    log = audit_log
    assert verify(log.database.reading, log.secrets, settings_of(order).checkpoints).count == 0
    rows = log.reader.of_kind(["decision"])
    replayed = replay(rows, Bundles({bundle.digest: order.bundle}), log.secrets.id_key)
    assert replayed.counts == Counter(same=len(answers))

    # What the service remembers afterwards: the same as if it had decided itself.
    late = datetime.date(2030, 1, 1)
    due = {one.account_id for one in all_due(log.reader, LENDER.tenant, late)}
    looked_at = {
        name
        for name, one in answers.items()
        if one["review_on"] is not None and one["action"] in ("reduce", "suspend")
    }
    assert due == looked_at
    assert looked_at
    noticed = log.reader.due_notices(LENDER.tenant, datetime.date(2020, 1, 1), late, 1000)
    with_notice = {one["decision_id"] for one in answers.values() if one["notice"] is not None}
    assert {row.entry_id for row in noticed} == with_notice


def test_a_month_later_it_goes_on_from_what_it_put_in_force(
    order: Order, audit_log: AuditLog, statements: pl.DataFrame
) -> None:
    """The control of every account that a run has cut: asked again, it is not cut again."""
    run(order)
    first = answers_of(order)
    at = checks.WHEN + datetime.timedelta(days=5)
    again = dataclasses.replace(order, decisions=order.decisions.with_name("again"), decided_at=at)
    run(again)
    second = answers_of(again)
    cut = [name for name, one in first.items() if one["action"] in ("reduce", "suspend")]
    for name in each(cut):
        assert second[name]["action"] == "keep"
        assert second[name]["prior"]["decisions"] == [first[name]["decision_id"]]
    # Another run is another decision: the audit log has both.
    assert len(list(audit_log.reader.of_kind(["decision"]))) == len(first) + len(second)


def test_what_the_service_has_decided_meanwhile_stands(
    order: Order, audit_log: AuditLog, bundle: Bundle, statements: pl.DataFrame
) -> None:
    """Between the decisions of a run and their rows, the service decides on some accounts."""
    partition = find_partitions(order.statements).partitions[0]
    with closing(Decider(order, "run")) as decider:
        done = decider.decide(partition)
    answers = answers_of(order)
    cut = sorted(name for name, one in answers.items() if one["notice"] is not None)[:5]
    meanwhile = checks.WHEN + datetime.timedelta(hours=1)
    ask(audit_log, bundle, statements.filter(pl.col("account_id").is_in(cut)), meanwhile)
    with closing(Recorder(order, "run")) as recorder:
        recorded = recorder.record(done)
        # A second try stores nothing twice, and says the same.
        assert recorder.record(done) == recorded
    assert overtaken_accounts(partition.name, order.decisions) == cut
    assert (recorded.decisions, recorded.overtaken) == (len(answers) - len(cut), len(cut))
    assert 0 < len(cut) < len(answers)
    by_account = Counter(row.data_subject for row in audit_log.reader.of_kind(["decision"]))
    assert set(by_account.values()) == {1}


def test_the_keeps_are_proven_and_a_changed_row_is_found(order: Order) -> None:
    run(order)
    settings = settings_of(order)
    assert list(check_run(order.decisions, settings)) == []
    file = order.decisions / "part-1.parquet"
    table = pl.read_parquet(file)
    kept = table.filter(pl.col("decision_id").is_null())["account_id"]
    proof = prove_keep(order.decisions, settings, kept[3])
    assert proves(proof.row, proof.place, proof.count, proof.path, proof.root)
    assert kept[3].encode() in proof.row
    assert not proves(proof.row + b" ", proof.place, proof.count, proof.path, proof.root)

    decided = table.filter(pl.col("decision_id").is_not_null())["account_id"]
    is_kept, is_decided = pl.col("account_id") == kept[3], pl.col("account_id") == decided[0]
    changes = {
        "not those of the audit log": table.with_columns(
            pl.when(is_kept).then(1.0).otherwise("new_limit").alias("new_limit")
        ),
        "accounts that keep their limit": table.filter(~is_kept),
        f"account {decided[0]} is not that": table.with_columns(
            pl.when(is_decided).then(b"{}").otherwise("answer").alias("answer")
        ),
    }
    for expected, changed in each(changes.items()):
        changed.write_parquet(file)
        [finding] = check_run(order.decisions, settings)
        assert expected in finding
        assert finding.startswith("part-1.parquet")
    with pytest.raises(PortfolioError, match=f"no account {decided[0]} without"):
        prove_keep(order.decisions, settings, decided[0])


def command_of(order: Order) -> list[str]:
    command = [sys.executable, "-m", "serving", "portfolio", str(order.statements)]
    command += ["--out", str(order.decisions), "--bundle", str(order.bundle)]
    command += ["--workers", str(order.workers)]
    command += ["--decided-at", checks.WHEN.isoformat()]
    return [*command, "--tenant", order.tenant, "--record"]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.parquet"))}


@pytest.mark.parametrize(
    "kills",
    [pytest.param(1, marks=pytest.mark.slow), pytest.param(50, marks=pytest.mark.torture)],
)
def test_a_run_that_is_killed_at_any_place_stores_everything_once(order: Order, kills: int) -> None:
    drawn = random.Random(kills)
    assert _start_command(order).wait() == 0
    first = contents(order.decisions)
    assert list(first) == [f"part-{part}.parquet" for part in range(3)]
    manifest = json.loads((order.decisions / MANIFEST).read_text("utf-8"))
    phases: Counter[str] = Counter()
    for number in each(range(kills)):
        # An audit log of its own with the same secrets, so that the ids are the same.
        settings = settings_in(order.decisions.with_name(f"record-{number}"))
        settings.secrets.parent.mkdir()
        shutil.copy(settings_of(order).secrets, settings.secrets)
        AuditLog(settings).close()
        decisions = settings.secrets.parent / "decisions"
        # The undisturbed run had one process.
        disturbed = dataclasses.replace(order, decisions=decisions, record=settings, workers=2)
        process = _start_command(disturbed)
        _wait_for_notes(drawn.randint(0, FILES_OF_RUN), disturbed, process)
        _kill_after(process, drawn.uniform(0.0, 0.05))
        phases[_phase_of(disturbed, manifest["recorded"])] += 1
        if not is_finished(disturbed.decisions):
            assert _start_command(disturbed).wait() == 0
        with closing(AuditLog(settings)) as log:
            rows = list(log.reader.of_kind(["decision"]))
            assert len(rows) == len({row.data_subject for row in rows}) == manifest["recorded"]
            assert len(list(log.reader.of_kind(["portfolio"]))) == 3
            assert verify(log.database.reading, log.secrets, settings.checkpoints).count == 0
        assert contents(disturbed.decisions) == first
        assert list(check_run(disturbed.decisions, settings)) == []
    if kills >= 50:
        storing = phases["recording"] + phases["sealing"]
        assert min(phases["deciding"], storing) >= 5, phases
        assert phases["finished"] <= kills / 4, phases


def _phase_of(order: Order, decisions: int) -> str:
    """What a run was doing when it was killed, by what it has left."""
    with closing(AuditLog(settings_of(order))) as log:
        stored = len(list(log.reader.of_kind(["decision"])))
    if is_finished(order.decisions):
        return "finished"
    if not (order.decisions / MANIFEST).exists():
        return "starting"
    return "recording" if 0 < stored < decisions else "sealing" if stored else "deciding"


def test_without_the_notes_of_a_run_its_accounts_are_decided_on_again(
    order: Order, audit_log: AuditLog
) -> None:
    """The control of every kill: at another time, the same order is another run."""
    first = run(order)
    elsewhere = dataclasses.replace(order, decisions=order.decisions.with_name("other"))
    with pytest.raises(PortfolioError, match="recorded from another folder"):
        run(elsewhere)
    assert not (elsewhere.decisions / MANIFEST).exists()
    later = checks.WHEN + datetime.timedelta(seconds=1)
    run(dataclasses.replace(elsewhere, decided_at=later))
    decided = len(list(audit_log.reader.of_kind(["decision"])))
    assert decided >= 2 * first.manifest["recorded"] > 0


def test_a_clock_that_went_back_is_refused(
    order: Order, audit_log: AuditLog, bundle: Bundle, statements: pl.DataFrame
) -> None:
    later = checks.WHEN + datetime.timedelta(days=1)
    names = statements["account_id"].unique(maintain_order=True)[:3].to_list()
    ask(audit_log, bundle, statements.filter(pl.col("account_id").is_in(names)), later)
    # Beside a folder of the operator, which stays.
    above = order.decisions / "of" / "november"
    above.mkdir(parents=True)
    refused = dataclasses.replace(order, decisions=above / "bank" / "decisions")
    with pytest.raises(PortfolioError, match="expected a time after the newest decision"):
        run(refused)
    assert list(above.iterdir()) == []
    assert len(list(audit_log.reader.of_kind(["decision"]))) == 3


def test_decisions_that_another_run_has_stored_are_refused(order: Order) -> None:
    partition = find_partitions(order.statements).partitions[0]
    with closing(Decider(order, "first")) as decider:
        done = decider.decide(partition)
    with closing(Recorder(order, "first")) as recorder:
        recorder.record(done)
    with (
        closing(Recorder(order, "second")) as recorder,
        pytest.raises(PortfolioError, match="recorded by the run first"),
    ):
        recorder.record(done)


def is_finished(decisions: Path) -> bool:
    place = decisions / MANIFEST
    return place.exists() and json.loads(place.read_text("utf-8"))["state"] == "finished"


def _start_command(order: Order) -> subprocess.Popen[bytes]:
    environment = dict(os.environ) | environment_of(settings_of(order))
    return subprocess.Popen(command_of(order), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


def _wait_for_notes(count: int, order: Order, process: subprocess.Popen[bytes]) -> None:
    """Return when the run has begun and has written so many files about its partitions.

    Not after some seconds: on a busy machine most of them pass before the run begins.
    """
    notes = order.decisions / NOTES
    while process.poll() is None:
        has_begun = (order.decisions / MANIFEST).exists()
        written = [file for file in notes.glob("*") if not file.name.startswith(".")]
        if has_begun and len(written) >= count:
            return
        time.sleep(0.001)


def _kill_after(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Kill the process after so many seconds if it has not ended."""
    try:
        assert process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def test_a_run_beyond_the_bounds_is_shown_and_not_recorded(
    order: Order, audit_log: AuditLog, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = dataclasses.replace(bundle.policy, run=RunBounds(most_cut_share=0.001))
    strict_bundle = dataclasses.replace(bundle, policy=strict)
    monkeypatch.setattr("serving.portfolio.run.load", lambda folder: strict_bundle)
    shown: list[Totals] = []
    with pytest.raises(PortfolioError, match=r"expected at most 0\.10% of the accounts"):
        run(order, report=shown.append)
    assert shown[0].accounts == ACCOUNTS
    assert list(audit_log.reader.of_kind(["decision", "portfolio"])) == []
    why = dataclasses.replace(order, beyond_bounds="the regulator asks for it")
    assert run(why).manifest["recorded"] > 0
    for row in each(list(audit_log.reader.of_kind(["portfolio"]))):
        assert row.metadata["beyond_bounds"] == "the regulator asks for it"
