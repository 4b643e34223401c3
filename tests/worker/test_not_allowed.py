"""An upstream whose name has come to lead into a private network: nothing is sent, and the run's page says why."""

import socket
from typing import Any

import pytest
from django.test import Client

from runs.models import Run, Upstream
from runs.worker.db import on_thread
from runs.worker.supervisor import Supervisor
from tests.factories import make_definition, make_user
from tests.scripted import ScriptedUpstream, eventually, hold
from tests.worker.conftest import Ended, attach, launch

NAME = "orchestrator.example"


@pytest.fixture
async def elsewhere(upstream: ScriptedUpstream, upstream_row: Upstream, settings: Any, monkeypatch: Any) -> Upstream:
    """The scripted upstream under a name that leads to this machine, where only public addresses are allowed."""
    settings.ALLOW_PRIVATE_UPSTREAMS = False
    really = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **more: Any) -> Any:
        return really("127.0.0.1" if host == NAME else host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    upstream_row.api_url = upstream.api_url.replace("127.0.0.1", NAME)
    upstream_row.socket_url = upstream.socket_url.replace("127.0.0.1", NAME)
    await on_thread(upstream_row.save)
    return upstream_row


def page(run: Run) -> str:
    client = Client()
    client.force_login(make_user("viewer"))
    return client.get(f"/runs/{run.pk}/").content.decode()


async def test_a_launch_is_refused_with_the_reason(
    upstream: ScriptedUpstream, elsewhere: Upstream, worker: Supervisor, ended: Ended
) -> None:
    run = await ended(await launch(elsewhere, make_definition(), "r-1"))
    assert run.status == "rejected"
    assert f"{NAME} leads to 127.0.0.1, which is no public address" in run.notice
    assert "Nothing was launched" in run.notice
    assert "ALLOW_PRIVATE_UPSTREAMS is off" in await on_thread(page, run)
    assert upstream.launches == []
    assert upstream.paths == []


async def test_an_attached_run_says_so_and_goes_on_when_it_is_allowed(
    upstream: ScriptedUpstream, elsewhere: Upstream, worker: Supervisor, settings: Any
) -> None:
    upstream.visit = hold
    run = await attach(elsewhere, "flow", "r-2")

    async def notice() -> str:
        return str(await on_thread(lambda: Run.objects.get(pk=run.pk).notice))

    async def live() -> bool:
        return await on_thread(lambda: Run.objects.get(pk=run.pk).connection == "live")

    assert "no public address" in await eventually(notice)
    assert "ALLOW_PRIVATE_UPSTREAMS is off" in await on_thread(page, run)
    assert upstream.paths == []
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    await eventually(live)
    assert await notice() == ""
