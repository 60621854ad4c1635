"""Events are signed as Standard Webhooks has it, and say nothing of a person."""

from __future__ import annotations

import base64
import json

from serving.operations.serve.deliver.message import Message, sign, signed_headers

# Of the specification's reference implementations.
ID, SENT_AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
REFERENCE_SECRET = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_signature_is_that_of_the_reference() -> None:
    assert sign(ID, BODY, REFERENCE_SECRET, SENT_AT) == SIGNATURE


def test_two_secrets_give_two_signatures() -> None:
    headers = signed_headers(ID, BODY, [REFERENCE_SECRET, b"n" * 32], SENT_AT)
    first, second = headers["webhook-signature"].split(" ")
    assert (first, second) == (SIGNATURE, sign(ID, BODY, b"n" * 32, SENT_AT))
    assert headers["webhook-id"] == ID
    assert headers["webhook-timestamp"] == str(SENT_AT)


def test_the_body_has_ids_and_times_only() -> None:
    at = "2026-11-28T08:00:00.000000Z"
    due = Message("notice.due", "e-1", "bank", at, "d-1", "r-1", "2026-12-01")
    assert json.loads(due.body) == {
        "id": "notice_due_e-1",
        "type": "notice.due",
        "timestamp": at,
        "data": {
            "tenant": "bank",
            "decision_id": "d-1",
            "review_id": "r-1",
            "notice_id": "e-1",
            "send_by": "2026-12-01",
        },
    }
    made = Message("decision.made", "d-1", "bank", at, "d-1", None, None)
    assert json.loads(made.body)["data"] == {"tenant": "bank", "decision_id": "d-1"}
    assert "." not in made.event_id
