"""What administrators do about users, and that they cannot lock everyone out."""

import re

import pytest
from django.test import Client

from accounts.models import AuditEntry, Deed, SigninLink, User
from accounts.tokens import authenticate
from tests.factories import make_token, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> User:
    return make_user("admin", username="grace")


@pytest.fixture
def client(admin: User) -> Client:
    client = Client()
    client.force_login(admin)
    return client


def test_a_new_user_comes_in_with_a_link_that_is_shown_once(client: Client) -> None:
    answer = client.post("/users/new/", {"name": "ada", "role": "operator"})
    ada = User.objects.get(username="ada")
    assert answer["Location"] == f"/users/{ada.pk}/"
    assert (ada.role, ada.has_usable_password()) == ("operator", False)
    page = client.post(f"/users/{ada.pk}/link/")
    assert "no-store" in page["Cache-Control"]
    found = re.search(r">http://testserver(/sign-in/[\w-]+/)<", page.content.decode())
    assert found
    assert found[1] not in client.get(f"/users/{ada.pk}/").content.decode()
    visitor = Client()
    assert visitor.get(found[1]).status_code == 302
    assert visitor.get("/launch/").status_code == 200


@pytest.mark.parametrize("name", ["", "a b", "grace", "x" * 151, "<b>", "a\0b"])
def test_a_name_that_cannot_be_used_is_refused_at_its_field(client: Client, name: str) -> None:
    answer = client.post("/users/new/", {"name": name, "role": "viewer"})
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.content.decode()
    assert User.objects.count() == 1


def test_a_role_that_does_not_exist_is_refused(client: Client) -> None:
    ada = make_user()
    assert client.post(f"/users/{ada.pk}/", {"role": "owner"}).status_code == 422
    ada.refresh_from_db()
    assert ada.role == "viewer"


def test_a_role_is_given(client: Client) -> None:
    ada = make_user()
    client.post(f"/users/{ada.pk}/", {"role": "admin"})
    ada.refresh_from_db()
    assert ada.role == "admin"


def test_a_disabled_user_is_out_and_an_enabled_one_may_come_again(client: Client) -> None:
    text = make_token("operator", username="ada")
    ada = User.objects.get(username="ada")
    theirs, link = Client(), SigninLink.issue(ada)
    theirs.get(f"/sign-in/{SigninLink.issue(ada)}/")
    client.post(f"/users/{ada.pk}/active/", {"active": "no"})
    assert theirs.get("/").status_code == 302
    assert authenticate(text) is None
    assert client.post(f"/users/{ada.pk}/link/").status_code == 302
    client.post(f"/users/{ada.pk}/active/", {"active": "yes"})
    assert theirs.get("/").status_code == 302, "the session is gone for good"
    assert Client().get(f"/sign-in/{link}/").status_code == 410, "and so is the link"
    assert authenticate(text) is not None


def test_a_person_is_signed_out_everywhere(client: Client) -> None:
    ada, theirs = make_user(), Client()
    theirs.get(f"/sign-in/{SigninLink.issue(ada)}/")
    client.post(f"/users/{ada.pk}/sign-out/")
    assert theirs.get("/").status_code == 302
    assert client.get("/").status_code == 200


@pytest.mark.parametrize(("path", "fields"), [("", {"role": "viewer"}), ("active/", {"active": "no"})])
def test_the_last_administrator_stays_one(client: Client, admin: User, path: str, fields: dict[str, str]) -> None:
    make_user("admin", is_active=False)
    answer = client.post(f"/users/{admin.pk}/{path}", fields, follow=True)
    assert "only administrator" in answer.content.decode()
    admin.refresh_from_db()
    assert admin.may("admin")
    make_user("admin")
    client.post(f"/users/{admin.pk}/{path}", fields)
    admin.refresh_from_db()
    assert not admin.may("admin")


def test_the_list_is_searched_by_name(client: Client) -> None:
    make_user(username="ada")
    text = client.get("/users/", {"q": "AD"}).content.decode()
    assert ">ada<" in text
    assert ">grace</a>" not in text
    assert "No user holds" in client.get("/users/", {"q": "nobody at all\0"}).content.decode()


def test_nothing_is_noted_where_nothing_changes(client: Client) -> None:
    ada = make_user("viewer")
    client.post(f"/users/{ada.pk}/", {"role": "viewer"})
    client.post(f"/users/{ada.pk}/active/", {"active": "yes"})
    assert not AuditEntry.objects.filter(deed__in=(Deed.ROLE_CHANGED, Deed.USER_ENABLED)).exists()


def test_the_header_shows_administrators_their_pages_and_others_not(client: Client) -> None:
    assert 'href="/audit/"' in client.get("/").content.decode()
    other = Client()
    other.force_login(make_user("operator"))
    text = other.get("/").content.decode()
    assert 'href="/audit/"' not in text
    assert 'href="/account/sessions/"' in text
