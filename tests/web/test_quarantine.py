"""What was rejected of a run: why, how often, when, and a masked look at it."""

from collections.abc import Callable

import pytest
from django.test import Client

from tests.factories import make_rejected, make_run

ClientAs = Callable[[str], Client]
pytestmark = pytest.mark.django_db


def test_each_rejected_frame_stands_with_reason_count_and_preview(client_as: ClientAs) -> None:
    run = make_run()
    make_rejected(run, reason="other-run", detail="names another run", preview="<b>{", count=3)
    page = client_as("viewer").get(f"/runs/{run.pk}/rejected/").content.decode()
    assert "other-run" in page
    assert "names another run" in page
    assert "× 3" in page
    assert "&lt;b&gt;{" in page
    assert "<b>{" not in page


def test_a_run_without_any_says_so(client_as: ClientAs) -> None:
    assert "Nothing was rejected" in client_as("viewer").get(f"/runs/{make_run().pk}/rejected/").content.decode()


def test_an_address_that_leads_nowhere_says_so_in_the_sites_own_words(client_as: ClientAs) -> None:
    answer = client_as("viewer").get("/workflows/999/")
    assert answer.status_code == 404
    assert "There is nothing at this address" in answer.content.decode()
