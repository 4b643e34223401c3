"""A studio on loopback that answers what a test tells it to, and keeps what it was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """`body`: bytes as they are, else a value that is sent as JSON."""

    body: Any
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Studio:
    """`answers`: by the path; what is not there is answered with 404."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str]] = []  # path and x-api-key
        self.silent = threading.Event()  # where it is set, nothing is answered until `go_on`
        self.go_on = threading.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def has(self, *items: dict[str, Any]) -> None:
        self.answers["/v3/workflows/"] = Answer(list(items))

    def says(self, body: Any, status: int = 200, content_type: str = "application/json", **headers: str) -> None:
        named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        self.answers["/v3/workflows/"] = Answer(body, status, content_type, named)


def item(definition: Any, flow_name: str = "", **more: Any) -> dict[str, Any]:
    """A saved workflow as the studio shows it."""
    name = flow_name or definition.get("flow_name", "")
    return {
        "flow_id": f"id-{name}",
        "flow_name": name,
        "flow_data": definition,
        "api_key": "key-of-the-account-0123456789",
        "created_at": "2026-11-24T09:00:00Z",
        "updated_at": "2026-11-24T10:00:00Z",
        **more,
    }


@contextmanager
def studio() -> Iterator[Studio]:
    made = Studio()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append((self.path, self.headers.get("x-api-key", "")))
            if made.silent.is_set():
                made.go_on.wait(60)
                return
            answer = made.answers.get(self.path, Answer({"message": "nothing there"}, 404))
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            self.send_header("content-type", answer.content_type)
            self.send_header("content-length", str(len(body)))
            for name, value in answer.headers:
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(body)
            except ConnectionError:
                return  # who asks for too much hangs up

        def log_message(self, *args: Any) -> None:
            """Keeps quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()
