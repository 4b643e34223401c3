"""Upstreams are an administrator's: addresses are checked, and a key goes in and never comes out."""

from collections.abc import Callable

import pytest
from django.test import Client

from runs import actions, vault
from runs.models import Upstream
from tests.factories import make_run, make_upstream

ClientAs = Callable[[str], Client]
pytestmark = pytest.mark.django_db
KEY = "sk-upstream-0123456789abcdef-WXYZ"
GOOD = {"name": "prod", "api_url": "https://lao.example.com/", "socket_url": "wss://s.example.com", "studio_url": ""}


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_nobody_else_may_look_or_change(client_as: ClientAs, role: str) -> None:
    upstream = make_upstream()
    client = client_as(role)
    for page in ("/upstreams/", "/upstreams/new/", f"/upstreams/{upstream.pk}/"):
        assert client.get(page).status_code == 403
        assert client.post(page, GOOD).status_code in (403, 405)
    assert Upstream.objects.count() == 1


def test_an_upstream_is_saved_and_shown_with_the_end_of_its_key(client_as: ClientAs) -> None:
    admin = client_as("admin")
    assert admin.post("/upstreams/new/", GOOD | {"api_key": KEY}).headers["Location"] == "/upstreams/"
    upstream = Upstream.objects.get()
    assert upstream.api_url == "https://lao.example.com"
    assert vault.upstream_key(upstream) == KEY
    for page in ("/upstreams/", f"/upstreams/{upstream.pk}/"):
        text = admin.get(page).content.decode()
        assert KEY not in text
        assert "WXYZ" in text


def test_an_empty_key_keeps_the_stored_one_and_a_tick_removes_it(client_as: ClientAs) -> None:
    admin = client_as("admin")
    upstream = actions.save_upstream(upstream=None, api_key=KEY, **GOOD)
    address = f"/upstreams/{upstream.pk}/"
    admin.post(address, GOOD | {"name": "renamed", "api_key": ""})
    upstream.refresh_from_db()
    assert (upstream.name, vault.upstream_key(upstream)) == ("renamed", KEY)
    admin.post(address, GOOD | {"api_key": "another-key-123456"})
    upstream.refresh_from_db()
    assert vault.upstream_key(upstream) == "another-key-123456"
    admin.post(address, GOOD | {"api_key": "", "clear_key": "on"})
    upstream.refresh_from_db()
    assert upstream.key_sealed == ""


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", " ", "required"),
        ("api_url", "lao.example.com", "http:// or https://"),
        ("api_url", "ftp://lao.example.com", "http:// or https://"),
        ("api_url", "javascript:alert(1)", "http:// or https://"),
        ("api_url", "https://", "http:// or https://"),
        ("api_url", "https://user:pw@lao.example.com", "user"),
        ("api_url", "https://lao.example.com/?x=1", "query"),
        ("api_url", "https://[bad", "no address"),
        ("socket_url", "https://s.example.com", "ws:// or wss://"),
        ("socket_url", "ws://s.example.com:99999", "no address"),
        ("studio_url", "wss://studio.example.com", "http:// or https://"),
    ],
)
def test_a_wrong_value_is_refused_at_its_field(client_as: ClientAs, field: str, value: str, said: str) -> None:
    answer = client_as("admin").post("/upstreams/new/", GOOD | {field: value, "api_key": KEY})
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field] or set(answer.context["form"].errors) == {field, "__all__"}
    assert said in answer.context["form"].errors[field][0]
    assert KEY not in answer.content.decode()
    assert not Upstream.objects.exists()


def test_a_taken_name_is_said_at_the_name(client_as: ClientAs) -> None:
    make_upstream(name="prod")
    other = make_upstream(name="other")
    answer = client_as("admin").post(f"/upstreams/{other.pk}/", GOOD)
    assert answer.status_code == 409
    assert "name" in answer.context["form"].errors
    assert answer.context["upstream"].name == "other"


def test_the_list_says_which_is_the_default_and_why(client_as: ClientAs) -> None:
    admin = client_as("admin")
    make_upstream(name="sandbox")
    assert "“sandbox” is used where none is named, because" in admin.get("/upstreams/").content.decode()
    make_upstream(name="default")
    answer = admin.get("/upstreams/")
    assert [(upstream.name, is_default) for upstream, is_default in answer.context["rows"]] == [
        ("default", True),
        ("sandbox", False),
    ]
    assert "“default” is used" in answer.content.decode()


def test_without_any_the_page_offers_to_add_one(client_as: ClientAs) -> None:
    assert "No upstream yet" in client_as("admin").get("/upstreams/").content.decode()


def test_an_upstream_in_use_cannot_be_deleted(client_as: ClientAs) -> None:
    admin, used = client_as("admin"), make_run().upstream
    assert "cannot be deleted" in admin.get(f"/upstreams/{used.pk}/").content.decode()
    page = admin.post(f"/upstreams/{used.pk}/", {"delete": "yes"}, follow=True).content.decode()
    assert "has runs or workflows" in page
    assert Upstream.objects.filter(pk=used.pk).exists()


def test_an_unused_upstream_can_be_deleted(client_as: ClientAs) -> None:
    unused = make_upstream()
    client_as("admin").post(f"/upstreams/{unused.pk}/", {"delete": "yes"})
    assert not Upstream.objects.exists()
