"""An app that takes a lender's events through a year, and the events that the answers call for."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from serving.__main__ import main
from serving.audit_log.log import AuditLog
from serving.storage.settings import StorageSettings
from serving.storage.timestamps import encode_time
from tests.support.each import each
from tests.support.monthly_run import Answer, Book
from tests.support.submissions import LENDER
from tests.support.webhooks import (
    Received,
    free_port,
    read_received,
    running_app,
    write_endpoints,
)

Content = dict[str, Any]
_COUNTS = re.compile(r"app  delivered (\d+)  refused 0  waiting (\d+)\n")
NOBODY = "-"  # whose events those of unknown decisions are


class App:
    """Takes what ``deliver`` posts, at a real HTTP server.

    ``expected`` has the content of all events so far of each account, in order.
    """

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self._file = settings.secrets.with_name("received.jsonl")
        self.expected: dict[str, list[Content]] = {}
        self._waiting = 0
        with self._taking_events():
            assert _deliver() == (0, 0, 0), "nothing happened yet"

    @property
    def received(self) -> list[Received]:
        """All events that have arrived, in order."""
        return read_received(self._file)

    def expect(self, audit_log: AuditLog, book: Book, answers: dict[str, Answer]) -> int:
        """Expect the events of a month's answers; returns their number."""
        at = encode_time(book.decided_at)
        referred = [one["decision_id"] for one in answers.values() if one["action"] == "review"]
        reviews = _open_reviews(audit_log, referred)
        before = self._waiting
        for name, answer in answers.items():
            events = [content | {"timestamp": at} for content in _contents(answer, reviews)]
            if events:
                self.expected.setdefault(name, []).extend(events)
                self._waiting += len(events)
        return self._waiting - before

    def fail_to_deliver(self) -> None:
        """Run ``deliver`` while the app is down: all events wait."""
        write_endpoints(self._settings, free_port(), LENDER.tenant)
        assert _deliver() == (1, 0, self._waiting)

    def deliver(self) -> None:
        """Run ``deliver`` while the app takes events, until none waits."""
        with self._taking_events():
            while self._waiting:
                code, delivered, waiting = _deliver()
                assert delivered > 0, "none of the events was delivered"
                # More than once only if an answer came too late, as on a machine that was stopped.
                self._waiting -= delivered
                assert (code, waiting) == (int(self._waiting > 0), self._waiting)

    def check(self, received: Sequence[Received]) -> None:
        """What has arrived is what the answers call for, in order of each account.

        As an app is told to, it drops what it has by its id; that has to be the same event.
        """
        bodies: dict[str, str] = {}
        for one in each(received):
            assert one.body == bodies.setdefault(one.event_id, one.body), "two events of one id"
        accounts: dict[str, str] = {}
        for name, contents in self.expected.items():
            accounts |= {content["data"]["decision_id"]: name for content in contents}
        arrived: dict[str, list[Content]] = {}
        assert {one.valid for one in received} == {1}
        for event_id, body in bodies.items():
            content = json.loads(body)
            assert event_id == content["id"]
            name = accounts.get(content["data"]["decision_id"], NOBODY)
            arrived.setdefault(name, []).append(content)
        assert arrived == self.expected

    @contextlib.contextmanager
    def _taking_events(self) -> Iterator[None]:
        # At another port each time: a program of another test may have taken the last one.
        with running_app(self._file) as port:
            write_endpoints(self._settings, port, LENDER.tenant)
            yield


def _deliver() -> tuple[int, int, int]:
    """Run the command; returns its exit code, and the numbers delivered and waiting."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        code = main(["deliver", "--once"])
    counts = _COUNTS.fullmatch(printed.getvalue())
    assert counts is not None, printed.getvalue()
    return code, int(counts[1]), int(counts[2])


def _contents(answer: Answer, reviews: dict[str, str]) -> list[Content]:
    """The events of an answer in order, as docs/service/events.md has them, without their time."""
    action, notice, decision_id = answer["action"], answer["notice"], answer["decision_id"]
    if action == "keep" and notice is None:
        return []
    contents = [_content("decision.made", decision_id, decision_id)]
    if action == "restore":
        contents.append(_content("limit.restored", decision_id, decision_id))
    if notice is not None:
        about = {"notice_id": decision_id, "send_by": notice["send_by"]}
        contents.append(_content("notice.due", decision_id, decision_id, **about))
    if action == "review":
        review = reviews[decision_id]
        contents.append(_content("review.opened", review, decision_id, review_id=review))
    return contents


def _content(kind: str, entry_id: str, decision_id: str, **about: str) -> Content:
    data = {"tenant": LENDER.tenant, "decision_id": decision_id, **about}
    return {"id": f"{kind.replace('.', '_')}_{entry_id}", "type": kind, "data": data}


def _open_reviews(audit_log: AuditLog, decisions: Sequence[str]) -> dict[str, str]:
    """The id of the one review of each of these decisions."""
    reviews: dict[str, str] = {}
    for decision_id, entries in audit_log.reader.about_all(decisions).items():
        [review] = [entry for entry in entries if entry.kind == "review"]
        reviews[decision_id] = review.entry_id
    return reviews
