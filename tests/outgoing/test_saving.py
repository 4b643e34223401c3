"""Upstreams at private addresses: refused at saving and at launch, and said on the page of a run that has one."""

from typing import Any

import pytest

from runs import actions, catalogue
from runs.models import Run, Upstream
from tests.factories import make_definition, make_workflow
from tests.outgoing.conftest import PRIVATE, Resolver
from tests.outgoing.hostile import HOSTILE

NAME = "orchestrator.example"
GOOD = {"name": "live", "api_url": f"https://{NAME}", "socket_url": f"wss://{NAME}"}
pytestmark = pytest.mark.django_db


def save(**fields: Any) -> Upstream:
    return actions.save_upstream(upstream=None, **{**GOOD, **fields})


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_address_is_not_saved(resolver: Resolver, url: str) -> None:
    resolver.answers = {NAME: [[PRIVATE]], "fine.example": [["8.8.8.8"]]}
    fine = {"api_url": "https://fine.example", "socket_url": "wss://fine.example"}
    for place, address in (("api_url", url), ("studio_url", url), ("socket_url", url.replace("http", "ws", 1))):
        with pytest.raises(actions.Refused) as refused:
            save(**{**fine, place: address})
        assert [one.place for one in refused.value.mistakes] == [place]
        assert "hunter2" not in str(refused.value.mistakes)
    assert not Upstream.objects.exists()


def test_a_name_that_leads_into_a_private_network_is_not_saved(resolver: Resolver) -> None:
    resolver.answers[NAME] = [["8.8.8.8", "10.1.2.3"]]
    with pytest.raises(actions.Refused) as refused:
        save()
    message = refused.value.mistakes[0].message
    assert message == f"{NAME} leads to 10.1.2.3, which is no public address, and ALLOW_PRIVATE_UPSTREAMS is off."


def test_a_name_that_cannot_be_looked_up_now_is_saved(resolver: Resolver) -> None:
    assert save().api_url == f"https://{NAME}"


def test_a_private_address_is_saved_where_the_setting_allows_it(settings: Any) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    assert save(api_url="http://10.0.0.8:5000", socket_url="ws://redis").pk


def test_a_launch_and_an_attachment_are_refused_when_the_setting_was_turned_off_since(settings: Any) -> None:
    workflow = make_workflow()  # its upstream is at 127.0.0.1
    for act in (
        lambda: actions.launch(workflow=workflow),
        lambda: actions.launch(upstream=workflow.upstream, definition=make_definition()),
        lambda: actions.attach(upstream=workflow.upstream, flow_name="a", run_name="b"),
    ):
        with pytest.raises(actions.Refused, match=r"may not be used: 127\.0\.0\.1 is no public address"):
            act()
    assert not Run.objects.exists()


def test_a_start_says_that_an_upstream_of_the_environment_may_not_be_used(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.UPSTREAM_API_URL, settings.UPSTREAM_SOCKET_URL = "http://10.0.0.8", "ws://10.0.0.8"
    settings.SHIPPED_WORKFLOWS = "/nowhere"
    catalogue.ensure_defaults("http://127.0.0.1:8000/sandbox")
    said = [record.getMessage() for record in caplog.records]
    assert [one.split(" may not")[0] for one in said] == ["The upstream default", "The upstream sandbox"]
    assert "ALLOW_PRIVATE_UPSTREAMS is off" in said[0]
