"""Apprise: real messages through a real plugin, in time, masked, and only to where they may go."""

import logging
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from alerts import apprise_service, channels, messages
from alerts.channels import Opened
from alerts.models import Channel
from alerts.sending import send
from outgoing.addresses import Forbidden
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general"
BODY: dict[str, Any] = {
    "event": "run-failed",
    "at": "2026-11-24T10:00:00.000Z",
    "run": {
        "flow_name": "Nightly",
        "run_name": "run 7",
        "upstream": "prod",
        "status": "failed",
        "started_at": None,
        "notice": "",
    },
    "task": {"key": "load", "name": "Load it"},
    "error": {"type": "TimeoutError", "message": "no answer", "code": "E7"},
    "held_back": 2,
    "held_back_since": "2026-11-24T09:00:00.000Z",
    "url": "https://runs.example.com/runs/7/?task=load",
}


@pytest.fixture(autouse=True)
def here(settings: Any) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    settings.ALERT_TIMEOUT_SECONDS = 20.0


def channel(url: str) -> Channel:
    return Channel(pk=1, name="a", means="apprise", sealed=channels.sealed(Opened(url)), hint="x")


def json_to(receiver: Receiver, more: str = "") -> str:
    return f"json://someone:a-password-4711@127.0.0.1:{receiver.port}/path-that-is-secret{more}"


async def test_a_message_arrives_with_title_text_and_link(receiver: Receiver) -> None:
    answer = await send(channel(json_to(receiver)), "k", BODY)
    assert answer.delivered, answer
    (heard,) = receiver.heard
    assert heard.body["title"] == "Run failed: Load it · Nightly"
    assert heard.body["message"].splitlines() == [
        "Run: Nightly / run 7 (prod), failed",
        "Task: Load it",
        "TimeoutError (E7): no answer",
        "At: 2026-11-24T10:00:00.000Z",
        "Since 2026-11-24T09:00:00.000Z 2 more of this kind were not sent.",
        "https://runs.example.com/runs/7/?task=load",
    ]
    assert heard.body["type"] == "failure"


@pytest.mark.parametrize("status", [500, 404, -1])
async def test_what_goes_wrong_is_told_and_logged_without_the_address(
    receiver: Receiver, status: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    receiver.status, receiver.words = status, "no: a-password-4711"
    with caplog.at_level(logging.DEBUG):
        answer = await send(channel(json_to(receiver)), "k", BODY)
    assert not answer.delivered
    assert len(answer.words) > 10
    printed = capfd.readouterr()
    everything = (
        answer.words
        + printed.out
        + printed.err
        + "".join(
            record.getMessage() for record in caplog.records if not record.name.startswith(("apprise", "urllib3"))
        )
    )
    assert "a-password-4711" not in everything
    assert "path-that-is-secret" not in everything


async def test_a_service_that_hangs_is_given_up_in_time_and_gives_its_thread_back(
    receiver: Receiver, settings: Any
) -> None:
    settings.ALERT_TIMEOUT_SECONDS = 2.0
    receiver.status = 0
    answer = await send(channel(json_to(receiver, "?rto=60")), "k", BODY)
    assert not answer.delivered
    assert receiver.heard
    await receiver.stop()


async def test_when_every_thread_hangs_the_next_message_is_not_sent_and_says_so(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    none_left = threading.BoundedSemaphore(1)
    none_left.acquire()
    monkeypatch.setattr(apprise_service, "_free", none_left)
    answer = await send(channel(json_to(receiver)), "k", BODY)
    assert not answer.delivered
    assert "too many earlier messages" in answer.words
    assert receiver.heard == []


async def test_redirects_are_not_followed(receiver: Receiver) -> None:
    receiver.status, receiver.location = 307, f"http://127.0.0.1:{receiver.port}/elsewhere"
    assert not (await send(channel(json_to(receiver)), "k", BODY)).delivered
    assert len(receiver.heard) == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("syslog://", "on the machine"),
        ("dbus://", "on the machine"),
        ("macosx://", "on the machine"),
        ("nonsense", "knows no service"),
        ("file:///etc/passwd", "knows no service"),
        ("slack://", "knows no service"),
        ("json://example.com/?redirect=yes", "redirect"),
        ("", "knows no service"),
    ],
)
def test_addresses_of_no_use_are_refused_in_words(url: str, said: str) -> None:
    with pytest.raises(Forbidden, match=said):
        apprise_service.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "json://127.0.0.1/",
        "json://localhost/",
        "xml://10.0.0.1/",
        "form://[::1]/",
        "mailto://u:p@example.com?smtp=127.0.0.1",
        "workflows://169.254.169.254:443/workflow-id-0123/signature-0123456789",
        "ntfy://192.168.1.1/topic",
        "rsyslog://127.0.0.1",
        "matrix://user:pass@localhost/#room",
        "mmost://127.0.0.1/abcdefghijklmnopqrstuvwx",
    ],
)
def test_private_hosts_are_refused_unless_the_setting_allows_them(url: str, settings: Any) -> None:
    apprise_service.check(url)
    settings.ALLOW_PRIVATE_UPSTREAMS = False
    with pytest.raises(Forbidden, match="ALLOW_PRIVATE_UPSTREAMS is off"):
        apprise_service.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "matrixs://user:pass@example.com/#room",
        "bluesky://handle@app-password",
        "nostr://67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa/?relay=127.0.0.1",
    ],
)
def test_services_that_ask_others_where_to_send_are_refused_where_private_hosts_are(url: str, settings: Any) -> None:
    apprise_service.check(url)
    settings.ALLOW_PRIVATE_UPSTREAMS = False
    with pytest.raises(Forbidden, match="asks elsewhere"):
        apprise_service.check(url)


def test_a_matrix_homeserver_that_is_named_is_asked_for_no_other(settings: Any) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = False
    apprise_service.check("matrixs://user:pass@example.com/#room?discovery=no")


@pytest.mark.parametrize(
    "url",
    [SLACK, "pagerduty://0123456789abcdef@a-key-0123456789", "discord://123456789012345678/abcdefghijklmnopqrstuvwxyz"],
)
def test_the_tokens_of_a_cloud_service_are_not_taken_for_hosts(url: str, settings: Any) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = False
    apprise_service.check(url)


def test_the_addresses_that_the_documentation_gives_are_known() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "alerts.md").read_text()
    addresses = re.findall(r"^\| [^|]+ \| `(\w+://[^`]+)` \|", page, re.MULTILINE)
    assert len(addresses) > 10
    for url in addresses:
        apprise_service.check(url)


def test_of_an_address_only_the_service_is_shown() -> None:
    assert channels.hint("apprise", SLACK) == "slack://••••••••"


def test_no_part_of_an_address_survives_in_an_answer() -> None:
    content = Opened("mailtos://joe:p%40ss-word@example.com/?smtp=mail.example.com&to=ann@example.com")
    words = channels.masked("535 joe p@ss-word p%40ss-word refused by mail.example.com for ann@example.com", content)
    assert words == "535 joe [masked] [masked] refused by [masked] for ann@[masked]"


def test_the_words_of_a_recovery_and_of_a_test() -> None:
    assert messages.title({**BODY, "event": "recovered", "task": None}) == "Recovered · Nightly"
    assert messages.text(messages.test_message("http://x")).endswith("http://x/alerts/channels/")
    run = {**BODY["run"], "notice": "The upstream said no."}
    refused = {**BODY, "happened": "run-refused", "error": None, "task": None, "run": run}
    assert "The upstream said no." in messages.text(refused)
    assert messages.title(refused) == "Launch refused · Nightly"
