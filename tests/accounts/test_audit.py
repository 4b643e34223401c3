"""The log of who did what: every deed has its entry, none holds a secret, and none is ever changed."""

import importlib
import io
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client

from accounts import audit, people
from accounts.management.commands import changepassword
from accounts.models import AppendOnly, AuditEntry, Deed, SigninLink, Token, User
from runs import actions
from runs.models import Run, Upstream, Workflow
from tests.factories import make_definition, make_run, make_token, make_upstream, make_user, make_workflow

pytestmark = pytest.mark.django_db

PASSWORD = "a long enough one"


def last() -> AuditEntry:
    return AuditEntry.objects.latest("pk")


def told() -> tuple[str, str, str, str]:
    entry = last()
    return entry.name, entry.deed, entry.about, entry.detail


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(make_user("admin", username="grace"))
    return client


@pytest.fixture
def ada() -> User:
    return make_user("viewer", username="ada", password=PASSWORD)


# --- each deed -------------------------------------------------------------------------------------------------------


def test_signing_in_and_out(ada: User) -> None:
    client = Client()
    client.post("/sign-in/", {"username": "ada", "password": PASSWORD})
    assert told() == ("ada", "signed-in", "", "password")
    assert (last().via, last().place) == ("page", "127.0.0.1")
    client.post("/sign-out/")
    assert told() == ("ada", "signed-out", "", "")
    number = AuditEntry.objects.count()
    client.post("/sign-out/")
    assert AuditEntry.objects.count() == number, "nobody was signed in"


def test_a_failed_sign_in_names_whom_it_was_about_only_when_there_is_such_a_user(ada: User) -> None:
    Client().post("/sign-in/", {"username": "ada", "password": "wrong"})
    assert told() == ("ada", "sign-in-failed", "", "")
    Client().post("/sign-in/", {"username": PASSWORD, "password": ""})
    assert told() == ("", "sign-in-failed", "an unknown name", "")


def test_a_link_made_and_used(admin: Client, ada: User) -> None:
    admin.post(f"/users/{ada.pk}/link/")
    assert told() == ("grace", "link-made", "ada", "")
    link = SigninLink.issue(ada)
    Client().get(f"/sign-in/{link}/")
    assert told() == ("ada", "link-used", "", "one-time link")


def test_what_is_done_about_users(admin: Client, ada: User) -> None:
    admin.post("/users/new/", {"name": "linus", "role": "viewer"})
    assert told() == ("grace", "user-made", "linus", "viewer")
    admin.post(f"/users/{ada.pk}/", {"role": "operator"})
    assert told() == ("grace", "role-changed", "ada", "viewer → operator")
    admin.post(f"/users/{ada.pk}/active/", {"active": "no"})
    assert told() == ("grace", "user-disabled", "ada", "")
    admin.post(f"/users/{ada.pk}/active/", {"active": "yes"})
    assert told() == ("grace", "user-enabled", "ada", "")
    admin.post(f"/users/{ada.pk}/sign-out/")
    assert told()[:3] == ("grace", "signed-out-elsewhere", "ada")


def test_passwords_and_tokens(ada: User) -> None:
    client = Client()
    client.force_login(ada)
    fields = {"old_password": PASSWORD, "new_password1": PASSWORD + "!", "new_password2": PASSWORD + "!"}
    client.post("/account/password/", fields)
    assert told() == ("ada", "password-changed", "ada", "")
    client.post("/account/tokens/", {"name": "ci", "role": "viewer", "days": "7"})
    token = Token.objects.get()
    assert told() == ("ada", "token-made", f"{token.prefix}… of ada", "viewer, 7 days")
    client.post(f"/account/tokens/{token.pk}/revoke/")
    assert told() == ("ada", "token-revoked", f"{token.prefix}… of ada", "")


def test_what_commands_do(monkeypatch: pytest.MonkeyPatch, ada: User) -> None:
    monkeypatch.setattr(changepassword.Command, "_get_pass", lambda *_: PASSWORD + "!")
    call_command("changepassword", "ada", stdout=io.StringIO())
    assert told() == ("", "password-changed", "ada", "")
    assert (last().via, "@" in last().place) == ("command", True)
    call_command("signin_link", "ada", "--role", "operator", stdout=io.StringIO(), stderr=io.StringIO())
    assert told() == ("", "link-made", "ada", "")
    assert AuditEntry.objects.filter(deed=Deed.ROLE_CHANGED, via="command", about="ada").count() == 1
    call_command("create_token", "ci", "--role", "viewer", stdout=io.StringIO(), stderr=io.StringIO())
    assert told()[1] == "token-made"
    assert AuditEntry.objects.filter(deed=Deed.USER_MADE, about="ci").count() == 1


def test_what_is_done_with_runs(admin: Client) -> None:
    upstream = make_upstream(name="default")
    make_workflow(upstream=upstream, flow_name="Nightly")
    admin.post("/launch/?flow=Nightly", {"run_name": "one", "mode": "json", "inputs": "{}"})
    run = Run.objects.get()
    assert told() == ("grace", "run-launched", f"run {run.pk}: Nightly / one", "")
    admin.post(f"/runs/{run.pk}/retry/")
    assert told()[1::2] == ("run-retried", f"again of run {run.pk}")
    admin.post("/attach/", {"upstream": upstream.pk, "flow_name": "F", "run_name": "r"})
    assert told()[:2] == ("grace", "run-attached")
    admin.post(f"/runs/{run.pk}/stop-watching/")
    assert told()[:3] == ("grace", "run-stopped", f"run {run.pk}: Nightly / one")


def test_what_is_done_through_the_api_says_with_which_token() -> None:
    make_upstream(name="default")
    text = make_token("operator", username="ci")
    headers = {"Authorization": f"Bearer {text}"}
    body = {"flow_name": "F", "definition": make_definition("a")}
    Client().post("/api/v1/runs", body, content_type="application/json", headers=headers)
    assert told()[:2] == ("ci", "run-launched")
    assert (last().via, last().token) == ("api", Token.prefix_of(text))
    Client().post("/api/v1/workflows", body, content_type="application/json", headers=headers)
    assert told() == ("ci", "workflow-saved", "workflow F", "new")
    Client().delete(f"/api/v1/workflows/{Workflow.objects.get().pk}", headers=headers)
    assert told()[:3] == ("ci", "workflow-deleted", "workflow F")


def test_what_is_done_with_upstreams_tells_of_a_key_and_not_the_key(admin: Client, settings: Any) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    addresses = {"api_url": "http://127.0.0.1:9", "socket_url": "ws://127.0.0.1:9", "studio_url": ""}
    admin.post("/upstreams/new/", {"name": "u", **addresses, "api_key": "sk-very-secret-indeed"})
    assert told() == ("grace", "upstream-saved", "upstream u", "http://127.0.0.1:9 ws://127.0.0.1:9, new key")
    upstream = Upstream.objects.get()
    admin.post(f"/upstreams/{upstream.pk}/", {"name": "u", **addresses, "api_key": ""})
    assert told()[3] == "http://127.0.0.1:9 ws://127.0.0.1:9"
    admin.post(f"/upstreams/{upstream.pk}/", {"delete": "yes"})
    assert told()[:3] == ("grace", "upstream-deleted", "upstream u")


UNDONE: dict[str, Callable[[], Any]] = {
    "a run name that is taken": lambda: actions.launch(
        flow_name="Nightly", run_name="taken", definition=make_definition("a"), upstream=Upstream.objects.get()
    ),
    "a run that has ended": lambda: actions.stop_watching(Run.objects.get(run_name="ended")),
    "an upstream in use": lambda: actions.delete_upstream(Upstream.objects.get()),
    "a workflow that cannot run": lambda: actions.save_workflow(upstream=Upstream.objects.get(), definition={}),
    "a user name that is taken": lambda: people.make("ada", "viewer", None),
}


@pytest.mark.parametrize("what", UNDONE)
def test_what_is_refused_is_no_deed(what: str, ada: User) -> None:
    upstream = make_upstream()
    make_run(upstream=upstream, run_name="taken")
    make_run(upstream=upstream, run_name="ended", status="failed")
    number = AuditEntry.objects.count()
    with pytest.raises((actions.Refused, people.Refused)):
        UNDONE[what]()
    assert AuditEntry.objects.count() == number


def test_every_deed_that_the_log_can_tell_of_is_written_somewhere() -> None:
    from tests.test_architecture import SOURCES

    code = "".join(path.read_text() for module, path in SOURCES.items() if module != "accounts.models")
    assert [deed.name for deed in Deed if f"Deed.{deed.name}" not in code] == []


# --- append-only ------------------------------------------------------------------------------------------------------

CHANGES: dict[str, Callable[[AuditEntry], Any]] = {
    "save": lambda entry: entry.save(),
    "delete": lambda entry: entry.delete(),
    "update of a queryset": lambda entry: AuditEntry.objects.filter(pk=entry.pk).update(name="x"),
    "delete of a queryset": lambda entry: AuditEntry.objects.all().delete(),
    "bulk update": lambda entry: AuditEntry.objects.bulk_update([entry], ["name"]),
    "update or create": lambda entry: AuditEntry.objects.update_or_create(pk=entry.pk, defaults={"name": "x"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_model_refuses(change: str) -> None:
    audit.record(Deed.SIGNED_OUT, "ada")
    with pytest.raises(AppendOnly), transaction.atomic():
        CHANGES[change](last())
    assert told()[0] == "ada"


@pytest.mark.parametrize("statement", ["UPDATE accounts_auditentry SET name = 'x'", "DELETE FROM accounts_auditentry"])
def test_the_database_refuses(statement: str) -> None:
    migration = importlib.import_module("accounts.migrations.0002_audit_and_sign_ins")
    migration.make_append_only(None, SimpleNamespace(connection=connection))  # tests/conftest.py took one away
    audit.record(Deed.SIGNED_OUT, "ada")
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert told()[0] == "ada"


def test_the_migrations_leave_the_database_refusing() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'accounts_auditentry'")
        else:
            cursor.execute("SELECT tgname FROM pg_trigger WHERE tgrelid = 'accounts_auditentry'::regclass")
        assert cursor.fetchall()


# --- its page ---------------------------------------------------------------------------------------------------------


def test_the_page_is_filtered_by_person_and_action(admin: Client) -> None:
    for name, deed in (("ada", Deed.SIGNED_IN), ("ada", Deed.RUN_STOPPED), ("linus", Deed.RUN_STOPPED)):
        audit.record(deed, name, f"by {name}")
    rows = lambda **query: admin.get("/audit/", query).content.decode().count("<tr") - 1  # noqa: E731
    assert rows(who="ada") == 2
    assert rows(deed="run-stopped") == 2
    assert rows(who="ada", deed="run-stopped") == 1
    assert "No entry fits" in admin.get("/audit/", {"who": "nobody"}).content.decode()


def test_the_page_is_read_to_its_end_by_cursor(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PAGE_SIZE", 3)
    for number in range(8):
        audit.record(Deed.SIGNED_IN, f"n{number}")
    seen, before = [], None
    while True:
        entries, before = audit.page(before=before)
        seen += [entry.name for entry in entries]
        audit.record(Deed.SIGNED_OUT, "meanwhile")
        if before is None:
            break
    assert seen == [f"n{number}" for number in range(7, -1, -1)]
    older = re.search(r'href="([^"]*before=[^"]*)"', admin.get("/audit/?deed=signed-in").content.decode())
    assert older
    assert "deed=signed-in" in older[1]
    assert "n4" in admin.get("/audit/" + older[1].replace("&amp;", "&")).content.decode()


@pytest.mark.parametrize(
    "query", [{"deed": "nonsense"}, {"before": "x"}, {"before": "-1"}, {"before": "9" * 30}, {"who": "a\0b"}]
)
def test_what_is_wrong_in_the_address_is_said_and_left_out(admin: Client, query: dict[str, str]) -> None:
    audit.record(Deed.SIGNED_IN, "ada")
    answer = admin.get("/audit/", query)
    assert answer.status_code == 200
    assert "left out" in answer.content.decode()
