"""Sixty secrets at nine places go through a whole site; then everything that it keeps and says is searched for them.

Real processes, a scripted upstream, real sockets; database files, a dump, logs at DEBUG, pages, API, NDJSON, exports,
traces.
"""

import asyncio
import itertools
import json
import re
import shutil
import subprocess
from html import unescape
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tests import canaries
from tests.canaries import KINDS, PLACES, WORD
from tests.factories import START
from tests.process.fixtures import MakeHome, addresses
from tests.process.programs import Api, Home
from tests.receiver import receiver
from tests.scripted import ScriptedUpstream
from tests.servers import Postgres, postgres_programs

pytestmark = pytest.mark.timeout(400)

LOOKS = [kind for kind in KINDS if not kind.startswith("name ")]
EVERYWHERE = (*PLACES, "duplicate", "quarantine")
FLOW, RUN = "Canaries", "run-1"
COMMON = {"flow_name": FLOW, "run_name": RUN, "timestamp": START}


def frames() -> tuple[list[str], int]:
    """All frames of the run, and how many of them are for the quarantine."""
    sent = [
        canaries.frame(kind, place, number, COMMON)
        for number, (kind, place) in enumerate(itertools.product(KINDS, EVERYWHERE))
    ]
    for number, kind in enumerate(LOOKS, 1000):
        sent += canaries.odd_frames(kind, number, COMMON)
    bad = len(KINDS)
    for number, kind in enumerate(KINDS, 2000):  # a secret across the preview's end, and one in a frame of bytes
        name, text = canaries.canary(kind, f"{number:04d}")
        filling = "." * (2 * 64 * 1024 + number % 50 * 41)
        sent.append(f"{{broken {filling} {json.dumps({name: text})} {filling}")
        bad += 1
    return sent, bad


def definition() -> dict[str, Any]:
    """Secrets in parameters, tags, descriptions, inputs; and in what names a task."""
    values = [canaries.canary(kind, "3000") for kind in KINDS]
    looks = [text for name, text in values if name == canaries.LOOK_NAME]
    schemed = [canaries.canary(kind, "3007") for kind in KINDS]
    call = {"function": "call_lyzr_agent", "tag": canaries.canary("key", "3001")[1]}
    return {
        "description": "uses " + canaries.canary("slack bot", "3002")[1],
        "tasks": [
            {"name": "first", **call, "params": {"config": {name: text for name, text in values if text not in looks}}},
            {
                "name": "second",
                **call,
                "params": {"texts": looks, "a": {"depends": "first"}},
            },
            {"name": canaries.canary("github", "3003")[1], **call, "params": {"a": {"depends": "second"}}},
        ],
        "default_inputs": {"question": "why", "api_key": f"{WORD}3004", "note": canaries.canary("jwt", "3005")[1]},
        "edges": [],
        "input_schema": {
            "description": "of " + canaries.canary("stripe", "3006")[1],
            "properties": {name: {"type": "string", "default": text, "examples": [text]} for name, text in schemed},
        },
    }


async def play(upstream: ScriptedUpstream) -> None:
    """What the upstream says on the second visit; the first one ends with a secret in its reason."""
    sent, _ = frames()

    async def visit(socket: ServerConnection, number: int) -> None:
        assert socket.request is not None
        if not socket.request.path.endswith(RUN):
            await socket.wait_closed()
            return
        if not [one for one in upstream.paths[:number] if one.endswith(RUN)]:
            await socket.send(json.dumps({**COMMON, "event_type": "flow_started"}))
            await asyncio.sleep(1)
            await socket.close(1011, "gone: " + canaries.canary("bearer", "4000")[1])
            return
        for frame in sent:
            await socket.send(frame)
        await socket.send(json.dumps(sent[0]).encode())
        name, text = canaries.canary("name password", "4001")
        error = {"type": "E", "message": f"{name}={text}", "code": canaries.canary("key", "4002")[1], name: text}
        await socket.send(json.dumps({**COMMON, "event_type": "flow_error", "timestamp": START + 5000, "error": error}))
        await socket.wait_closed()

    upstream.visit = visit


class Reader:
    """A signed-in administrator's browser, without the browser; keeps all that it was shown."""

    def __init__(self, home: Home, api: Api) -> None:
        link = home.manage("signin_link", "reader", "--role", "admin").stdout.strip()
        self.port, self.seen = api.port, []  # type: int, list[tuple[str, bytes]]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{api.port}", trust_env=False, timeout=60)
        assert self.http.get(link.split("/", 3)[3].join(("/", ""))).status_code == 302

    def get(self, path: str, **headers: str) -> str:
        answer = self.http.get(path, headers=headers)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        self.seen.append((path, answer.content))
        return answer.text

    def post(self, path: str, **fields: str) -> httpx.Response:
        self.http.get(path)
        fields["csrfmiddlewaretoken"] = self.http.cookies["csrftoken"]
        return self.http.post(path, data=fields, headers={"Origin": str(self.http.base_url).rstrip("/")})

    async def listen(self, path: str, **place: Any) -> None:
        """Every message of a live socket, each acknowledged as a page does it."""
        cookie = "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())
        headers = {"Cookie": cookie, "Origin": f"http://127.0.0.1:{self.port}"}
        where = f"ws://127.0.0.1:{self.port}{path}"
        async with connect(where, additional_headers=headers, proxy=None, max_size=None) as socket:
            while True:
                await socket.send(json.dumps(place))
                try:
                    message = await socket.recv()
                except ConnectionClosed:
                    return
                self.seen.append((path, message.encode() if isinstance(message, str) else message))
                place |= dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', str(message)))
                await asyncio.sleep(0.7)  # a page may say so much a minute

    def look_at_everything(self, run_id: int, workflow_id: int) -> None:
        run = f"/runs/{run_id}/"
        parts = ("rejected/", "retry/", "events/?first=1", "input/", "?view=graph")
        for path in ("/", run, *(run + part for part in parts), "/upstreams/"):
            self.get(path)
        for path in (
            "/workflows/",
            f"/workflows/{workflow_id}/",
            f"/workflows/{workflow_id}/edit/",
            f"/workflows/{workflow_id}/versions/2/",
        ):
            self.get(path)
        self.get(f"/launch/?workflow={workflow_id}")
        for path in re.findall(r'href="(/upstreams/\d+/)"', self.get("/upstreams/")):
            self.get(path)
        tasks = json.loads(self.get(f"/api/v1/runs/{run_id}/tasks?limit=1000"))["items"]
        for task in tasks[::9]:
            self.get(f"{run}task/?key={quote(task['key'], safe='')}")
        self.get(f"{run}?task={quote(tasks[0]['key'], safe='')}")
        last = json.loads(self.get(f"/api/v1/runs/{run_id}"))["last_seq"]
        for seq in range(1, last + 1):
            self.get(f"{run}events/{seq}/")
        for path in ("", "/events?limit=1000", "/gaps", "/rejected?limit=200"):
            self.get(f"/api/v1/runs/{run_id}{path}")
        for path in ("/runs", "/workflows", f"/workflows/{workflow_id}", "/upstreams"):
            self.get(f"/api/v1{path}")
        self.get(f"/api/v1/runs/{run_id}/events", Accept="application/x-ndjson")
        for form in ("html", "ndjson", "json"):
            self.get(f"{run}export/?format={form}")

    def look_at_all_that_is_shared(self, shared: str) -> None:
        """As anybody who has the link."""
        self.http.cookies.clear()
        tasks = re.findall(r'data-key="([^"]+)"', self.get(shared))
        last = max(map(int, re.findall(r'data-seq="(\d+)"', self.get(f"{shared}events/?first=1"))))
        for part in (
            "?view=graph",
            "?at=3",
            f"?task={quote(unescape(tasks[0]), safe='')}",
            "input/",
            "embed/",
            "badge.svg",
        ):
            self.get(shared + part)
        for key in tasks[::9]:
            self.get(f"{shared}task/?key={quote(unescape(key), safe='')}")
            self.get(f"{shared}?task={quote(unescape(key), safe='')}")
        for seq in range(1, last + 1, 5):
            self.get(f"{shared}events/{seq}/")


async def follow_the_canaries(home: Home, api: Api, upstream: ScriptedUpstream) -> Reader:
    """Launch, listen, wait for the end, look at every page; the facts that show that the secrets really came."""
    await play(upstream)
    reader = await asyncio.to_thread(Reader, home, api)
    other = {"name": "other", "api_url": upstream.api_url, "socket_url": upstream.socket_url}
    saved = await asyncio.to_thread(reader.post, "/upstreams/new/", **other, api_key=canaries.OTHER_KEY)
    assert saved.status_code == 302, saved.text
    workflow = await api.call("POST", "/workflows", json={"flow_name": FLOW, "definition": definition()})
    changed = {"flow_name": FLOW, "definition": definition() | {"note": canaries.canary("stripe hook", "3008")[1]}}
    await api.call("PUT", f"/workflows/{workflow['id']}", json=changed)
    upstream.launch_answer = (
        401,
        {"message": f"wrong key {canaries.OWN_KEY}, not {canaries.OTHER_KEY}: token={WORD}5000"},
    )
    refused = await api.launch(flow_name=FLOW, run_name="refused")
    await api.until(refused, status="rejected")
    upstream.launch_answer = (200, {"status": "processing", "task_id": "t-1"})
    listening = [asyncio.create_task(reader.listen("/live/runs/", newest="0", revs=""))]
    inputs = {"password": f"{WORD}5001", "question": canaries.canary("google", "5002")[1]}
    run_id = await api.launch(flow_name=FLOW, run_name=RUN, inputs=inputs)
    listening.append(asyncio.create_task(reader.listen(f"/live/runs/{run_id}/", since="0", rev="0", ground="")))
    shared = urlsplit((await api.call("POST", f"/runs/{run_id}/links", json={}))["url"]).path
    listening.append(asyncio.create_task(reader.listen(f"/live{shared}", since="0", rev="0", ground="")))
    run = await api.ended(run_id, 90)
    await asyncio.sleep(3)  # the last messages of the sockets
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    await asyncio.to_thread(reader.look_at_everything, run_id, workflow["id"])
    reader.get(f"/runs/{refused}/")
    await asyncio.to_thread(reader.look_at_all_that_is_shared, shared)

    assert upstream.launches[-1]["default_inputs"]["password"] == f"{WORD}5001", "the upstream got the secrets"
    sent, bad = frames()
    assert run["rejected"] == bad + 1
    assert run["gaps"] >= 1
    assert run["last_seq"] == len(sent) - bad + 2
    events = (await api.call("GET", f"/runs/{run_id}/events?limit=1000"))["items"]
    masked = [event for event in events if "[masked:" in json.dumps(event)]
    assert len(masked) == len(events) - 1, "each event but the first had a secret"
    kept = await api.call("GET", f"/runs/{run_id}/rejected?limit=200")
    assert len([one for one in kept if "[masked:" in one["preview"]]) >= len(KINDS)
    assert any(path == f"/live/runs/{run_id}/" and b"task-" in text for path, text in reader.seen)
    assert any(path == f"/live{shared}" and b"task-" in text for path, text in reader.seen)
    assert "[masked:" in (await api.run(refused))["notice"]
    assert "[masked:" in json.dumps(await api.call("GET", f"/runs/{run_id}/gaps"))
    return reader


def hits(blobs: list[tuple[str, bytes]]) -> dict[str, list[str]]:
    return {name: found for name, blob in blobs if (found := canaries.found_in(blob))}


async def test_no_canary_is_found_on_sqlite(home: MakeHome, upstream: ScriptedUpstream) -> None:
    async with receiver() as collector:
        collector.words = ""
        traces = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}"}
        here = home(**addresses(upstream), UPSTREAM_API_KEY=canaries.OWN_KEY, LOG_LEVEL="DEBUG", **traces)
        _, api = await here.serve()
        reader = await follow_the_canaries(here, api, upstream)
    sent = [(heard.path, heard.content) for heard in collector.heard]
    assert sum(blob.count(b"[masked:") for _, blob in sent) > len(KINDS), "the traces of tasks that failed with secrets"
    files = [(path.name, path.read_bytes()) for path in sorted(here.folder.glob("stepline.sqlite3*"))]
    assert {"stepline.sqlite3", "stepline.sqlite3-wal"} <= {name for name, _ in files}
    assert sum(blob.count(b"[masked:") for _, blob in files) > len(KINDS) * len(EVERYWHERE)
    logs = [(path.name, path.read_bytes()) for path in here.folder.glob("*.log")]
    assert b"[masked:bearer#" in dict(logs)["serve.log"], "the reason of the first end is logged"
    assert hits(files + logs + sent + reader.seen) == {}


@pytest.mark.postgres
async def test_no_canary_is_found_on_postgresql(
    deploy: MakeHome, postgres: Postgres, upstream: ScriptedUpstream
) -> None:
    here = deploy(UPSTREAM_API_KEY=canaries.OWN_KEY, LOG_LEVEL="DEBUG", LOG_FORMAT="json")
    worker = here.start("worker", log="worker.log")
    _, api = await here.serve("--no-worker")
    await worker.until_it_says("starts")
    reader = await follow_the_canaries(here, api, upstream)
    database = here.environment["DATABASE_URL"].rpartition("/")[2]
    where = ["-h", "127.0.0.1", "-p", str(postgres.port), "-U", "stepline", database]
    command = [shutil.which("pg_dump") or str(postgres_programs() / "pg_dump"), *where]
    dump = subprocess.run(command, capture_output=True, check=True, timeout=100).stdout
    assert dump.count(b"[masked:") > len(KINDS) * len(EVERYWHERE)
    logs = [(path.name, path.read_bytes()) for path in here.folder.glob("*.log")]
    assert b"[masked:bearer#" in dict(logs)["worker.log"]
    assert hits([("dump", dump), *logs, *reader.seen]) == {}
