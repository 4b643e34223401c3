"""Who may do what: every route and every socket, for nobody, each role's session and each role's token.

The routes come from the URLconf and the sockets from the ASGI application. One that is not in the tables here fails,
and so does a method that a route answers and the table does not name.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from channels.routing import URLRouter
from django.db import transaction
from django.http import HttpResponseBase
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.models import SignIn, SigninLink, Token, User, allows
from alerts.fanning import fan_out
from alerts.models import Delivery
from runs import actions, sharing
from runs.models import Run, SavedView
from runs.web import live
from tests.alerts.making import happen, make_rule
from tests.factories import (
    make_definition,
    make_event,
    make_rejected,
    make_run,
    make_upstream,
    make_user,
    make_workflow,
)
from tests.web.live_page import cookie_of, socket_to

ANYONE, NOWHERE = "anyone", "nowhere"
ROLES = ("viewer", "operator", "admin")
CALLERS = ["nobody", *(f"{role}'s {kind}" for role in ROLES for kind in ("session", "token"))]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def need(role: str, methods: str) -> dict[str, str]:
    return dict.fromkeys(methods.split(), role)


# Route -> method -> the role that it takes. HEAD goes with GET.
PAGES: dict[str, dict[str, str]] = {
    "": need("viewer", "GET"),
    "runs/<int:run_id>/": need("viewer", "GET"),
    "runs/<int:run_id>/task/": need("viewer", "GET"),
    "runs/<int:run_id>/input/": need("viewer", "GET"),
    "runs/<int:run_id>/output/": need("viewer", "GET"),
    "runs/<int:run_id>/place/": need("viewer", "GET"),
    "runs/<int:run_id>/times/": need("viewer", "GET"),
    "runs/<int:run_id>/events/": need("viewer", "GET"),
    "runs/<int:run_id>/events/<int:seq>/": need("viewer", "GET"),
    "runs/<int:run_id>/rejected/": need("viewer", "GET"),
    "runs/<int:run_id>/export/": need("viewer", "GET"),
    "runs/<int:run_id>/links/": need("operator", "GET POST"),
    "links/<int:link_id>/revoke/": need("operator", "POST"),
    "runs/<int:run_id>/stop-watching/": need("operator", "POST"),
    "runs/<int:run_id>/retry/": need("operator", "GET POST"),
    "compare/": need("viewer", "GET"),
    "compare/task/": need("viewer", "GET"),
    "launch/": need("operator", "GET POST"),
    "attach/": need("operator", "GET POST"),
    "workflows/": need("viewer", "GET"),
    "workflows/new/": need("operator", "GET POST"),
    "workflows/<int:workflow_id>/": need("viewer", "GET"),
    "runs/<int:run_id>/older/": need("viewer", "GET"),
    "runs/<int:run_id>/newer/": need("viewer", "GET"),
    "views/": need("viewer", "POST"),
    "views/<int:view_id>/delete/": need("viewer", "POST"),
    "workflows/import/": need("operator", "GET POST"),
    "workflows/preview/": need("operator", "POST"),
    "workflows/<int:workflow_id>/versions/<int:number>/": need("viewer", "GET"),
    "workflows/<int:workflow_id>/versions/<int:number>/restore/": need("operator", "POST"),
    "workflows/<int:workflow_id>/edit/": need("operator", "GET POST"),
    "workflows/<int:workflow_id>/links/": need("operator", "GET POST"),
    "workflows/<int:workflow_id>/delete/": need("operator", "GET POST"),
    "upstreams/": need("admin", "GET"),
    "upstreams/new/": need("admin", "GET POST"),
    "upstreams/<int:upstream_id>/": need("admin", "GET POST"),
    "alerts/": need("admin", "GET"),
    "alerts/rules/new/": need("admin", "GET POST"),
    "alerts/rules/<int:rule_id>/": need("admin", "GET POST"),
    "alerts/channels/": need("admin", "GET"),
    "alerts/channels/new/<str:means>/": need("admin", "GET POST"),
    "alerts/channels/<int:channel_id>/": need("admin", "GET POST"),
    "alerts/channels/<int:channel_id>/secret/": need("admin", "POST"),
    "alerts/channels/<int:channel_id>/test/": need("admin", "POST"),
    "alerts/log/": need("admin", "GET"),
    "alerts/log/<int:delivery_id>/retry/": need("admin", "POST"),
    "streams/": need("admin", "GET"),
    "quarantine/": need("admin", "GET"),
    "quarantine/<int:frame_id>/preview/": need("admin", "GET"),
    "account/password/": need("viewer", "GET POST"),
    "account/sessions/": need("viewer", "GET"),
    "account/sessions/end/": need("viewer", "POST"),
    "account/sessions/<int:sign_in_id>/end/": need("viewer", "POST"),
    "account/tokens/": need("viewer", "GET POST"),
    "account/tokens/<int:token_id>/revoke/": need("viewer", "POST"),
    "users/": need("admin", "GET"),
    "users/new/": need("admin", "GET POST"),
    "users/<int:user_id>/": need("admin", "GET POST"),
    "users/<int:user_id>/link/": need("admin", "POST"),
    "users/<int:user_id>/sign-out/": need("admin", "POST"),
    "users/<int:user_id>/active/": need("admin", "POST"),
    "audit/": need("admin", "GET"),
    "api/v1/docs": need("viewer", "GET POST PUT PATCH DELETE"),
}
API: dict[str, dict[str, str]] = {
    "api/v1/runs": need("viewer", "GET") | need("operator", "POST"),
    "api/v1/runs/attach": need("operator", "POST"),
    "api/v1/runs/<int:run_id>": need("viewer", "GET"),
    "api/v1/runs/<int:run_id>/tasks": need("viewer", "GET"),
    "api/v1/runs/<int:run_id>/events": need("viewer", "GET"),
    "api/v1/runs/<int:run_id>/compare/<int:other_id>": need("viewer", "GET"),
    "api/v1/runs/<int:run_id>/gaps": need("viewer", "GET"),
    "api/v1/runs/<int:run_id>/rejected": need("viewer", "GET"),
    "api/v1/runs/<int:run_id>/links": need("operator", "GET POST"),
    "api/v1/runs/<int:run_id>/links/<int:link_id>": need("operator", "DELETE"),
    "api/v1/runs/<int:run_id>/retry": need("operator", "POST"),
    "api/v1/runs/<int:run_id>/stop-watching": need("operator", "POST"),
    "api/v1/workflows": need("viewer", "GET") | need("operator", "POST"),
    "api/v1/workflows/<int:workflow_id>": need("viewer", "GET") | need("operator", "PUT DELETE"),
    "api/v1/upstreams": need("viewer", "GET"),
    "api/v1/rejected": need("viewer", "GET"),
    "api/v1/streams": need("admin", "GET"),
    "metrics": need("viewer", "GET"),
}
# The upstream's own calls, served by us.
DROPIN: dict[str, dict[str, str]] = {
    "run-dag/": need("operator", "POST"),
    "task-status/<str:task_id>": need("viewer", "GET"),
}
# For whoever has a link; who has none: tests/web/test_sharing.py.
SHARED: dict[str, dict[str, str]] = {
    f"s/<str:token>/{part}": need(ANYONE, "GET")
    for part in (
        "", "task/", "input/", "output/", "place/", "times/", "events/", "events/<int:seq>/", "embed/", "badge.svg",
    )
}  # fmt: skip
SHARED["s/<str:token>/<path:rest>"] = need(NOWHERE, "GET")
OPEN: dict[str, dict[str, str]] = {
    "healthz": need(ANYONE, "GET"),
    "readyz": need(ANYONE, "GET"),
    "sign-in/": need(ANYONE, "GET POST"),
    "sign-in/<str:token>/": need(ANYONE, "GET"),
    "sign-out/": need(ANYONE, "POST"),
    "api/v1/openapi.json": need(ANYONE, "GET POST PUT PATCH DELETE"),  # the same description, however it is asked for
    # The sandbox plays a remote machine with none of our sessions; sandbox/access.py keeps other sites' pages out.
    "sandbox/run-dag/": need(ANYONE, "POST"),
    "sandbox/task-status/<str:task_id>": need(ANYONE, "GET"),
    "sandbox/v3/workflows": need(ANYONE, "GET"),
    "sandbox/v3/workflows/": need(ANYONE, "GET"),
    "sandbox/v3/workflows/<str:flow_id>": need(ANYONE, "GET"),
    "sandbox/recordings/": need(ANYONE, "POST"),
    "api/v1/": need(NOWHERE, "GET POST PUT PATCH DELETE"),
    "api/v1/^(?P<rest>(?s:.*))$": need(NOWHERE, "GET POST PUT PATCH DELETE"),
}
TABLE = PAGES | API | DROPIN | SHARED | OPEN
SOCKETS = {
    "live/runs/<int:run_id>/": "viewer",
    "live/runs/": "viewer",
    "live/s/<str:token>/": ANYONE,
    "live/s/<str:token>/embed/": ANYONE,
    "^ws/": "viewer",
    "^sandbox/ws/": ANYONE,
}
FOR_PROGRAMS = ("^ws/",)  # let tokens in, too, and refuse the others before the handshake


def routes(patterns: list[Any], before: str = "") -> Iterator[str]:
    for pattern in patterns:
        here = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, here)
        else:
            assert isinstance(pattern, URLPattern)
            yield here


def sockets(application: Any, before: str = "") -> Iterator[str]:
    """The addresses of every socket behind an ASGI application, through whatever stands before it."""
    while not isinstance(application, URLRouter):
        inside = getattr(application, "application", getattr(application, "inner", None))
        if inside is None:
            yield before
            return
        application = inside
    for route in application.routes:
        yield from sockets(route.callback, before + str(route.pattern))


def missing_and_gone(found: Iterator[str], table: dict[str, Any]) -> tuple[set[str], set[str]]:
    there = set(found)
    return there - set(table), set(table) - there


def test_every_route_is_in_the_table() -> None:
    assert missing_and_gone(routes(get_resolver().url_patterns), TABLE) == (set(), set())


def test_every_socket_is_in_the_table() -> None:
    from dashboard.asgi import application

    found = sockets(application.application_mapping["websocket"])
    assert missing_and_gone(found, SOCKETS) == (set(), set())
    assert set(application.application_mapping) == {"http", "websocket"}


def test_a_route_and_a_socket_that_are_not_in_the_tables_are_noticed() -> None:
    from dashboard.asgi import application

    fewer = {route: methods for route, methods in TABLE.items() if route != "audit/"}
    assert missing_and_gone(routes(get_resolver().url_patterns), fewer)[0] == {"audit/"}
    assert missing_and_gone(sockets(application.application_mapping["websocket"]), {})[0] == set(SOCKETS)


class World:
    """One of everything that an address can name, and somebody who calls."""

    def __init__(self, caller: str) -> None:
        role, _, self.kind = caller.partition("'s ")
        self.role = "" if caller == "nobody" else role
        self.user: User = make_user(self.role or "viewer")
        make_user("admin")  # so that nobody is the last one
        self.client = Client(raise_request_exception=False)
        self.headers: dict[str, str] = {}
        if self.kind == "session":
            self.client.force_login(self.user)
            self.client.get("/account/sessions/")  # enters it into the list
        if self.kind == "token":
            self.headers = {"Authorization": f"Bearer {Token.issue(self.user, self.role)}"}

    def call(self, method: str, route: str) -> HttpResponseBase:
        if "<" in route:
            route = self.filled(route)
        path = "/" + route.replace("^(?P<rest>(?s:.*))$", "nowhere/at/all")
        return self.client.generic(method, path, "{}", content_type="application/json", headers=self.headers)

    def filled(self, route: str) -> str:
        upstream = make_upstream()
        ids: dict[str, Any] = {"seq": 1, "task_id": "none", "flow_id": "none"}
        if "run_id" in route or route in SHARED:
            run = actions.launch(flow_name="F", definition=make_definition("a"), upstream=upstream)
            Run.objects.filter(pk=run.pk).update(output_seq=make_event(run).seq)
            ids["run_id"] = run.pk
        if "link_id" in route:
            run = run if "run_id" in route else make_run(upstream=upstream)
            ids["link_id"] = sharing.make(run, self.user)[0].pk
        if "other_id" in route:
            ids["other_id"] = make_run(upstream=upstream).pk
        ids["frame_id"] = make_rejected(make_run(upstream=upstream)).pk if "frame_id" in route else 0
        if "task_id" in route:
            ids["task_id"] = f"run-{make_run(upstream=upstream).pk}"
        if route.startswith("alerts/"):
            rule = make_rule()
            happen(make_run(upstream=upstream), "run-failed")
            fan_out()
            ids |= {"rule_id": rule.pk, "channel_id": rule.channels.get().pk, "means": "webhook"}
            ids["delivery_id"] = Delivery.objects.latest("pk").pk
        ids |= {"workflow_id": make_workflow(upstream=upstream).pk, "number": 1}
        ids["upstream_id"] = upstream.pk
        ids["user_id"] = make_user("viewer").pk
        ids["view_id"] = SavedView.objects.get_or_create(user=self.user, name="failed", query="state=failed")[0].pk
        ids["token"] = sharing.make(run, self.user)[1] if route in SHARED else SigninLink.issue(self.user)
        Token.issue(self.user, "viewer")
        ids["token_id"] = Token.objects.filter(user=self.user).latest("pk").pk
        mine = SignIn.objects.filter(user=self.user).first()
        ids["sign_in_id"] = mine.pk if mine else 1
        for name, value in ids.items():
            for kind in ("int", "str"):
                route = route.replace(f"<{kind}:{name}>", str(value))
        return route


def what_came(answer: HttpResponseBase) -> str:
    location = answer.get("Location", "")
    if answer.status_code == 302 and location.startswith("/sign-in/?next="):
        return "sent to the sign-in"
    refusals = {401: "refused as nobody", 403: "refused for the role", 404: "nothing there", 405: "no such method"}
    if answer.status_code >= 500 and not location:
        return f"an error {answer.status_code}"
    return refusals.get(answer.status_code, "let in")


def expected(route: str, needed: str, world: World) -> str:
    if needed == NOWHERE:
        return "nothing there"
    if needed == ANYONE:
        return "let in"
    if route in PAGES:
        if world.kind != "session":
            return "sent to the sign-in"
    elif not world.role:
        return "refused as nobody"
    return "let in" if allows(world.role, needed) else "refused for the role"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("route", "method"), [(route, method) for route, methods in TABLE.items() for method in methods]
)
def test_each_caller_gets_what_the_table_says(route: str, method: str) -> None:
    wrong = {}
    for caller in CALLERS:
        with transaction.atomic():
            world = World(caller)
            answer = world.call(method, route)
            came, due = what_came(answer), expected(route, TABLE[route][method], world)
            transaction.set_rollback(True)
        # The sandbox has no such task or flow, and this machine no worker: that is no refusal.
        lenient = route.startswith("sandbox/") and came == "nothing there"
        if came != due and not lenient and not (route == "readyz" and answer.status_code == 503):
            wrong[caller] = (came, due)
    assert wrong == {}


@pytest.mark.django_db
@pytest.mark.parametrize("route", TABLE)
def test_no_route_answers_a_method_that_the_table_does_not_name(route: str) -> None:
    world = World("admin's session")
    for method in set(METHODS) - set(TABLE[route]):
        assert what_came(world.call(method, route)) == "no such method", method


@pytest.mark.django_db
def test_what_would_be_let_in_or_refused_is_told_apart() -> None:
    """The table would be worth nothing if every answer looked like the expected one."""
    came = {caller: what_came(World(caller).call("GET", "upstreams/")) for caller in CALLERS}
    assert set(came.values()) == {"sent to the sign-in", "refused for the role", "let in"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("path", SOCKETS)
async def test_each_caller_at_each_socket(path: str, caller: str) -> None:
    from channels.db import database_sync_to_async

    def prepare() -> tuple[World, Run, str]:
        run = make_run()
        return World(caller), run, sharing.make(run, make_user("operator"))[1]

    world, run, link = await database_sync_to_async(prepare, thread_sensitive=False)()
    needed, address = SOCKETS[path], "/" + path.lstrip("^").replace("<int:run_id>", str(run.pk))
    address = address.replace("<str:token>", link)
    socket = socket_to(address + "F/r" if address.endswith("ws/") else address, cookie_of(world.client))
    for name, value in world.headers.items():
        socket.scope["headers"].append((name.lower().encode(), value.encode()))
    may = world.role and allows(world.role, needed) if needed != ANYONE else True
    connected, code = await socket.connect(10)
    if path in FOR_PROGRAMS and not may:
        assert (connected, code) == (False, live.UNAUTHENTICATED)
        return
    assert connected
    if needed == ANYONE or (may and (world.kind == "session" or path in FOR_PROGRAMS)):
        said = [await socket.receive_from(10)] if "sandbox" in path else []
        assert await socket.receive_nothing(0.1)
        assert "Connected" in said[0] if said else True
        await socket.disconnect()
    else:
        assert await socket.receive_output(10) == {"type": "websocket.close", "code": live.UNAUTHENTICATED}
