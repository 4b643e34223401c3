"""Messages as the services that people use most would get them: real plugins, real connections, real receivers.

Services that take any host are pointed at loopback by their address alone. Of those whose host stands in the plugin,
that host is replaced, and nothing else. What arrives is read.
"""

import asyncio
import base64
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from apprise.plugins import opsgenie, pagerduty
from apprise.plugins.discord import NotifyDiscord
from apprise.plugins.google_chat import NotifyGoogleChat
from apprise.plugins.slack import NotifySlack
from apprise.plugins.telegram import NotifyTelegram
from apprise.plugins.webexteams import NotifyWebexTeams

from alerts.sending import send
from tests.alerts.mailbox import PASSWORD, USER, Mailbox, mailbox
from tests.alerts.test_apprise import BODY, channel
from tests.receiver import Heard, Receiver
from tests.receiver import receiver as started

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),  # asked for with verify=no
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),  # a server like many on an intranet
]

type Tls = tuple[ssl.SSLContext, ssl.SSLContext]  # of a server, and of a client that believes it

TITLE = "Run failed: Load it · Nightly"
LINK = "https://runs.example.com/runs/7/?task=load"
LINES = ["Run: Nightly / run 7 (prod), failed", "Task: Load it", "TimeoutError (E7): no answer"]
MAIL = f"{USER}:{PASSWORD}@127.0.0.1"
ENDS = "from=stepline@example.com&to=oncall@example.com"


@pytest.fixture(autouse=True)
def here(settings: Any) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    settings.ALERT_TIMEOUT_SECONDS = 20.0


def holds_everything(text: str) -> None:
    """Headline, lines and the link to the failed task, as one text."""
    for words in (TITLE, *LINES, LINK):
        assert words in text, text


# --- services that are reached over HTTP --------------------------------------------------------------------------


class Service(NamedTuple):
    """`url`: with {port}. `secrets`: what of it must be in no message. `read`: a body -> what a person sees."""

    url: str
    path: str
    secrets: list[str]
    read: Callable[[Any], str]
    header: tuple[str, str] = ("", "")  # that carries the secret
    status: int = 200
    words: str = "ok"


def basic(user: str, password: str) -> tuple[str, str]:
    return "authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


ANY_HOST = {
    "json": Service(
        "json://joe:pass-4711@127.0.0.1:{port}/hook",
        "/hook",
        ["pass-4711"],
        lambda body: f"{body['title']}\n{body['message']}",
        basic("joe", "pass-4711"),
    ),
    "ntfy": Service(
        "ntfy://joe:pass-4711@127.0.0.1:{port}/runs",
        "/",
        ["pass-4711"],
        lambda body: f"{body['title']}\n{body['message']}",
        basic("joe", "pass-4711"),
    ),
    "gotify": Service(
        "gotify://127.0.0.1:{port}/Atoken-4711",
        "/message",
        ["Atoken-4711"],
        lambda body: f"{body['title']}\n{body['message']}",
        ("x-gotify-key", "Atoken-4711"),
    ),
    "mattermost": Service(
        "mmost://127.0.0.1:{port}/hooktoken4711aaaabbbbccc",
        "/hooks/hooktoken4711aaaabbbbccc",
        ["hooktoken4711aaaabbbbccc"],
        lambda body: body["text"],
    ),
    "rocket.chat": Service(
        "rocket://hook4711/secret4711@127.0.0.1:{port}/#runs",
        "/hooks/hook4711/secret4711",
        ["hook4711", "secret4711"],
        lambda body: shown(body["text"]),
    ),
}


def shown(markdown: str) -> str:
    """What a reader of Markdown shows, as far as escapes and links go."""
    found = re.fullmatch(r"(.*)\n\n\[(\S+)\]\((\S+)\)", markdown, re.DOTALL)
    assert found, markdown
    words, label, link = found.groups()
    assert label == link
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", words).replace("\n\n", "\n") + "\n" + link


@pytest.mark.parametrize("name", ANY_HOST)
async def test_a_service_at_any_host_gets_all_of_a_message_and_no_secret(name: str, receiver: Receiver) -> None:
    service = ANY_HOST[name]
    receiver.words = service.words
    answer = await send(channel(service.url.format(port=receiver.port)), "k", BODY)
    assert answer.delivered, answer
    (heard,) = receiver.heard
    assert heard.path == service.path
    check(service, heard)


def check(service: Service, heard: Heard) -> None:
    holds_everything(service.read(heard.body))
    if service.header[0]:
        assert heard.headers[service.header[0]] == service.header[1]
    for secret in service.secrets:
        assert secret.encode() not in heard.content


async def test_names_that_an_upstream_chose_are_no_markdown(receiver: Receiver) -> None:
    name = "[free *beer*](http://evil.example) <!here> `x`"
    body = {**BODY, "task": {"key": "load", "name": name}}
    url = f"rocket://hook4711/secret4711@127.0.0.1:{receiver.port}/#runs"
    assert (await send(channel(url), "k", body)).delivered
    (heard,) = receiver.heard
    assert "](" not in heard.body["text"].rpartition("\n")[0]
    assert f"Task: {name}" in shown(heard.body["text"])


async def test_a_matrix_room_gets_all_of_a_message(receiver: Receiver) -> None:
    receiver.words = json.dumps(
        {
            "access_token": "t",
            "user_id": "@joe:example.com",
            "home_server": "example.com",
            "room_id": "!r:example.com",
            "joined_rooms": [],
            "event_id": "$1",
        }
    )
    answer = await send(channel(f"matrix://joe:pass-4711@127.0.0.1:{receiver.port}/!r:example.com"), "k", BODY)
    assert answer.delivered, answer
    assert receiver.heard[0].path.endswith("/login")
    (said,) = [heard for heard in receiver.heard if "send/m.room.message" in heard.path]
    holds_everything(said.body["body"])
    assert all(b"pass-4711" not in heard.content for heard in receiver.heard[1:])


@pytest_asyncio.fixture
async def secure(tls: Tls) -> AsyncIterator[Receiver]:
    async with started(tls[0]) as made:
        yield made


async def test_a_workflow_of_teams_gets_a_card(secure: Receiver) -> None:
    url = f"workflows://127.0.0.1:{secure.port}/workflow4711/signature4711/?verify=no"
    answer = await send(channel(url), "k", BODY)
    assert answer.delivered, answer
    (heard,) = secure.heard
    assert heard.path.startswith("/workflows/workflow4711/")
    assert "sig=signature4711" in heard.path
    (card,) = heard.body["attachments"]
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    title, text = (block["text"] for block in card["content"]["body"] if block["type"] == "TextBlock")
    holds_everything(f"{title}\n{shown(text)}")
    assert b"4711" not in heard.content


async def test_a_certificate_that_nobody_vouches_for_is_refused(secure: Receiver) -> None:
    answer = await send(channel(f"workflows://127.0.0.1:{secure.port}/workflow4711/signature4711/"), "k", BODY)
    assert not answer.delivered
    assert secure.heard == []
    assert "4711" not in answer.words


FIXED_HOST = {
    "slack": Service(
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
        "/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
        ["TIiajkdnlazkcOXrIdevi7FQ"],
        lambda body: "\n".join(
            [body.get("text", ""), *(f"{one['title']}\n{one['text']}" for one in body["attachments"])]
        ),
    ),
    "pagerduty": Service(
        "pagerduty://routing4711aaaabbbbccccdddd@api-key-4711/",
        "/",
        ["api-key-4711"],
        lambda body: body["payload"]["summary"],
        ("authorization", "Token token=api-key-4711"),
        202,
    ),
    "discord": Service(
        "discord://123456789012345678/abcdefghijklmnop-4711",
        "/123456789012345678/abcdefghijklmnop-4711",
        ["abcdefghijklmnop-4711"],
        lambda body: body["content"],
        status=204,
        words="",
    ),
    "google chat": Service(
        "gchat://space/key-4711/token-4711",
        "/v1/spaces/space/messages?token=token-4711&key=key-4711",
        ["key-4711", "token-4711"],
        lambda body: body["text"].replace("*", ""),
    ),
    "webex": Service(
        f"wxteams://{'webex4711aaa' * 7}",
        f"/{'webex4711aaa' * 7}",
        ["webex4711"],
        lambda body: shown(body["markdown"]),
    ),
    "opsgenie": Service(
        "opsgenie://abcdefgh-4711-4711-4711-abcdefghijkl/",
        "/",
        ["abcdefgh-4711"],
        lambda body: f"{body['message']}\n{body['description']}",
        ("authorization", "GenieKey abcdefgh-4711-4711-4711-abcdefghijkl"),
        202,
        '{"result": "Request will be processed", "requestId": "1"}',
    ),
    "telegram": Service(
        "tgram://123456789:abcdefghijklmnopqrstuvwxyz4711/12315544/",
        "/123456789:abcdefghijklmnopqrstuvwxyz4711/sendMessage",
        ["abcdefghijklmnopqrstuvwxyz4711"],
        lambda body: body["text"],
        words='{"ok": true, "result": {"message_id": 1}}',
    ),
}


@pytest.fixture
def at_loopback(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hosts that stand in the plugins are the receiver, for as long as the test takes."""
    base = f"http://127.0.0.1:{receiver.port}"
    monkeypatch.setattr(NotifySlack, "webhook_url", base)
    monkeypatch.setattr(NotifyDiscord, "notify_url", base)
    monkeypatch.setattr(NotifyTelegram, "notify_url", base + "/")
    monkeypatch.setattr(NotifyGoogleChat, "notify_url", base + "/v1/spaces/{workspace}/messages")
    monkeypatch.setattr(NotifyWebexTeams, "notify_url", base)
    monkeypatch.setitem(opsgenie.OPSGENIE_API_LOOKUP, opsgenie.OpsgenieRegion.US, base + "/")
    monkeypatch.setitem(pagerduty.PAGERDUTY_API_LOOKUP, pagerduty.PagerDutyRegion.US, base + "/")


@pytest.mark.usefixtures("at_loopback")
@pytest.mark.parametrize("name", FIXED_HOST)
async def test_a_service_of_one_host_is_sent_all_of_a_message_and_no_secret(name: str, receiver: Receiver) -> None:
    service = FIXED_HOST[name]
    receiver.status, receiver.words = service.status, service.words
    answer = await send(channel(service.url), "k", BODY)
    assert answer.delivered, answer
    (heard,) = receiver.heard
    assert heard.path == service.path
    check(service, heard)


@pytest.mark.usefixtures("at_loopback")
@pytest.mark.parametrize("name", FIXED_HOST)
async def test_what_a_service_of_one_host_refuses_is_told_without_its_token(name: str, receiver: Receiver) -> None:
    service = FIXED_HOST[name]
    receiver.status, receiver.words = 403, f"not with {service.secrets[0]}"
    answer = await send(channel(service.url), "k", BODY)
    assert not answer.delivered
    assert "403" in answer.words
    assert not any(secret in answer.words for secret in service.secrets)


# --- e-mail -------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def box() -> AsyncIterator[Mailbox]:
    async with mailbox() as made:
        yield made


async def test_a_mail_arrives_with_subject_text_and_link(box: Mailbox) -> None:
    answer = await send(channel(f"mailto://{MAIL}:{box.port}?{ENDS}"), "k", BODY)
    assert answer.delivered, answer
    ((envelope, mail),) = box.mails
    assert envelope.rcpt_tos == ["oncall@example.com"]
    assert "stepline@example.com" in mail["From"]
    assert mail["To"] == "oncall@example.com"
    assert mail["Subject"] == TITLE
    assert mail.get_content_type() == "text/plain"
    assert {*LINES, LINK} <= set(mail.get_content().splitlines())
    assert PASSWORD not in mail.as_string()
    assert box.logins == [(False, USER.encode(), PASSWORD.encode())]


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a & b <b>", "line\nBcc: joe@example.com", "ünï→✓ " * 30, "🔥" * 300]
)
async def test_names_that_an_upstream_chose_stay_text_in_a_mail(box: Mailbox, name: str) -> None:
    body = {**BODY, "task": {"key": "load", "name": name}}
    answer = await send(channel(f"mailto://{MAIL}:{box.port}?{ENDS}"), "k", body)
    assert answer.delivered, answer
    ((envelope, mail),) = box.mails
    assert envelope.rcpt_tos == ["oncall@example.com"]
    assert mail["Bcc"] is None
    assert mail["Subject"].startswith(f"Run failed: {name.split(maxsplit=1)[0][:60]}")
    assert mail.get_content_type() == "text/plain"
    assert name in mail.get_content().replace("\r\n", "\n")


async def test_a_wrong_password_and_a_refused_recipient_are_told_in_words(box: Mailbox) -> None:
    wrong = await send(channel(f"mailto://{USER}:other-4711@127.0.0.1:{box.port}?{ENDS}"), "k", BODY)
    assert not wrong.delivered
    assert "535" in wrong.words
    assert "other-4711" not in wrong.words
    box.refuse = f"550 no mail for {PASSWORD}"
    refused = await send(channel(f"mailto://{MAIL}:{box.port}?{ENDS}"), "k", BODY)
    assert not refused.delivered
    assert "550" in refused.words
    assert PASSWORD not in refused.words
    assert box.mails == []


async def test_no_password_goes_to_a_mail_server_whose_certificate_nobody_vouches_for(tls: Tls) -> None:
    async with mailbox(tls[0]) as box:
        refused = await send(channel(f"mailtos://{MAIL}:{box.port}?{ENDS}"), "k", BODY)
        assert not refused.delivered
        assert box.logins == []
        trusted = await send(channel(f"mailtos://{MAIL}:{box.port}?{ENDS}&verify=no"), "k", BODY)
        assert trusted.delivered, trusted
        assert box.logins == [(True, USER.encode(), PASSWORD.encode())]
        ((_, mail),) = box.mails
        assert mail["Subject"] == TITLE


async def test_a_mail_server_that_says_nothing_is_given_up_in_time(settings: Any) -> None:
    settings.ALERT_TIMEOUT_SECONDS = 1.0
    came = asyncio.Event()
    server = await asyncio.start_server(lambda _reader, _writer: came.set(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    answer = await send(channel(f"mailto://{MAIL}:{port}?{ENDS}"), "k", BODY)
    assert not answer.delivered
    assert came.is_set()
    server.close()
