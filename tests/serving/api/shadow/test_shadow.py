"""The shadow: what is answered stays as it is, and what the challenger decided is recorded."""

from __future__ import annotations

import asyncio
import datetime
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from serving.api.answers import Basis, answer_requests
from serving.api.decisions import Decisions
from serving.api.shadow.process import ChallengerProcess, Limits
from serving.api.shadow.shadow import DROPPED, OF, Shadow
from serving.audit_log.entry import Entry
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.audit_log.verify import verify
from serving.decision.bundle import Bundle
from serving.operations.decide_again.replay import Bundles, replay
from serving.operations.decide_again.shadow import compare_shadows
from serving.operations.export import export
from serving.reviews.recorded import read_recorded
from serving.web.telemetry.metrics import SHADOW_DECISIONS, SHADOW_DROPPED, SHADOW_RESTARTS
from tests.golden.remake import BUNDLE
from tests.support.challengers import command
from tests.support.each import each
from tests.support.entries import stored_entry
from tests.support.other_bundles import golden_rows, write_other_bundle
from tests.support.records import NOW, settings_in
from tests.support.served import as_requests
from tests.support.submissions import answer_to, answer_to_batch, submission

ORDER = ErasureOrder("Li Na", "asked for", NOW, hold_over="the decisions are of a test")
FAULTS = ("hang", "fail", "die", "eat_slowly", "eat_at_once", "babble")
# A fault is seen at once, and the process started again at once.
HARSH = Limits(seconds=0.2, memory=300 << 20, pause=(0.05, 0.1))
Ask = Callable[[Decisions], list[bytes]]


@pytest.fixture(scope="module")
def other(golden: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path]:
    folder = tmp_path_factory.mktemp("other") / "bundle"
    return write_other_bundle(golden, ("model", "policy"), folder), folder


@pytest.fixture
def asked() -> list[dict[str, Any]]:
    rows, _ = golden_rows()
    return as_requests(rows)


def clock() -> Callable[[], datetime.datetime]:
    """A clock that is a microsecond later at each look, the same in every run."""
    ticks = iter(range(1_000_000))
    return lambda: NOW + datetime.timedelta(microseconds=next(ticks))


def ask_all(decisions: Decisions, asked: Sequence[dict[str, Any]], times: int = 1) -> list[bytes]:
    """The answers to requests one after the other, some with advice and some in a batch."""

    async def together() -> list[bytes]:
        answers = []
        for turn in range(times):
            for place, one in enumerate(asked):
                answers.append(await answer_to(decisions, submission(one, advice=place == turn)))
        answers.append(await answer_to_batch(decisions, asked, f"key-{times}"))
        return answers

    return asyncio.run(together())


def counts() -> Counter[str]:
    """What the shadow counted until now."""
    found: Counter[str] = Counter()
    for why in DROPPED:
        found[why] = int(SHADOW_DROPPED.labels(why)._value.get())
    for metric in SHADOW_DECISIONS.collect():
        for sample in metric.samples:
            if sample.name.endswith("_total"):
                found["decided"] += int(sample.value)
    return found


def wait_for(decisions: int, before: Counter[str]) -> Counter[str]:
    """What was counted since, once so many decisions have been decided or dropped."""
    until = time.monotonic() + 300
    while (found := counts() - before).total() < decisions:
        assert time.monotonic() < until, found
        time.sleep(0.02)
    return found


def rows_of(record: AuditLog, kind: Any) -> list[Entry]:
    return list(record.reader.of_kind((kind,)))


def challenger(how: str, limits: Limits = HARSH) -> Callable[[], ChallengerProcess]:
    return lambda: ChallengerProcess(BUNDLE, "", b"k", limits, command(how))


@pytest.fixture
def twin(record: AuditLog, tmp_path: Path) -> Iterator[AuditLog]:
    """Another record with the same secrets: the same requests get the same answers."""
    folder = tmp_path / "twin"
    folder.mkdir()
    shutil.copy(tmp_path / "secrets.json", folder / "secrets.json")
    with closing(AuditLog(settings_in(folder))) as opened:
        yield opened


@pytest.mark.parametrize("how", FAULTS)
def test_a_challenger_at_fault_changes_no_answer(
    record: AuditLog, twin: AuditLog, golden: Bundle, asked: list[dict[str, Any]], how: str
) -> None:
    without = ask_all(Decisions(golden, twin, clock()), asked)
    before = counts()
    decisions = Decisions(golden, record, clock())
    decisions.shadow = Shadow(record, "other", challenger(how), HARSH)
    answers = ask_all(decisions, asked)
    found = wait_for(2 * len(asked), before)
    decisions.shadow.close()
    assert answers == without
    assert found["decided"] == 0
    assert rows_of(record, "shadow") == []
    assert len(rows_of(record, "decision")) == 2 * len(asked)
    assert record.ready


def test_an_answer_that_waited_for_the_challenger_would_be_found(
    record: AuditLog, twin: AuditLog, golden: Bundle, asked: list[dict[str, Any]]
) -> None:
    """The control: a shadow in the way, which takes part in what is decided."""

    class InTheWay(Shadow):
        def offer(self, stored: Sequence[Entry]) -> None:
            now()  # it looks at the clock of the decisions

    now = clock()
    without = ask_all(Decisions(golden, twin, clock()), asked)
    decisions = Decisions(golden, record, now)
    decisions.shadow = InTheWay(record, "other", challenger("fail"), HARSH)
    assert ask_all(decisions, asked) != without
    decisions.shadow.close()


def test_the_challenger_s_decisions_are_recorded(
    record: AuditLog,
    twin: AuditLog,
    golden: Bundle,
    other: tuple[Bundle, Path],
    asked: list[dict[str, Any]],
) -> None:
    """With the prior and the earlier decision of the decision that was answered."""
    bundle, folder = other
    key = record.secrets.id_key
    without = ask_all(Decisions(golden, twin, clock()), asked, 2)
    before, restarts = counts(), SHADOW_RESTARTS._value.get()
    decisions = Decisions(golden, record, clock())

    def start() -> ChallengerProcess:
        return ChallengerProcess(folder, bundle.digest, key, Limits(seconds=60.0))

    decisions.shadow = Shadow(record, bundle.digest, start, Limits())
    answers = ask_all(decisions, asked, 2)
    assert wait_for(3 * len(asked), before) == Counter(decided=3 * len(asked))
    decisions.shadow.close()
    assert answers == without
    assert SHADOW_RESTARTS._value.get() == restarts
    made = {row.metadata[OF]: row for row in rows_of(record, "shadow")}
    answered = rows_of(record, "decision")
    assert made.keys() == {row.entry_id for row in answered}
    for row in each(answered):
        recorded = read_recorded(row, record.reader.by_id)
        basis = Basis(bundle, recorded.decided_at, key, recorded.earlier)
        [expected] = answer_requests("decisions", [recorded.request], False, basis)
        assert made[row.entry_id].response_body == expected.content
        assert made[row.entry_id].data_subject == row.data_subject
    assert any("earlier" in row.metadata for row in answered)
    actions = {(row.metadata["action"], made[row.entry_id].metadata["action"]) for row in answered}
    assert any(one != two for one, two in actions)
    check_that_nothing_else_sees_them(record, twin, golden, asked)
    check_replay_and_comparison(record, bundle, folder, len(answered))
    check_erasure(record, asked[0]["account_id"])


@pytest.mark.torture
def test_ten_thousand_answers_stay_as_they_are(
    record: AuditLog,
    twin: AuditLog,
    golden: Bundle,
    other: tuple[Bundle, Path],
    asked: list[dict[str, Any]],
) -> None:
    bundle, folder = other
    many = [
        asked[place % len(asked)] | {"account_id": f"A-{place % 3_000}"} for place in range(10_000)
    ]
    without = ask_each(Decisions(golden, twin, clock()), many)
    before = counts()
    decisions = Decisions(golden, record, clock())
    key = record.secrets.id_key

    def start() -> ChallengerProcess:
        return ChallengerProcess(folder, bundle.digest, key, Limits(seconds=60.0))

    decisions.shadow = Shadow(record, bundle.digest, start, Limits())
    answers = ask_each(decisions, many)
    found = wait_for(10_000, before)
    decisions.shadow.close()
    assert answers == without
    assert found["decided"] > 0, found


def ask_each(decisions: Decisions, asked: Sequence[dict[str, Any]]) -> list[bytes]:
    async def one_by_one() -> list[bytes]:
        return [await answer_to(decisions, submission(one)) for one in asked]

    return asyncio.run(one_by_one())


def check_that_nothing_else_sees_them(
    record: AuditLog, twin: AuditLog, golden: Bundle, asked: list[dict[str, Any]]
) -> None:
    """Neither exports, nor lists, nor the next decision; and the chain holds."""
    accounts = [one["account_id"] for one in asked]
    ids = [{row.decision_id for row in export(log.reader, None, None)} for log in (record, twin)]
    assert ids[0] == ids[1]
    for log in (record, twin):
        report = verify(log.database.reading, log.secrets, log.writer.committer._file)
        assert report.count == 0
    here = record.reader.memories("lender", accounts)
    there = twin.reader.memories("lender", accounts)
    assert {one: memory.prior for one, memory in here.items()} == {
        one: memory.prior for one, memory in there.items()
    }
    later = clock()
    sent = [one | {"account_id": one["account_id"]} for one in asked]
    assert ask_again(golden, record, sent, later) == ask_again(golden, twin, sent, clock())


def ask_again(
    golden: Bundle,
    record: AuditLog,
    asked: list[dict[str, Any]],
    now: Callable[[], datetime.datetime],
) -> list[bytes]:
    later = Decisions(golden, record, lambda: now() + datetime.timedelta(days=1))
    for one in asked:
        one.pop("prior", None)  # the record's own
    return ask_all(later, asked, 1)


def check_replay_and_comparison(
    record: AuditLog, bundle: Bundle, folder: Path, decisions: int
) -> None:
    golden = (BUNDLE / "bundle.sha256").read_text("utf-8").strip()
    bundles = Bundles({golden: BUNDLE, bundle.digest: folder})
    key, find = record.secrets.id_key, record.reader.by_id
    shadows = record.reader.of_kind(("shadow",))
    assert replay(shadows, bundles, key, find).counts == Counter(same=decisions)
    rows = list(compare_shadows(record.reader.of_kind(("shadow",)), bundles, key, find))
    assert [one.result for one in rows] == ["attributed"] * decisions
    assert any(one.ends is not None and one.ends[0] != one.ends[1] for one in rows)


def check_erasure(record: AuditLog, account: str) -> None:
    own = [row for row in rows_of(record, "shadow") if account in str(row.response_body)]
    assert own
    erase_account(record.database, record.secrets, "lender", account, ORDER)
    for row in each(own):
        erased = record.reader.by_id(row.entry_id)
        assert erased is not None
        assert erased.erased
        assert erased.response_body is None


def test_a_full_queue_drops_and_counts(record: AuditLog, golden: Bundle) -> None:
    """It is bounded by bytes, and what waits while the challenger is paused is dropped."""
    before = counts()
    limits = Limits(queue=50_000, pause=(60.0, 60.0))
    shadow = Shadow(record, "other", challenger("die"), limits)
    entry = stored_entry_of(golden)
    shadow.offer([entry] * 50)
    found = wait_for(50, before)
    shadow.close()
    assert found["full"] >= 40
    assert found["ended"] > 0
    assert found.total() == 50


def stored_entry_of(golden: Bundle) -> Entry:
    from tests.support.entries import decision_entry, example_request

    return stored_entry(decision_entry(example_request("A-1"), golden))


def test_the_challenger_s_own_decisions_are_not_decided_again(
    record: AuditLog, golden: Bundle
) -> None:
    before = counts()
    shadow = Shadow(record, golden.digest, challenger("fail"), HARSH)
    shadow.offer([stored_entry_of(golden)])
    time.sleep(0.2)
    shadow.close()
    assert counts() - before == Counter()
