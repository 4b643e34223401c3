"""Signing in through an OpenID Connect provider: a real site, and a small real provider on loopback."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest

from tests.process.programs import Home
from tests.provider import CLIENT_ID, CLIENT_SECRET, OTHER_KEY, Provider, signed


class Site:
    """A site that knows the provider; `users()` reads its database."""

    def __init__(self, home: Home, port: int) -> None:
        self.home, self.url = home, f"http://127.0.0.1:{port}"

    def browser(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=30, follow_redirects=True)

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.home.folder / "stepline.sqlite3", timeout=30) as connection:
            return connection.execute(statement, values).fetchall()

    def users(self) -> dict[str, str]:
        return dict(self.sql("SELECT username, role FROM accounts_user"))

    def sign_in(self, browser: httpx.Client | None = None, onward: str = "/workflows/") -> httpx.Response:
        return (browser or self.browser()).get("/sign-in/provider/", params={"next": onward})


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as started:
        yield started


def start(prepared: tuple[Path, str], folder: Path, **environment: Any) -> Site:
    home = Home(prepared[0], folder, prepared[1], **environment)
    for command in ("migrate", "collectstatic"):
        done = home.manage(command, "--noinput", "--verbosity", "0")
        assert done.returncode == 0, done.stderr
    _, api = asyncio.run(home.serve())
    return Site(home, api.port)


@pytest.fixture(scope="module")
def started_site(
    prepared: tuple[Path, str], provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    site = start(
        prepared,
        tmp_path_factory.mktemp("provided") / "data",
        OIDC_ISSUER=provider.issuer,
        OIDC_CLIENT_ID=CLIENT_ID,
        OIDC_CLIENT_SECRET=CLIENT_SECRET,
        OIDC_NAME="Example Login",
        OIDC_ROLE_CLAIM="realm.groups",
        OIDC_ADMINS="platform",
        OIDC_OPERATORS="oncall,night",
    )
    yield site
    site.home.end()


@pytest.fixture
def site(started_site: Site, provider: Provider) -> Site:
    provider.honest()
    return started_site


def person(sub: str, name: str, *groups: str) -> dict[str, Any]:
    return {"sub": sub, "preferred_username": name, "email": f"{name}@example.com", "realm": {"groups": [*groups]}}


def test_the_sign_in_page_offers_the_provider_and_the_way_leads_back_to_where_one_was_going(
    site: Site, provider: Provider
) -> None:
    provider.person = person("10", "ada")
    browser = site.browser()
    page = browser.get("/workflows/")
    assert "Sign in with Example Login" in page.text
    assert '"/sign-in/provider/?next=%2Fworkflows%2F"' in page.text
    there = browser.get("/sign-in/provider/?next=%2Fworkflows%2F")
    assert (there.status_code, there.url.path) == (200, "/workflows/")
    assert site.users()["ada"] == "viewer"
    assert site.sql("SELECT email FROM accounts_user WHERE username = 'ada'") == [("ada@example.com",)]
    assert "Example Login" in browser.get("/account/sessions/").text
    assert "Change the password" not in browser.get("/account/password/").text


def test_whoever_comes_again_is_the_same_user_by_subject_and_not_by_name(site: Site, provider: Provider) -> None:
    provider.person = person("20", "bea")
    site.sign_in()
    number = len(site.users())
    provider.person = person("20", "bea-married")
    assert "bea" in site.sign_in().text
    assert len(site.users()) == number


def test_a_name_that_is_taken_here_is_somebody_else(site: Site, provider: Provider) -> None:
    assert site.users()["admin"] == "admin"
    provider.person = person("30", "admin")
    browser = site.browser()
    site.sign_in(browser)
    assert site.users()["admin-2"] == "viewer"
    assert browser.get("/upstreams/").status_code == 403


def test_groups_give_the_role_and_take_it_away_at_the_next_sign_in(site: Site, provider: Provider) -> None:
    for groups, role in (
        (("night", "other"), "operator"),
        (("platform", "night"), "admin"),
        (("other",), "viewer"),
        ((), "viewer"),
    ):
        provider.person = person("40", "cleo", *groups)
        site.sign_in()
        assert site.users()["cleo"] == role
    told = site.sql(
        "SELECT detail, place FROM accounts_auditentry WHERE deed = 'role-changed' AND about = 'cleo' ORDER BY id"
    )
    assert told[0] == ("viewer → operator, says Example Login", "127.0.0.1")
    assert len(told) == 3


def test_a_disabled_user_does_not_come_in(site: Site, provider: Provider) -> None:
    provider.person = person("50", "dora")
    site.sign_in()
    site.sql("UPDATE accounts_user SET is_active = 0 WHERE username = 'dora'")
    browser = site.browser()
    answer = site.sign_in(browser)
    assert (answer.status_code, "disabled" in answer.text) == (403, True)
    assert browser.get("/").url.path == "/sign-in/"


def other(**claims: Any) -> Callable[[dict[str, Any]], str]:
    return lambda honest: signed({**honest, **claims})


LIES: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "a signature of another key": lambda claims: signed(claims, OTHER_KEY),
    "no signature": lambda claims: jwt.encode(claims, None, algorithm="none", headers={"kid": "k1"}),
    "a signature with the client's secret": lambda claims: signed(claims, CLIENT_SECRET * 2, "HS256"),
    "another audience": other(aud="somebody-else"),
    "another issuer": other(iss="https://evil.example"),
    "a time that is over": other(exp=int(time.time()) - 3600),
    "another subject than userinfo": other(sub="1000"),
    "no subject": lambda claims: signed({name: value for name, value in claims.items() if name != "sub"}),
    "no id_token": lambda claims: None,
    "an id_token that is none": lambda claims: "nonsense",
    "an id_token that is no text": lambda claims: 7,  # type: ignore[return-value,arg-type]
}


@pytest.mark.parametrize("lie", LIES)
def test_nobody_comes_in_with(site: Site, provider: Provider, lie: str) -> None:
    provider.person, provider.sign = person(f"60-{lie}", "liar"), LIES[lie]
    before, browser = site.users(), site.browser()
    answer = site.sign_in(browser)
    assert "/token" in provider.asked, "the provider was not even asked"
    assert answer.status_code == 502
    assert "did not sign you in" in answer.text
    assert site.users() == before
    assert browser.get("/").url.path == "/sign-in/"


def test_a_provider_that_calls_itself_otherwise_is_refused(site: Site, provider: Provider) -> None:
    provider.spoil = lambda path, answer: {**answer, "issuer": "https://evil.example"} if "well" in path else answer
    answer = site.sign_in()
    assert (answer.status_code, "evil.example" in answer.text) == (502, True)


def test_a_provider_without_an_address_for_signing_in_is_refused(site: Site, provider: Provider) -> None:
    provider.spoil = lambda path, answer: {"issuer": answer["issuer"]} if "well" in path else answer
    assert site.sign_in().status_code == 502


def callback_of(site: Site, browser: httpx.Client) -> httpx.URL:
    """The address to which the provider sends this browser back; it has not gone there."""
    go = browser.get("/sign-in/provider/", follow_redirects=False)
    back = httpx.get(go.headers["Location"], trust_env=False, follow_redirects=False)
    return httpx.URL(back.headers["Location"])


def test_an_answer_counts_once_and_only_in_the_browser_that_asked(site: Site, provider: Provider) -> None:
    provider.person = person("70", "eve")
    mine, theirs = site.browser(), site.browser()
    address = callback_of(site, mine)
    theirs.get("/sign-in/")
    assert theirs.get(address).status_code == 502, "somebody is led into the account of somebody else"
    assert theirs.get("/").url.path == "/sign-in/"
    assert mine.get(address).status_code == 200
    assert mine.get("/").url.path == "/"
    assert mine.get(address).status_code == 502
    forged = address.copy_set_param("state", "x" * 16)
    assert site.browser().get(forged).status_code == 502


def test_a_code_of_another_browser_fails_for_want_of_its_proof(site: Site, provider: Provider) -> None:
    stolen = callback_of(site, site.browser())
    browser = site.browser()
    mine = callback_of(site, browser)
    mixed = mine.copy_set_param("code", parse_qs(urlsplit(str(stolen)).query)["code"][0])
    assert browser.get(mixed).status_code == 502
    assert browser.get("/").url.path == "/sign-in/"


def test_who_breaks_off_is_told_that_nothing_has_changed(site: Site, provider: Provider) -> None:
    provider.cancel = True
    answer = site.sign_in()
    assert answer.status_code == 502
    assert "Nothing has changed" in answer.text
    assert "Try again" in answer.text


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "/\\evil.example"])
def test_the_way_never_leads_to_another_site(site: Site, provider: Provider, elsewhere: str) -> None:
    provider.person = person("80", "fay")
    answer = site.sign_in(onward=elsewhere)
    assert str(answer.url) == site.url + "/"


def test_a_sign_in_gets_a_new_session_key(site: Site, provider: Provider) -> None:
    provider.person = person("90", "gus")
    browser = site.browser()
    address = callback_of(site, browser)
    before = browser.cookies["stepline_session"]
    browser.get(address)
    assert browser.cookies["stepline_session"] != before


def test_without_groups_an_administrator_gives_the_role_and_it_stays(
    prepared: tuple[Path, str], provider: Provider, tmp_path: Path
) -> None:
    provider.honest()
    provider.person = {**person("1", "hal"), "groups": ["platform"]}
    site = start(
        prepared,
        tmp_path / "data",
        OIDC_ISSUER=provider.issuer,
        OIDC_CLIENT_ID=CLIENT_ID,
        OIDC_CLIENT_SECRET=CLIENT_SECRET,
    )
    try:
        site.sign_in()
        assert site.users()["hal"] == "viewer"
        site.sql("UPDATE accounts_user SET role = 'operator' WHERE username = 'hal'")
        site.sign_in()
        assert site.users()["hal"] == "operator"
        assert "Sign in with 127.0.0.1" in site.browser().get("/sign-in/").text
    finally:
        site.home.end()


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"OIDC_ISSUER": "http://login.example.com"}, "OIDC_ISSUER"),
        ({"OIDC_ISSUER": "login.example.com"}, "OIDC_ISSUER"),
        ({"OIDC_CLIENT_ID": ""}, "OIDC_CLIENT_ID"),
        ({"OIDC_CLIENT_SECRET": ""}, "OIDC_CLIENT_SECRET"),
    ],
)
def test_half_a_configuration_stops_the_start(home: Any, environment: dict[str, str], named: str) -> None:
    whole = {"OIDC_ISSUER": "https://login.example.com", "OIDC_CLIENT_ID": "a", "OIDC_CLIENT_SECRET": "b"}
    done = home().manage("check", **(whole | environment))
    assert done.returncode != 0
    assert named in done.stderr.strip().splitlines()[-1]
