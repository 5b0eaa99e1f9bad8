"""Webhooks' signatures: the published vector, other authors' library, and what must be refused."""

from datetime import UTC, datetime
from time import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from recto.providers.standard_webhooks import InvalidSignature, key_of, sign, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "b3RoZXI" * 4 + "b3Ro"
VECTOR = {
    "message_id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "timestamp": "1614265330",
    "signatures": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    "body": b'{"test": 2432232314}',
    "now_s": 1614265330.0,
}


def test_the_published_vector_is_true():
    verify([SECRET], **VECTOR)
    assert sign(SECRET, VECTOR["message_id"], 1614265330, VECTOR["body"]) == VECTOR["signatures"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"signatures": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA="}, "forged"),
        ({"body": b'{"test": 2432232315}'}, "forged"),
        ({"body": b'{"test": 2432232314} '}, "forged"),
        ({"message_id": "msg_p5jXN8AQM9LWM0D4loKWxJeK"}, "forged"),
        ({"timestamp": "1614265331"}, "forged"),
        ({"signatures": VECTOR["signatures"].replace("v1,", "v1a,")}, "forged"),
        ({"signatures": VECTOR["signatures"].removeprefix("v1,")}, "forged"),
        ({"signatures": "v1,"}, "forged"),
        ({"signatures": "v1,é"}, "forged"),
        ({"signatures": "sha256=abc"}, "forged"),
        ({"signatures": ""}, "missing"),
        ({"message_id": ""}, "missing"),
        ({"timestamp": ""}, "missing"),
        ({"timestamp": "soon"}, "malformed"),
        ({"timestamp": "-1614265330"}, "malformed"),
        ({"timestamp": "1614265330.0"}, "malformed"),
        ({"timestamp": "١٦١٤٢٦٥٣٣٠"}, "malformed"),
        ({"timestamp": "9" * 5000}, "malformed"),
        ({"now_s": 1614265330 + 301.0}, "stale"),
        ({"now_s": 1614265330 - 301.0}, "stale"),
    ],
)
def test_one_thing_that_differs_is_refused_and_named(change, reason):
    with pytest.raises(InvalidSignature, match=f"^{reason}$"):
        verify([SECRET], **VECTOR | change)


@pytest.mark.parametrize("now_s", [1614265330 + 300.0, 1614265330 - 300.0])
def test_five_minutes_are_allowed_for(now_s):
    verify([SECRET], **VECTOR | {"now_s": now_s})


def test_while_a_secret_is_rotated_both_count():
    verify([OTHER, SECRET], **VECTOR)
    verify([SECRET], **VECTOR | {"signatures": f"v1,{'A' * 43}= v2,x {VECTOR['signatures']}"})
    with pytest.raises(InvalidSignature, match="forged"):
        verify([OTHER], **VECTOR)
    with pytest.raises(InvalidSignature, match="forged"):
        verify([], **VECTOR)


def test_another_authors_library_verifies_what_is_signed_here_and_the_other_way_round():
    body, now = b'{"id": "p1", "status": "succeeded"}', int(time())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": sign(SECRET, "msg_1", now, body),
    }
    assert Webhook(SECRET).verify(body, headers) == {"id": "p1", "status": "succeeded"}
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(body, headers)
    theirs = Webhook(SECRET).sign("msg_2", datetime.fromtimestamp(now, UTC), body.decode())
    verify([SECRET], message_id="msg_2", timestamp=str(now), signatures=theirs, body=body, now_s=now)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_***", "whsec_" + "AAAA" * 22])
def test_a_secret_that_is_none_is_refused(secret):
    with pytest.raises(ValueError, match="24 to 64 bytes"):
        key_of(secret)
