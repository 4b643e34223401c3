"""Signed webhooks: what a receiver can verify, where they may go, and what is told of an answer."""

import hashlib
import hmac
import re
import time
from pathlib import Path
from typing import Any

import pytest

from alerts import messages, webhook
from alerts.channels import opened
from alerts.models import Channel
from alerts.sending import Answer, send
from runs import vault
from tests.alerts.making import SECRET, make_channel
from tests.receiver import Heard, Receiver

pytestmark = pytest.mark.django_db(transaction=True)

BODY = messages.test_message("https://runs.example.com")
DOCS = Path(__file__).resolve().parents[2] / "docs" / "alerts.md"


@pytest.fixture(autouse=True)
def here(settings: Any) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    settings.ALERT_TIMEOUT_SECONDS = 5.0


def channel_to(receiver: Receiver, url: str = "") -> Channel:
    """Unsaved: asynchronous tests need no thread for it."""
    from alerts import channels

    sealed = channels.sealed(channels.Opened(url or receiver.url, SECRET))
    return Channel(pk=1, name="hook", means="webhook", sealed=sealed, hint="x")


def documented() -> Any:
    """The snippet of docs/alerts.md, as whoever copies it has it."""
    found = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found
    space: dict[str, Any] = {}
    exec(found[1], space)
    return space["verify"]


async def delivered(receiver: Receiver) -> Heard:
    assert (await send(channel_to(receiver), "key-1", BODY)).delivered
    return receiver.heard[-1]


async def test_the_documented_snippet_accepts_what_is_sent_and_nothing_else(receiver: Receiver) -> None:
    verify, heard = documented(), await delivered(receiver)
    header = heard.headers["stepline-signature"]
    assert verify(SECRET, header, heard.content)
    assert not verify("another secret", header, heard.content)
    assert not verify(SECRET, header, heard.content + b" ")
    assert not verify(SECRET, header.replace("t=", "t=1"), heard.content)
    assert not verify(SECRET, "nonsense", heard.content)
    old = webhook.signature(SECRET, heard.content, int(time.time()) - 3600)
    assert not verify(SECRET, old, heard.content)


async def test_the_signature_is_an_hmac_over_time_and_body(receiver: Receiver) -> None:
    heard = await delivered(receiver)
    found = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", heard.headers["stepline-signature"])
    assert found
    assert abs(int(found[1]) - time.time()) < 60
    expected = hmac.new(SECRET.encode(), found[1].encode() + b"." + heard.content, hashlib.sha256).hexdigest()
    assert found[2] == expected


async def test_the_key_stands_in_a_header_and_in_the_body_and_a_repeat_has_the_same_bytes(receiver: Receiver) -> None:
    first, again = await delivered(receiver), await delivered(receiver)
    assert first.key == first.body["id"] == "key-1"
    assert first.content == again.content
    assert first.headers["content-type"] == "application/json"
    assert {**first.body, "id": None} == {**BODY, "id": None}


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_any_success_counts(receiver: Receiver, status: int) -> None:
    receiver.status = status
    assert (await send(channel_to(receiver), "k", BODY)).delivered


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 410, 429, 500, 503])
async def test_nothing_else_does_and_the_answer_is_told(receiver: Receiver, status: int) -> None:
    receiver.status, receiver.words = status, "no\n\n<b>thanks</b>"
    answer = await send(channel_to(receiver), "k", BODY)
    assert answer == Answer(False, f"Answered {status}: no <b>thanks</b>")


async def test_redirects_are_not_followed(receiver: Receiver) -> None:
    receiver.status, receiver.location = 307, f"http://127.0.0.1:{receiver.port}/elsewhere"
    assert not (await send(channel_to(receiver), "k", BODY)).delivered
    assert len(receiver.heard) == 1


async def test_a_receiver_that_hangs_is_given_up_in_time(receiver: Receiver, settings: Any) -> None:
    settings.ALERT_TIMEOUT_SECONDS = 1.0
    receiver.status = 0
    assert await send(channel_to(receiver), "k", BODY) == Answer(False, "No answer within 1 s")


async def test_a_receiver_that_hangs_up_or_is_away_is_told(receiver: Receiver) -> None:
    receiver.status = -1
    assert (await send(channel_to(receiver), "k", BODY)).words.startswith("No answer: ")
    await receiver.stop()
    assert (await send(channel_to(receiver), "k", BODY)).words.startswith("No answer: ")


async def test_an_endless_answer_is_cut(receiver: Receiver) -> None:
    receiver.words = "x" * 5_000_000
    answer = await send(channel_to(receiver), "k", BODY)
    assert answer.delivered
    assert len(answer.words) <= 300


async def test_an_answer_that_repeats_address_or_secret_is_masked(receiver: Receiver) -> None:
    receiver.status = 500
    receiver.words = f"failed: {receiver.url} with {SECRET}, path-that-is-secret and password=hunter2-hunter2"
    words = (await send(channel_to(receiver), "k", BODY)).words
    assert words.startswith("Answered 500: failed: [masked]")
    assert not any(secret in words for secret in (SECRET, "path-that-is-secret", "hunter2"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "0x7f000001"])
async def test_private_addresses_are_refused_unless_the_setting_allows_them(
    receiver: Receiver, settings: Any, host: str
) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = False
    answer = await send(channel_to(receiver, f"http://{host}:{receiver.port}/"), "k", BODY)
    assert not answer.delivered
    assert "ALLOW_PRIVATE_UPSTREAMS is off" in answer.words
    assert receiver.heard == []


async def test_proxy_variables_are_ignored(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    await delivered(receiver)


async def test_a_channel_whose_key_is_lost_says_so(receiver: Receiver, settings: Any) -> None:
    from cryptography.fernet import Fernet

    channel = channel_to(receiver)
    settings.FERNET_KEYS = [Fernet.generate_key()]
    answer = await send(channel, "k", BODY)
    assert answer == Answer(False, str(vault.Unreadable()))


def test_what_is_stored_holds_neither_address_nor_secret() -> None:
    channel = make_channel("https://hooks.example.com/services/T0/B0/xyz-secret")
    assert "secret" not in channel.sealed + channel.hint
    assert channel.hint == "https://hooks.example.com/…"
    assert (opened(channel).url, opened(channel).secret) == (
        "https://hooks.example.com/services/T0/B0/xyz-secret",
        SECRET,
    )
