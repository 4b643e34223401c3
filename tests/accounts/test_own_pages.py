"""Password, signed-in browsers and API tokens: what people manage about themselves, and nobody else for them."""

import re
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEntry, SignIn, SigninLink, Token, User
from accounts.templatetags.accounts import browser
from accounts.tokens import authenticate
from tests.factories import make_token, make_user

pytestmark = pytest.mark.django_db

OLD, NEW = "an old long password", "a new long password"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def signed_in(user: User, **headers: str) -> Client:
    """A browser that used a one-time link."""
    client = Client(headers={"User-Agent": FIREFOX, **headers})
    assert client.get(f"/sign-in/{SigninLink.issue(user)}/").status_code == 302
    return client


def is_in(client: Client) -> bool:
    return client.get("/account/sessions/").status_code == 200


# --- password -----------------------------------------------------------------------------------------------------


def change(client: Client, old: str = OLD, new: str = NEW, again: str = "") -> int:
    fields = {"old_password": old, "new_password1": new, "new_password2": again or new}
    return client.post("/account/password/", fields).status_code


def test_a_new_password_signs_out_every_browser_but_this_one() -> None:
    user = make_user(password=OLD)
    here, there = signed_in(user), signed_in(user)
    before = here.session.session_key
    assert change(here) == 302
    assert is_in(here)
    assert not is_in(there)
    assert here.session.session_key != before
    assert list(SignIn.objects.values_list("session_id", flat=True)) == [here.session.session_key]
    user.refresh_from_db()
    assert user.check_password(NEW)


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [("not the old one", NEW, ""), (OLD, NEW, "another"), (OLD, "short", ""), (OLD, "password1234", "")],
)
def test_a_password_is_not_changed_by(old: str, new: str, again: str) -> None:
    user = make_user(password=OLD)
    client = signed_in(user)
    assert change(client, old, new, again) == 422
    user.refresh_from_db()
    assert user.check_password(OLD)


def test_who_has_no_password_sets_one_without_an_old_one() -> None:
    user = make_user()
    client = signed_in(user)
    assert "old_password" not in client.get("/account/password/").content.decode()
    assert client.post("/account/password/", {"new_password1": NEW, "new_password2": NEW}).status_code == 302
    user.refresh_from_db()
    assert user.check_password(NEW)


# --- sessions -------------------------------------------------------------------------------------------------------


def test_the_list_says_where_and_when_each_browser_was_used() -> None:
    user = make_user()
    client = signed_in(user)
    signed_in(user, **{"User-Agent": "curl/8.9"})
    signed_in(make_user())
    text = client.get("/account/sessions/").content.decode()
    assert text.count("<tr") == 3  # the heading, and two
    assert "Firefox on Linux" in text
    assert "curl" in text
    assert text.count("This one") == 1
    assert "127.0.0.1" in text


def test_a_later_use_is_noted(settings: object) -> None:
    client = signed_in(make_user())
    SignIn.objects.update(used_at=timezone.now() - timedelta(hours=1), session=client.session.session_key)
    from django.core.cache import cache

    cache.clear()  # a minute passes
    client.get("/", headers={"User-Agent": "another"}, REMOTE_ADDR="192.0.2.7")
    found = SignIn.objects.get()
    assert found.used_at > timezone.now() - timedelta(minutes=1)
    assert found.address == "192.0.2.7"


def test_one_browser_is_signed_out_and_the_others_stay() -> None:
    user = make_user()
    here, there, third = signed_in(user), signed_in(user), signed_in(user)
    row = SignIn.objects.get(session_id=there.session.session_key)
    assert here.post(f"/account/sessions/{row.pk}/end/").status_code == 302
    assert (is_in(here), is_in(there), is_in(third)) == (True, False, True)


def test_nobody_signs_out_the_browser_of_somebody_else() -> None:
    theirs = signed_in(make_user())
    row = SignIn.objects.get()
    assert signed_in(make_user("admin")).post(f"/account/sessions/{row.pk}/end/").status_code == 404
    assert is_in(theirs)


def test_signing_out_everywhere_takes_links_along_and_leaves_others_alone() -> None:
    user = make_user()
    here, there, other = signed_in(user), signed_in(user), signed_in(make_user())
    link = SigninLink.issue(user)
    assert here.post("/account/sessions/end/")["Location"] == "/sign-in/"
    assert (is_in(here), is_in(there), is_in(other)) == (False, False, True)
    assert Client().get(f"/sign-in/{link}/").status_code == 410


def test_a_sign_out_and_an_end_leave_no_row() -> None:
    user = make_user()
    client = signed_in(user)
    client.post("/sign-out/")
    assert not SignIn.objects.exists()
    signed_in(user)
    Session.objects.update(expire_date=timezone.now() - timedelta(days=1))
    assert (
        str(user.username)
        not in signed_in(make_user("admin"))
        .get(f"/users/{user.pk}/")
        .content.decode()
        .split("Signed in</h2>")[1]
        .split("API tokens</h2>")[0]
    )


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1", "Safari on iOS"),
        ("python-httpx/0.28.1", "python-httpx/0.28.1"),
        ("", "Not known"),
    ],
)
def test_a_browser_is_named_in_words(agent: str, words: str) -> None:
    assert browser(agent) == words


# --- tokens ---------------------------------------------------------------------------------------------------------


def make_one(client: Client, **fields: str) -> str:
    """The text of a new token, as the page shows it."""
    answer = client.post("/account/tokens/", {"name": "ci", "role": "viewer", "days": "7", **fields})
    assert answer.status_code == 200, answer.content
    found = re.search(r'id="secret"[^>]*>(stl_[\w-]+)<', answer.content.decode())
    assert found
    assert "no-store" in answer["Cache-Control"]
    return found[1]


def test_a_token_is_shown_once_and_works() -> None:
    user = make_user("operator")
    client = signed_in(user)
    text = make_one(client, role="operator")
    assert authenticate(text) == (user, "operator")
    page = client.get("/account/tokens/").content.decode()
    assert text not in page
    assert Token.prefix_of(text) in page
    token = Token.objects.get()
    assert token.expires_at is not None
    assert timedelta(days=6) < token.expires_at - timezone.now() < timedelta(days=8)
    assert text not in str(AuditEntry.objects.values_list())


def test_a_token_without_expiry_says_so() -> None:
    client = signed_in(make_user())
    make_one(client, days="")
    assert Token.objects.get().expires_at is None
    assert "no expiry" in client.get("/account/tokens/").content.decode()


def test_the_last_use_of_a_token_is_noted() -> None:
    user = make_user()
    client = signed_in(user)
    text = make_one(client)
    assert Token.objects.get().last_used_at is None
    Client().get("/api/v1/runs", headers={"Authorization": f"Bearer {text}"})
    assert Token.objects.get().last_used_at is not None


@pytest.mark.parametrize(
    "fields", [{"role": "operator"}, {"role": "admin"}, {"role": "x"}, {"days": "8"}, {"days": "-1"}, {"name": ""}]
)
def test_a_token_is_refused_with(fields: dict[str, str]) -> None:
    client = signed_in(make_user("viewer"))
    answer = client.post("/account/tokens/", {"name": "ci", "role": "viewer", "days": "7", **fields})
    assert answer.status_code == 422
    assert not Token.objects.exists()


def test_a_revoked_token_opens_nothing() -> None:
    client = signed_in(make_user())
    text = make_one(client)
    assert client.post(f"/account/tokens/{Token.objects.get().pk}/revoke/").status_code == 302
    assert authenticate(text) is None
    assert "is revoked" in client.get("/account/tokens/").content.decode()
    assert Token.prefix_of(text) not in client.get("/account/tokens/").content.decode()


def test_only_an_administrator_revokes_the_token_of_somebody_else() -> None:
    text = make_token("operator")
    path = f"/account/tokens/{Token.objects.get().pk}/revoke/"
    assert signed_in(make_user("operator")).post(path).status_code == 404
    assert authenticate(text) is not None
    assert signed_in(make_user("admin")).post(path).status_code == 302
    assert authenticate(text) is None
