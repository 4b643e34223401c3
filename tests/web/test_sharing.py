"""What a link shows to whoever has it: its one run, live, as long as it is good; and nothing else."""

import asyncio
import html
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from xml.etree import ElementTree

import pytest
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.db import OperationalError
from django.http import HttpResponseBase
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEntry
from runs import publish, sharing
from runs.models import Run, ShareLink, ShareLinkQuerySet, Upstream, Workflow
from runs.web import badges, live
from tests.factories import (
    START,
    make_event,
    make_gap,
    make_rejected,
    make_run,
    make_task,
    make_upstream,
    make_user,
    make_workflow,
)
from tests.web.live_page import Page, client_of, cookie_of, parts_of, socket_to

PARTS = ("", "task/?key=fetch", "place/", "times/?after=0", "events/?first=1", "events/1/", "embed/", "badge.svg")
SVG = "{http://www.w3.org/2000/svg}"
type SignIn = Callable[[str], Client]


def text_of(answer: HttpResponseBase) -> str:
    assert answer.status_code == 200, answer.status_code
    return bytes(getattr(answer, "content", b"")).decode()


def make_link(of: Run | Workflow, **more: Any) -> str:
    return sharing.make(of, make_user("operator"), **more)[1]


def shared(text: str, part: str = "") -> str:
    return text_of(Client().get(f"/s/{text}/{part}"))


@pytest.fixture
def run(db: None) -> Run:
    """A run in trouble: failed, as one before it did; retried, with a gap, a frame in quarantine and a notice."""
    upstream = make_upstream(name="secret-upstream")
    told = {"upstream": upstream, "flow_name": "Nightly", "attached": False}
    workflow = make_workflow(upstream=upstream, flow_name="Nightly")
    good = make_run(status="succeeded", run_name="other-good", **told)
    run = make_run(
        run_name="mine",
        status="failed",
        connection="closed",
        workflow=workflow,
        workflow_version=1,
        retry_of=good,
        retry_number=1,
        created_by=make_user("operator", username="somebody-here"),
        notice="Could not reach http://secret-host/",
        error={"type": "E", "message": "it broke"},
        tasks_total=1,
        tasks_failed=1,
        **told,
    )
    make_run(run_name="other-retry", retry_of=good, retry_number=2, **told)
    make_task(run, "fetch", status="failed", error={"type": "E", "message": "fetch broke"}, error_seq=1)
    make_event(run, "task_failed", task_key="fetch", task_name="fetch", payload={"error": {"details": {"culprit": 7}}})
    make_gap(run, detail="refused by 10.1.2.3")
    make_rejected(run)
    return run


# --- who gets in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_a_link_shows_its_run_to_nobody_in_particular(run: Run, part: str) -> None:
    assert shared(make_link(run), part)


def bad_links(run: Run) -> dict[str, str]:
    revoked, expired = make_link(run), make_link(run, days=1)
    sharing.revoke(ShareLink.objects.get(prefix=revoked[:8]), make_user("operator"))
    ShareLink.objects.filter(prefix=expired[:8]).update(expires_at=timezone.now())
    good = make_link(run)
    return {
        "unknown": "x" * 43,
        "cut off": good[:-1],
        "in capitals": good.swapcase(),
        "too long": good * 3,
        "revoked": revoked,
        "expired": expired,
    }


@pytest.mark.parametrize("part", [*PARTS, "input/", "output/"])
def test_what_is_no_good_link_gets_one_and_the_same_answer(run: Run, part: str) -> None:
    answers = {what: Client().get(f"/s/{text}/{part}") for what, text in bad_links(run).items()}
    assert {answer.status_code for answer in answers.values()} == {404}
    assert len({answer.content for answer in answers.values()}) == 1
    assert b"This link shows nothing" in answers["revoked"].content
    kept = [{name: answer[name] for name in answer.headers} for answer in answers.values()]
    assert all(one == kept[0] for one in kept)


def test_a_link_is_good_to_its_last_moment(run: Run) -> None:
    text = make_link(run, days=2)
    link = ShareLink.objects.get()
    assert link.expires_at
    assert timedelta(days=1, hours=23) < link.expires_at - timezone.now() <= timedelta(days=2)
    assert shared(text)


def test_the_text_is_not_stored(run: Run) -> None:
    text = make_link(run)
    stored = " ".join(map(str, ShareLink.objects.values_list().get()))
    assert text not in stored
    assert text[:8] in stored
    assert len(text) == 43


def test_a_link_goes_with_its_run(run: Run) -> None:
    text = make_link(run)
    Run.objects.filter(pk=run.pk).delete()
    assert Client().get(f"/s/{text}/").status_code == 404


def test_the_last_use_is_noted_but_not_each(run: Run) -> None:
    text = make_link(run)
    assert ShareLink.objects.get().last_used_at is None
    shared(text)
    first = ShareLink.objects.get().last_used_at
    shared(text)
    assert ShareLink.objects.get().last_used_at == first
    ShareLink.objects.update(last_used_at=timezone.now() - 2 * sharing.NOTED_EVERY)
    shared(text)
    now = ShareLink.objects.get().last_used_at
    assert now
    assert now > timezone.now() - sharing.NOTED_EVERY


# --- what it shows ----------------------------------------------------------------------------------------------------


def test_the_page_says_what_the_run_s_own_page_says(run: Run, client_as: SignIn) -> None:
    own, page = text_of(client_as("viewer").get(run.get_absolute_url())), shared(make_link(run))
    for words in ("fetch broke", "culprit", 'id="log"', "task-", "1 gap", "1 frame could be no event"):
        assert words in own
        assert words in page


# Everything of the fixture that is not the run itself.
NOT_THEIRS = (
    "secret-upstream", "secret-host", "10.1.2.3", "somebody-here", "other-good", "other-retry", "/runs/", "/workflows/",
    "/compare/", "/api/", "?failure=", "csrf", "Retry 1", "Launched again",
    "Sign out", "Stop watching", "Re-run", 'class="since"', "data-run=",
)  # fmt: skip


@pytest.mark.parametrize("part", [*PARTS, "?task=fetch", "?view=graph", "?at=1", "?at=1&task=fetch"])
@pytest.mark.parametrize("who", ["nobody", "admin"])
def test_it_tells_of_nothing_else(run: Run, client_as: SignIn, part: str, who: str) -> None:
    text = make_link(run)
    client = Client() if who == "nobody" else client_as(who)
    answer = client.get(f"/s/{text}/{part}")
    page = text_of(answer)
    assert [words for words in NOT_THEIRS if words in page] == []
    assert not answer.cookies
    addresses = re.findall(r'(?:href|src|action|data-src)="([^"]*)"', page)
    assert [one for one in addresses if re.match(rf"/(?!static/|s/{text}/$)|https?:", one)] == []


TROUBLE: dict[str, dict[str, Any]] = {
    "lost": {"status": "lost", "connection": "closed"},
    "refused": {"status": "rejected", "connection": "closed"},
    "unconfirmed": {"status": "launching", "notice": f"{Run.UNCONFIRMED}: http://secret-host said nothing"},
    "disconnected": {"status": "running", "connection": "reconnecting", "connection_since": START},
    "silent": {"status": "running", "connection": "live", "silent_since": START},
    "overdue": {"status": "running", "connection": "live", "overdue": True, "due_at": START},
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_no_trouble_makes_it_tell_more(run: Run, trouble: str) -> None:
    Run.objects.filter(pk=run.pk).update(**TROUBLE[trouble])
    page = shared(make_link(run))
    assert trouble.capitalize() in page
    for part in ("", "embed/", "?at=1"):
        assert [words for words in NOT_THEIRS if words in shared(make_link(run), part)] == []


def test_what_would_tell_of_others_stands_on_the_run_s_own_page(run: Run, client_as: SignIn) -> None:
    """Else the test above would show nothing."""
    own = text_of(client_as("operator").get(run.get_absolute_url()))
    seldom = {"?failure=", "somebody-here", "other-retry"}
    assert [words for words in NOT_THEIRS if words not in own and words not in seldom] == []


def test_a_link_leads_to_no_event_of_another_run(run: Run) -> None:
    other = make_run()
    for _ in range(5):
        make_event(other)
    text = make_link(run)
    assert Client().get(f"/s/{text}/events/1/").status_code == 200
    assert Client().get(f"/s/{text}/events/5/").status_code == 404
    assert Client().get(f"/s/{text}/?task=nothing-like-it").status_code == 200


@pytest.mark.parametrize("part", PARTS)
def test_its_address_is_told_to_nobody_and_found_by_nobody(run: Run, part: str) -> None:
    for text, good in ((make_link(run), True), ("x" * 43, False)):
        answer = Client().get(f"/s/{text}/{part}")
        assert answer["Referrer-Policy"] == "no-referrer"
        assert answer["X-Robots-Tag"] == "noindex, nofollow"
        assert answer["Cache-Control"] == ("no-cache" if good and part == "badge.svg" else "no-store")
        assert "unsafe" not in answer["Content-Security-Policy"]


@pytest.mark.parametrize("part", ["export/", "rejected/", "no/such/part/", "events/99999999999/"])
def test_what_a_link_does_not_show_is_answered_as_what_is_no_link(run: Run, part: str) -> None:
    here, nowhere = (Client().get(f"/s/{text}/{part}") for text in (make_link(run), "x" * 43))
    assert (here.status_code, here.content) == (404, nowhere.content)
    assert here["Referrer-Policy"] == "no-referrer"
    assert here["X-Robots-Tag"] == "noindex, nofollow"


def test_no_answer_under_a_link_is_kept_or_tells_where_it_came_from(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> None:
        raise RuntimeError("on our side")

    client = Client(raise_request_exception=False)
    # Without its slash, and without its first event.
    answers = [client.get(f"/s/{make_link(run)}"), client.get(f"/s/{make_link(run)}/events/")]
    monkeypatch.setattr(sharing, "use", broken)
    answers.append(client.get("/s/anything/"))
    assert [answer.status_code for answer in answers] == [301, 400, 500]
    for answer in answers:
        assert answer["Referrer-Policy"] == "no-referrer"
        assert answer["X-Robots-Tag"] == "noindex, nofollow"
        assert "no-store" in answer["Cache-Control"]


def test_a_link_works_while_the_database_takes_no_writes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise OperationalError("database is locked")

    text = make_link(run)
    monkeypatch.setattr(ShareLinkQuerySet, "update", refuse)
    assert "mine" in shared(text)


def test_the_frame_to_copy_is_html_whatever_the_flow_is_called(db: None, client_as: SignIn) -> None:
    name = """x" onload="steal()'><script>&amp;"""
    run = make_run(flow_name=name)
    page = text_of(client_as("operator").post(f"/runs/{run.pk}/links/", {"days": "30", "name": ""}))
    shown = re.search(r'<code id="share-embed"[^>]*>(.*?)</code>', page)
    assert shown
    frame = ElementTree.fromstring(html.unescape(shown[1]))
    assert (frame.tag, frame.get("title"), set(frame.keys())) == ("iframe", name, {"src", "width", "height", "title"})


# --- within other pages -----------------------------------------------------------------------------------------------


def framed_by(answer: HttpResponseBase) -> str:
    found = re.search(r"frame-ancestors ([^;]*)", answer["Content-Security-Policy"])
    assert found
    return found[1]


@pytest.mark.parametrize("origins", [[], ["https://wiki.example.com", "https://*.example.org:8443"]])
def test_only_the_small_view_may_be_shown_by_the_sites_that_are_named(
    run: Run, settings: Any, origins: list[str]
) -> None:
    settings.EMBED_ORIGINS = origins
    for text in (make_link(run), "x" * 43):
        embed = Client().get(f"/s/{text}/embed/")
        assert framed_by(embed) == (" ".join(origins) or "'none'")
        assert "X-Frame-Options" not in embed
        assert embed["Cross-Origin-Resource-Policy"] == "cross-origin"
        for part in ("", "events/?first=1", "badge.svg"):
            page = Client().get(f"/s/{text}/{part}")
            assert framed_by(page) == "'none'"
            assert page["X-Frame-Options"] == "DENY"
    assert framed_by(Client().get("/sign-in/")) == "'none'"


def test_the_small_view_says_how_the_run_stands(run: Run) -> None:
    page = shared(make_link(run), "embed/")
    for words in ("Failed", "Nightly", "mine", "0 of 1 tasks succeeded, 1 failed", "fetch broke", 'id="progress"'):
        assert words in page
    assert 'data-theme="dark"' in shared(make_link(run), "embed/?theme=dark")
    assert "data-theme" not in shared(make_link(run), "embed/?theme=%22%3E")


# --- badges -----------------------------------------------------------------------------------------------------------


def title_of(svg: str) -> str:
    return ElementTree.fromstring(svg).findtext(f"{SVG}title") or ""  # our own, which is to be well-formed


@pytest.mark.parametrize("status", Run.Status.values)
def test_a_badge_says_the_state_in_words(db: None, status: str) -> None:
    run = make_run(status=status, flow_name="Nightly")
    answer = Client().get(f"/s/{make_link(run)}/badge.svg")
    svg = text_of(answer)
    assert answer["Content-Type"] == "image/svg+xml; charset=utf-8"
    assert answer["Cross-Origin-Resource-Policy"] == "cross-origin"
    root = ElementTree.fromstring(svg)
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert words[0] == "Nightly"
    assert root.get("aria-label") == title_of(svg) == f"Nightly: {words[1]}"
    assert len(list(root.iter(f"{SVG}path"))) == 1, "a mark, too"
    assert not {"script", "style", "image", "a"} & {element.tag.removeprefix(SVG) for element in root.iter()}


def test_no_two_states_have_the_same_word(db: None) -> None:
    words = {title_of(badges.drawn("F", make_run(status=status))) for status in Run.Status.values}
    assert len(words) == len(Run.Status.values)


def test_a_badge_of_a_run_that_goes_on_says_how_far_it_is(db: None) -> None:
    run = make_run(flow_name="Nightly", planned=True, tasks_total=4, tasks_succeeded=1)
    assert title_of(badges.drawn("Nightly", run)) == "Nightly: Running 25 %"


@pytest.mark.parametrize(
    "name",
    ["<script>&\"'", "\x01\x0b\x1b", "夜" * 100, "\ud800".encode("utf-16", "surrogatepass").decode("latin-1"), ""],
)
def test_a_badge_is_well_formed_whatever_the_flow_is_called(name: str) -> None:
    root = ElementTree.fromstring(badges.drawn(name, None))
    assert int(root.get("width") or 0) < 600
    assert title_of(badges.drawn(name, None)).endswith(": Never run")


def test_a_badge_that_has_not_changed_is_answered_in_a_few_bytes(run: Run) -> None:
    address = f"/s/{make_link(run)}/badge.svg"
    first = Client().get(address)
    assert first["Cache-Control"] == "no-cache"
    again = Client().get(address, headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
    for name in ("Cache-Control", "Cross-Origin-Resource-Policy", "Referrer-Policy"):
        assert again[name] == first[name], "a browser goes by those of the last answer"
    Run.objects.filter(pk=run.pk).update(status="lost")
    changed = Client().get(address, headers={"If-None-Match": first["ETag"]})
    assert changed.status_code == 200
    assert "Lost" in title_of(text_of(changed))


def test_a_workflow_s_badge_shows_its_latest_run_and_its_link_nothing_else(db: None) -> None:
    workflow = make_workflow(flow_name="Nightly")
    text = make_link(workflow)
    assert title_of(shared(text, "badge.svg")) == "Nightly: Never run"
    of = {"workflow": workflow, "flow_name": "Nightly", "upstream": workflow.upstream}
    make_run(status="succeeded", **of)
    assert title_of(shared(text, "badge.svg")) == "Nightly: Succeeded"
    run = make_run(status="failed", **of)
    make_event(run)
    assert title_of(shared(text, "badge.svg")) == "Nightly: Failed"
    for part in (*PARTS[:-1], "input/", "output/"):
        assert Client().get(f"/s/{text}/{part}").status_code == 404, part
    Upstream.objects.update(name="x")
    Workflow.objects.get().delete()
    assert Client().get(f"/s/{text}/badge.svg").status_code == 404


# --- making and revoking ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["run", "workflow"])
def test_a_link_is_made_listed_and_revoked(run: Run, client_as: SignIn, what: str) -> None:
    client = client_as("operator")
    address = f"/runs/{run.pk}/links/" if what == "run" else f"/workflows/{run.workflow_id}/links/"
    made = text_of(client.post(address, {"name": "page of the release", "days": "7"}))
    text = re.search(r"/s/([\w-]{43})/badge.svg", made)
    assert text
    link = ShareLink.objects.select_related("made_by").get()
    assert link.made_by
    about = f"run {run.pk}: Nightly / mine" if what == "run" else "the badge of workflow Nightly"
    entry = AuditEntry.objects.latest("pk")
    assert (entry.name, entry.deed, entry.about) == (link.made_by.username, "share-made", f"{link.prefix}… of {about}")
    assert entry.detail == "7 days"
    page = text_of(client.get(address))
    assert text[1] not in page, "it is shown once"
    for words in ("page of the release", link.prefix, link.made_by.username, "never"):
        assert words in page
    assert shared(text[1], "badge.svg")
    assert "never" not in text_of(client.get(address)).split("<table")[1].split("</table>")[0]

    assert client.post(f"/links/{link.pk}/revoke/")["Location"] == address
    assert Client().get(f"/s/{text[1]}/badge.svg").status_code == 404
    entry = AuditEntry.objects.latest("pk")
    assert (entry.deed, entry.about) == ("share-revoked", f"{link.prefix}… of {about}")
    assert "<table" not in text_of(client.get(address))
    number = AuditEntry.objects.count()
    client.post(f"/links/{link.pk}/revoke/")
    assert AuditEntry.objects.count() == number, "once is enough"


def test_nonsense_makes_no_link(run: Run, client_as: SignIn) -> None:
    client = client_as("operator")
    for fields in ({"days": "8"}, {"name": "x" * 101}):
        assert client.post(f"/runs/{run.pk}/links/", fields).status_code == 422
    assert not ShareLink.objects.exists()


def test_the_run_page_offers_it_to_who_may(run: Run, client_as: SignIn) -> None:
    address = f"/runs/{run.pk}/links/"
    assert address in text_of(client_as("operator").get(run.get_absolute_url()))
    assert address not in text_of(client_as("viewer").get(run.get_absolute_url()))


def test_an_expired_link_stays_in_the_list_as_such(run: Run, client_as: SignIn) -> None:
    make_link(run, days=1)
    ShareLink.objects.update(expires_at=timezone.now())
    assert "expired" in text_of(client_as("operator").get(f"/runs/{run.pk}/links/"))


# --- live -------------------------------------------------------------------------------------------------------------


@partial(database_sync_to_async, thread_sensitive=False)
def in_thread[R](function: Callable[[], R]) -> R:
    return function()


@asynccontextmanager
async def connected(path: str, cookie: str = "") -> AsyncIterator[WebsocketCommunicator]:
    socket = socket_to(path, cookie)
    assert (await socket.connect())[0]
    try:
        yield socket
    finally:
        await socket.disconnect()


@pytest.mark.django_db(transaction=True)
async def test_the_page_is_told_what_comes_and_nothing_of_others() -> None:
    run = await in_thread(lambda: make_run(upstream=make_upstream(name="secret-upstream")))
    text = await in_thread(lambda: make_link(run))

    def change() -> None:
        make_event(run)
        Run.objects.filter(pk=run.pk).update(status="failed", notice="http://secret-host", error={"type": "E"})

    async with connected(f"/live/s/{text}/") as socket:
        page = Page(await in_thread(lambda: shared(text)), socket)
        await page.acknowledge()
        await in_thread(change)
        await publish.ring({run.pk})
        message = await page.take()
    assert page.events == [1]
    assert "pill-failed" in parts_of(message)["#run-head"]
    assert [words for words in NOT_THEIRS if words in message] == []


@pytest.mark.django_db(transaction=True)
async def test_a_signed_in_page_of_the_same_run_still_gets_all_of_it() -> None:
    """Both are served by one feed, which shares what it draws between sockets at the same place."""
    run = await in_thread(lambda: make_run(upstream=make_upstream(name="secret-upstream")))
    text = await in_thread(lambda: make_link(run))
    client = await in_thread(lambda: client_of(make_user()))
    own = await in_thread(lambda: text_of(client.get(run.get_absolute_url())))
    async with (
        connected(f"/live/s/{text}/") as one,
        connected(f"/live/runs/{run.pk}/", await in_thread(lambda: cookie_of(client))) as other,
    ):
        pages = [Page(await in_thread(lambda: shared(text)), one), Page(own, other)]
        for page in pages:
            await page.acknowledge()
        await in_thread(lambda: make_event(run))
        await in_thread(lambda: Run.objects.filter(pk=run.pk).update(connection="reconnecting"))
        await publish.ring({run.pk})
        heads = [parts_of(await page.take())["#run-head"] for page in pages]
    assert ["secret-upstream" in head for head in heads] == [False, True]


@pytest.mark.django_db(transaction=True)
async def test_the_small_view_is_told_when_the_run_moves() -> None:
    run = await in_thread(make_run)
    text = await in_thread(lambda: make_link(run))
    async with connected(f"/live/s/{text}/embed/") as socket:
        await socket.send_to(text_data=f'{{"rev": "{run.rev}"}}')
        assert await socket.receive_nothing(0.2)
        await in_thread(lambda: make_event(run))
        await in_thread(lambda: Run.objects.filter(pk=run.pk).update(status="succeeded"))
        await publish.ring({run.pk})
        card = parts_of(await socket.receive_from(10))["#card"]
    assert "pill-succeeded" in card
    assert f'name="rev" form="ack" value="{run.rev}"' in card


ENDING: dict[str, Callable[[], Any]] = {
    "being revoked": lambda: sharing.revoke(ShareLink.objects.get(name="it"), make_user("operator")),
    "its time": lambda: ShareLink.objects.filter(name="it").update(expires_at=timezone.now()),
    "its run being removed": lambda: Run.objects.filter(share_links__name="it").delete(),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ending", ENDING)
@pytest.mark.parametrize("part", ["", "embed/"])
async def test_a_socket_ends_with(monkeypatch: pytest.MonkeyPatch, ending: str, part: str) -> None:
    assert live.CHECK_SECONDS < 2
    monkeypatch.setattr(live, "CHECK_SECONDS", 0.05)
    text = await in_thread(lambda: make_link(make_run(), name="it"))
    other = await in_thread(lambda: make_link(make_run()))
    async with connected(f"/live/s/{text}/{part}") as socket, connected(f"/live/s/{other}/{part}") as stays:
        assert await socket.receive_nothing(0.2)
        await in_thread(ENDING[ending])
        assert await socket.receive_output(10) == {"type": "websocket.close", "code": live.UNAUTHENTICATED}
        assert await stays.receive_nothing(0.2)


@pytest.mark.django_db(transaction=True)
async def test_nothing_is_pushed_once_the_link_is_no_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """The push waits for an answer that is younger than the revocation, and then there is none."""
    asked = threading.Event()

    def late(passes: Any) -> Any:
        asked.wait(10)
        return ask(passes)

    ask = live._still_good
    monkeypatch.setattr(live, "_still_good", late)
    monkeypatch.setattr(live, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(live, "TRUST_SECONDS", 0.1)
    run = await in_thread(make_run)
    text = await in_thread(lambda: make_link(run, name="it"))
    first = await in_thread(lambda: shared(text))
    async with connected(f"/live/s/{text}/") as socket:
        await asyncio.sleep(0.2)
        page = Page(first, socket)
        await page.acknowledge()
        await in_thread(ENDING["being revoked"])
        await in_thread(lambda: make_event(run))
        await publish.ring({run.pk})
        assert await socket.receive_nothing(0.3)
        asked.set()
        assert await socket.receive_output(10) == {"type": "websocket.close", "code": live.UNAUTHENTICATED}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("part", ["", "embed/"])
async def test_no_socket_opens_for_what_is_no_good_link(part: str) -> None:
    run = await in_thread(make_run)
    bad = await in_thread(lambda: bad_links(run) | {"a badge's": make_link(make_workflow())})
    for what, text in bad.items():
        async with connected(f"/live/s/{text}/{part}") as socket:
            said = await socket.receive_output(10)
        assert said == {"type": "websocket.close", "code": live.UNAUTHENTICATED}, what


@pytest.mark.django_db(transaction=True)
async def test_a_page_whose_run_is_found_gone_first_is_closed_as_by_revoking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_SECONDS", 0.05)  # sooner than the link is looked at
    run = await in_thread(make_run)
    text = await in_thread(lambda: make_link(run, name="it"))
    async with connected(f"/live/s/{text}/") as socket:
        await Page(await in_thread(lambda: shared(text)), socket).acknowledge()
        await in_thread(ENDING["its run being removed"])
        assert await socket.receive_output(10) == {"type": "websocket.close", "code": live.UNAUTHENTICATED}


@pytest.mark.django_db(transaction=True)
async def test_one_link_opens_so_many_sockets_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_BY_A_LINK", 2)
    run = await in_thread(make_run)
    text, other = [await in_thread(lambda: make_link(run)) for _ in range(2)]
    async with connected(f"/live/s/{text}/") as one, connected(f"/live/s/{text}/embed/") as two:
        assert await one.receive_nothing(0.2)
        assert await two.receive_nothing(0.2)
        async with connected(f"/live/s/{text}/") as three, connected(f"/live/s/{other}/") as others:
            assert await three.receive_output(10) == {"type": "websocket.close", "code": live.TOO_MANY}
            assert await others.receive_nothing(0.2)


@pytest.mark.django_db(transaction=True)
async def test_no_page_of_another_site_opens_one() -> None:
    text = await in_thread(lambda: make_link(make_run()))
    assert not (await socket_to(f"/live/s/{text}/", origin="https://wiki.example.com").connect())[0]
