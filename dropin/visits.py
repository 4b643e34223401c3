"""What a client asks for when it opens a socket, and whether it gets it: all that is decided before the handshake is
answered. Reads the database, so on a thread.
"""

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

from accounts import tokens
from accounts.models import User
from dropin import refusals
from dropin.callers import BAD_TOKEN, NOBODY, Denied, sent_token
from runs.actions import Refused, default_upstream
from runs.catalogue import check_name
from runs.models import Run, Upstream
from runs.web.live import Pass

PREFIX = "/ws/"
LONGEST_SEQ = 15  # digits

Scope = dict[str, Any]


class Address(NamedTuple):
    flow_name: str
    run_name: str
    upstream: str  # its name; "": the default one first, then any


class Visit(NamedTuple):
    who: Pass
    address: Address
    after: int
    run_id: int | None  # None: there is no such run yet
    client: str  # the same for each try of one client to get this run


def enter(scope: Scope) -> Visit:
    """Raises Denied where the socket is not to be opened."""
    query = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
    who = pass_of(scope)
    address = address_of(scope, query.get("upstream", ""))
    said = query.get("after")
    if said is not None and not (said.isascii() and said.isdigit() and len(said) <= LONGEST_SEQ):
        raise Denied(400, "after is the _seq of the last event that the client has")
    after = int(said or 0)
    run = find(address)
    last_seq = run.last_seq if run else 0
    if after > last_seq:
        raise Denied(400, f"after is beyond the last event, which has the _seq {last_seq}")
    client = client_of(scope, who, address)
    if run is None and refusals.refuses(in_vain(client)):
        raise Denied(404, "there is no run of this name")
    if run and (said is None or after == last_seq) and refusals.refuses(client):
        raise Denied(429, "this client has just got all of the run; ?after=0 asks for it again")
    return Visit(who, address, after, run.pk if run else None, client)


def headers_of(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def token_of(scope: Scope) -> str | None:
    """The text of the token that came along, in the address or in a header; None where none did."""
    sent = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("token")
    return sent[-1] if sent else sent_token(headers_of(scope))


def pass_of(scope: Scope) -> Pass:
    """Raises Denied. Every role may look at runs."""
    text = token_of(scope)
    if text is not None:
        token = tokens.use(text)
        if token is None:
            raise BAD_TOKEN
        return Pass("", token.user.pk, "", "", token.pk)
    user, session = scope.get("user"), scope.get("session")
    if not isinstance(user, User) or session is None:
        raise NOBODY
    return Pass(session.session_key or "", user.pk, user.role, user.password)


def address_of(scope: Scope, upstream: str = "") -> Address:
    """The names in the path. Raises Denied when it is not of two names.

    `path` is decoded as a whole, so a name with a slash cannot be told from two; only `raw_path` still can. Servers
    that give none get the first segment as the flow and the rest as the run.
    """
    if raw_path := scope.get("raw_path"):
        rest = raw_path.decode("ascii", "replace").partition("?")[0].partition(PREFIX)[2]
        names = [unquote(name) for name in rest.removesuffix("/").split("/")]
    else:
        names = scope["path"].partition(PREFIX)[2].split("/", 1)
    if len(names) != 2:
        raise Denied(404, "the address is /ws/FLOW/RUN, with both names percent-encoded")
    try:
        check_name(names[0], "flow_name")
        check_name(names[1], "run_name")
    except Refused as refused:
        raise Denied(404, refused.message) from None
    return Address(names[0], names[1], upstream)


def find(address: Address) -> Run | None:
    """The run of this address: at the upstream that is named, else at the default one, else the newest."""
    if address.upstream:
        upstreams = list(Upstream.objects.filter(name=address.upstream) if "\0" not in address.upstream else [])
        if not upstreams:
            raise Denied(404, "there is no upstream of this name")
    else:
        upstreams = list(Upstream.objects.all())
    # With the upstreams, and so by the index that holds a run's whole address.
    named = Run.objects.filter(upstream__in=upstreams, flow_name=address.flow_name, run_name=address.run_name)
    return _first(named.only("pk", "upstream_id", "last_seq")) if upstreams else None


def _first(runs: Iterable[Run]) -> Run | None:
    found = sorted(runs, key=lambda run: -run.pk)
    if len(found) > 1:
        chosen = default_upstream().pk
        found.sort(key=lambda run: run.upstream_id != chosen)
    return found[0] if found else None


def in_vain(client: str) -> str:
    """This client, as one that waited for a run which did not come."""
    return f"{client}-in-vain"


def client_of(scope: Scope, who: Pass, address: Address) -> str:
    """Tells the tries of one client from everybody else's. Many may share a token, so where they come from counts."""
    marks = [who.session]
    if who.token:
        headers = headers_of(scope)
        where = (scope.get("client") or [""])[0]
        marks = [
            str(who.token),
            where,
            *(headers.get(name, "") for name in ("x-forwarded-for", "user-agent", "origin")),
        ]
    marks += address
    return hashlib.sha256("\n".join(marks).encode("utf-8", "replace")).hexdigest()
