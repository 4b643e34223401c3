"""The administrators' pages: what is entered is checked at its field, and no secret comes out again."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import AuditEntry
from alerts import views
from alerts.channels import opened
from alerts.models import Channel, Delivery, Kind, Rule
from runs.models import Happening
from tests.alerts.making import SECRET, happen, make_channel, make_rule, said
from tests.factories import make_run, make_task

ClientAs = Callable[[str], Client]
pytestmark = pytest.mark.django_db

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/"
PAGES = ("/alerts/", "/alerts/rules/new/", "/alerts/channels/", "/alerts/log/")


@pytest.fixture
def admin(client_as: ClientAs) -> Client:
    return client_as("admin")


def text(client: Client, address: str, **post: Any) -> str:
    answer = client.post(address, post, follow=True) if post else client.get(address, follow=True)
    return re.sub(r"\s+", " ", answer.content.decode())


def rule_values(channel: Channel, **fields: Any) -> dict[str, Any]:
    return {
        "name": "night watch",
        "enabled": "on",
        "kinds": ["run-failed", "recovered"],
        "flows": "nightly_*\n\n  Weekly \nnightly_*",
        "channels": [channel.pk],
        "debounce_minutes": "15",
    } | fields


# --- rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", PAGES)
@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_they_are_for_administrators_alone(client_as: ClientAs, role: str, address: str) -> None:
    client = client_as(role)
    assert client.get(address).status_code == 403
    assert 'href="/alerts/"' not in client.get("/").content.decode()


def test_each_page_says_what_to_do_while_there_is_nothing(admin: Client) -> None:
    assert "First there has to be a channel" in text(admin, "/alerts/")
    assert "There is no channel yet" in text(admin, "/alerts/rules/new/")
    assert "No channel yet" in text(admin, "/alerts/channels/")
    assert "Nothing was sent yet" in text(admin, "/alerts/log/")
    make_channel()
    assert "New rule" in text(admin, "/alerts/")


def test_a_rule_is_saved_shown_and_changed(admin: Client) -> None:
    channel = make_channel(name="team chat")
    answer = admin.post("/alerts/rules/new/", rule_values(channel))
    assert answer.status_code == 302
    rule = Rule.objects.get()
    assert (rule.flows, rule.kinds, rule.debounce_minutes) == (["nightly_*", "Weekly"], ["run-failed", "recovered"], 15)
    page = text(admin, "/alerts/")
    for shown in ("night watch", "team chat", "nightly_*", "one message in 15 minutes", "A flow recovered"):
        assert shown in page
    form = admin.get(f"/alerts/rules/{rule.pk}/").content.decode()
    assert re.search(r'value="recovered"[^>]*checked', form)
    assert not re.search(r'value="run-lost"[^>]*checked', form)
    values = rule_values(channel, name="renamed", kinds=["run-lost"], flows="", debounce_minutes="0")
    del values["enabled"]
    admin.post(f"/alerts/rules/{rule.pk}/", values)
    rule.refresh_from_db()
    assert (rule.name, rule.enabled, rule.kinds, rule.flows) == ("renamed", False, ["run-lost"], [])
    assert "Off" in text(admin, "/alerts/")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 101),
        ("kinds", []),
        ("kinds", ["everything"]),
        ("channels", []),
        ("channels", [999_999]),
        ("debounce_minutes", "-1"),
        ("debounce_minutes", "often"),
        ("debounce_minutes", "99999"),
        ("flows", "x" * 301),
        ("flows", "\n".join(map(str, range(101)))),
    ],
)
def test_a_wrong_value_is_refused_at_its_field(admin: Client, field: str, value: Any) -> None:
    answer = admin.post("/alerts/rules/new/", rule_values(make_channel(), **{field: value}))
    assert answer.status_code == 422
    assert set(answer.context["form"].errors) == {field}
    assert not Rule.objects.exists()


def test_a_taken_name_is_said_at_the_name(admin: Client) -> None:
    make_rule(name="night watch")
    answer = admin.post("/alerts/rules/new/", rule_values(make_channel()))
    assert (answer.status_code, set(answer.context["form"].errors)) == (422, {"name"})
    make_channel(name="taken")
    answer = admin.post("/alerts/channels/new/webhook/", {"name": "taken", "url": "http://127.0.0.1:9/"})
    assert (answer.status_code, set(answer.context["form"].errors)) == (422, {"name"})


def test_a_rule_is_deleted_and_what_was_dropped_is_told(admin: Client) -> None:
    rule = make_rule(Kind.RUN_FAILED)
    happen(make_run(), Happening.Kind.FAILED)
    said()
    assert "1 waiting message was dropped" in text(admin, f"/alerts/rules/{rule.pk}/", delete="yes")
    assert not Rule.objects.exists()
    assert "rule " + rule.name + ", deleted" in text(admin, "/alerts/log/")


def test_a_rule_whose_channels_are_gone_says_so(admin: Client) -> None:
    rule = make_rule()
    admin.post(f"/alerts/channels/{rule.channels.get().pk}/", {"delete": "yes"})
    assert "its channels were deleted" in text(admin, "/alerts/")


# --- channels -----------------------------------------------------------------------------------------------------


def everywhere(admin: Client, channel: Channel) -> str:
    """All that pages and the audit log hold."""
    pages = (*PAGES, f"/alerts/channels/{channel.pk}/", "/audit/")
    entries = " ".join(f"{entry.about} {entry.detail}" for entry in AuditEntry.objects.all())
    return entries + " ".join(text(admin, page) for page in pages)


def test_the_secret_of_a_webhook_is_shown_once_and_its_address_never(admin: Client) -> None:
    url = "http://127.0.0.1:9/hooks/path-that-is-secret"
    answer = admin.post("/alerts/channels/new/webhook/", {"name": "ours", "url": url})
    channel = Channel.objects.get()
    content = opened(channel)
    assert content.url == url
    assert answer.status_code == 200
    assert content.secret in answer.content.decode()
    assert "no-store" in answer.headers["Cache-Control"]
    assert "path-that-is-secret" not in answer.content.decode()
    shown = everywhere(admin, channel)
    assert "http://127.0.0.1:9/…" in shown
    assert not any(secret in shown for secret in (content.secret, "path-that-is-secret"))


def test_an_apprise_address_is_kept_and_shown_by_its_service_alone(admin: Client) -> None:
    page = text(admin, "/alerts/channels/new/apprise/", name="chat", url=SLACK)
    channel = Channel.objects.get()
    assert opened(channel).url == SLACK
    assert "slack://••••••••" in page
    assert "TIiajkdnlazkcOXrIdevi7FQ" not in page + everywhere(admin, channel)


@pytest.mark.parametrize(
    ("means", "url"),
    [
        ("webhook", "ftp://example.com/"),
        ("webhook", "https://user:pw-of-it@example.com/"),
        ("webhook", "nonsense"),
        ("webhook", "http://127.0.0.1:9/private"),
        ("webhook", ""),
        ("apprise", "slack://nonsense-of-it"),
        ("apprise", "syslog://"),
        ("apprise", "json://127.0.0.1/private"),
    ],
)
def test_a_wrong_address_is_refused_and_not_repeated(admin: Client, settings: Any, means: str, url: str) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = False
    answer = admin.post(f"/alerts/channels/new/{means}/", {"name": "x", "url": url})
    assert (answer.status_code, set(answer.context["form"].errors)) == (422, {"url"})
    assert not re.search("pw-of-it|nonsense-of-it|/private", answer.content.decode())
    assert not Channel.objects.exists()


def test_an_empty_address_keeps_the_stored_one_and_a_new_one_keeps_the_secret(admin: Client) -> None:
    channel = make_channel()
    before = opened(channel)
    address = f"/alerts/channels/{channel.pk}/"
    admin.post(address, {"name": "renamed", "url": ""})
    channel.refresh_from_db()
    assert (channel.name, opened(channel)) == ("renamed", before)
    admin.post(address, {"name": "renamed", "url": "http://127.0.0.1:10/other"})
    channel.refresh_from_db()
    assert (opened(channel).url, opened(channel).secret) == ("http://127.0.0.1:10/other", before.secret)
    assert channel.hint == "http://127.0.0.1:10/…"


def test_a_new_secret_is_shown_once_and_only_webhooks_have_one(admin: Client) -> None:
    channel, other = make_channel(), make_channel(SLACK, means="apprise")
    answer = admin.post(f"/alerts/channels/{channel.pk}/secret/")
    channel.refresh_from_db()
    assert opened(channel).secret != SECRET
    assert opened(channel).secret in answer.content.decode()
    assert opened(channel).secret not in everywhere(admin, channel)
    assert admin.post(f"/alerts/channels/{other.pk}/secret/").status_code == 404


def test_what_came_of_a_test_is_shown_masked(admin: Client, settings: Any) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    channel = make_channel("http://127.0.0.1:9/path-that-is-secret")
    page = text(admin, f"/alerts/channels/{channel.pk}/test/", x="")
    assert "The test message was not delivered" in page
    assert "No answer: " in page
    assert "path-that-is-secret" not in page


def test_unknown_means_and_rows_are_not_found(admin: Client) -> None:
    for address in ("/alerts/channels/new/pigeon/", "/alerts/channels/9999/", "/alerts/rules/9999/"):
        assert admin.get(address).status_code == 404
    assert admin.post("/alerts/log/9999/retry/").status_code == 404


def test_what_administrators_do_stands_in_the_audit_log(admin: Client) -> None:
    admin.post("/alerts/channels/new/webhook/", {"name": "ours", "url": "http://127.0.0.1:9/"})
    channel = Channel.objects.get()
    admin.post("/alerts/rules/new/", rule_values(channel))
    admin.post(f"/alerts/channels/{channel.pk}/test/")
    admin.post(f"/alerts/channels/{channel.pk}/secret/")
    admin.post(f"/alerts/rules/{Rule.objects.get().pk}/", {"delete": "yes"})
    admin.post(f"/alerts/channels/{channel.pk}/", {"delete": "yes"})
    assert list(AuditEntry.objects.order_by("pk").values_list("deed", "about", "detail")) == [
        ("channel-saved", "channel ours", "new"),
        ("rule-saved", "rule night watch", "new"),
        ("channel-tested", "channel ours", ""),
        ("channel-saved", "channel ours", "new secret"),
        ("rule-deleted", "rule night watch", ""),
        ("channel-deleted", "channel ours", ""),
    ]


# --- deliveries ---------------------------------------------------------------------------------------------------


def some_deliveries() -> list[Delivery]:
    make_rule(Kind.TASK_FAILED, to=[make_channel(name="ours")])
    for state in ("waiting", "delivered", "failed", "dropped"):
        run = make_run(run_name=f"run of {state}")
        make_task(run, "load/it", status="failed")
        happen(run, Happening.Kind.TASK_FAILED, task_key="load/it")
        said()
        Delivery.objects.filter(pk=Delivery.objects.latest("pk").pk).update(state=state, answer=f"said: {state}")
    return list(Delivery.objects.order_by("pk"))


def test_the_log_is_filtered_by_state_and_leads_to_the_task(admin: Client) -> None:
    waiting, _, failed, _ = some_deliveries()
    page = text(admin, "/alerts/log/")
    assert [name for name in ("waiting", "delivered", "failed", "dropped") if f"run of {name}" in page] == [
        "waiting",
        "delivered",
        "failed",
        "dropped",
    ]
    assert f'href="/runs/{failed.alert.run_id}/?task=load%2Fit"' in page
    only = text(admin, "/alerts/log/?state=failed")
    assert "run of failed" in only
    assert "run of waiting" not in only
    assert "said: failed" in only
    assert "No delivery of this kind" in text(admin, f"/alerts/log/?before={waiting.pk}")
    assert "run of failed" in text(admin, "/alerts/log/?state=nonsense&before=x")


def test_what_failed_is_sent_again_by_hand(admin: Client) -> None:
    _, delivered, failed, _ = some_deliveries()
    page = text(admin, "/alerts/log/")
    assert page.count("Send again") == 2
    assert "is sent again within seconds" in text(admin, f"/alerts/log/{failed.pk}/retry/", x="")
    failed.refresh_from_db()
    assert failed.state == "waiting"
    assert "Only what failed or was dropped" in text(admin, f"/alerts/log/{delivered.pk}/retry/", x="")


def test_the_log_is_paged(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "PAGE_SIZE", 3)
    some_deliveries()
    first = admin.get("/alerts/log/")
    assert [row.state for row, _ in first.context["rows"]] == ["dropped", "failed", "delivered"]
    second = admin.get(f"/alerts/log/?before={first.context['older']}")
    assert [row.state for row, _ in second.context["rows"]] == ["waiting"]
    assert second.context["older"] is None
