"""What every answer carries so that a page of another site, or a script that got in, can do nothing with it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client, override_settings

from tests.factories import make_run

pytestmark = pytest.mark.django_db
PATHS = ["/", "/launch/", "/sign-in/", "/nothing-here/", "/healthz", "/api/v1/runs", "/api/v1/docs", "/sandbox/nothing"]


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_carries_them(client_as: Callable[[str], Client], path: str) -> None:
    answer = client_as("admin").get(path)
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in answer["Permissions-Policy"]
    policy = dict(part.strip().partition(" ")[::2] for part in answer["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["form-action"] == "'self'"
    assert policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert "Strict-Transport-Security" not in answer


@pytest.mark.parametrize("path", PATHS[:3])
def test_no_page_has_script_or_style_of_its_own(client_as: Callable[[str], Client], path: str) -> None:
    run = make_run()
    client = client_as("admin")
    for text in (client.get(path).content.decode(), client.get(run.get_absolute_url()).content.decode()):
        low = text.lower()
        assert "<style" not in low
        assert " style=" not in low
        assert "javascript:" not in low
        assert all(" src=" in tag.partition(">")[0] for tag in low.split("<script")[1:])
        assert not [name for name in ("onclick", "onload", "onerror", "onsubmit", "hx-on") if f" {name}" in low]


def test_where_the_site_is_served_over_https_http_is_sent_there_and_cookies_stay_there(
    client_as: Callable[[str], Client], settings: Any
) -> None:
    over_https = {
        "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
        "SECURE_SSL_REDIRECT": True,
        "SECURE_HSTS_SECONDS": 3600,
        "SECURE_REDIRECT_EXEMPT": [r"^healthz$", r"^readyz$", r"^sandbox/"],
    }
    with override_settings(**over_https):
        client = client_as("viewer")
        assert client.get("/")["Location"] == "https://testserver/"
        assert client.get("/healthz").status_code == 200
        answer = client.get("/", headers={"X-Forwarded-Proto": "https"})
        assert answer.status_code == 200
        assert answer["Strict-Transport-Security"] == "max-age=3600"
