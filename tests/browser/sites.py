"""A whole Stepline in a process of its own: `manage.py serve` on a free port, with a data folder of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import httpx

from tests.servers import end_with_parent, free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"Sign in once with: (\S+)")


def _environment(folder: Path, more: dict[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV") if name in os.environ}
    return {**kept, "DATA_DIR": str(folder), "PYTHONUNBUFFERED": "1", **more}


def prepare(folder: Path) -> None:
    """A data folder as `make run` leaves it before the first start: a database and static files."""
    folder.mkdir(parents=True)
    for command in (["migrate"], ["collectstatic"]):
        subprocess.run(
            [sys.executable, "manage.py", *command, "--noinput", "--verbosity", "0"],
            cwd=ROOT,
            env=_environment(folder, {}),
            check=True,
            timeout=100,
        )


class Door(Protocol):
    """What a browser needs of a site: where it is, and a client that is signed in there."""

    url: str
    client: httpx.Client


class Site:
    """Starts, stops and starts again at the same address; `client` is signed in as its administrator."""

    def __init__(self, prepared: Path, folder: Path, **environment: Any) -> None:
        shutil.copytree(prepared, folder)
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, trust_env=False, timeout=30)
        self._environment = _environment(folder, {name: str(value) for name, value in environment.items()})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait for the sign-in link that it prints; the first start signs in with it."""
        log = self.folder / "serve.log"
        start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "serve", "--port", str(self.port)],
                cwd=ROOT,
                env=self._environment,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                preexec_fn=end_with_parent,  # noqa: PLW1509  # it only makes one system call
            )
        self._process = process

        def printed() -> str | None:
            said = log.read_bytes()[start:].decode(errors="replace")
            assert process.poll() is None, f"serve ended at once:\n{said[-2000:]}"
            found = LINK.search(said)
            return found[1] if found else None

        link = wait_until(printed, "serve prints its sign-in link")
        if not self.client.cookies:
            assert self.client.get(link).status_code == 302

    def stop(self) -> None:
        """SIGTERM, as a supervisor of processes does."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"serve did not end in 20 s after SIGTERM:\n{self.log()[-2000:]}") from None
        finally:
            self._process = None

    def log(self) -> str:
        return (self.folder / "serve.log").read_text(errors="replace")

    # --- what a test needs done that is not what it is about -------------------------------------------------------

    def post(self, address: str, **fields: Any) -> httpx.Response:
        """Send the form of this page."""
        self.client.get(address)
        fields["csrfmiddlewaretoken"] = self.client.cookies["csrftoken"]
        return self.client.post(address, data=fields, headers={"Origin": self.url, "Referer": self.url + address})

    def launch(self, flow_name: str, run_name: str = "") -> str:
        """Launch a workflow with its default inputs; the path of its run's page."""
        run_name = run_name or f"run-{time.time_ns()}"
        answer = self.post(f"/launch/?flow={quote(flow_name)}", run_name=run_name, mode="json", inputs="{}")
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    def make_token(self, role: str = "viewer") -> str:
        """The text of a token of a user of its own."""
        return self.manage("create_token", f"program-{time.time_ns()}", "--role", role)

    def manage(self, *arguments: str) -> str:
        """Run a command beside the site to its end; what it printed."""
        ran = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def run(self, path: str) -> dict[str, Any]:
        """A run as the API tells it."""
        answer = self.client.get(f"/api/v1{path.rstrip('/')}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def workflow(self, flow_name: str) -> dict[str, Any]:
        """A stored workflow as the API tells it, its definition masked."""
        items = self.client.get("/api/v1/workflows").json()["items"]
        number = next(one["id"] for one in items if one["flow_name"] == flow_name)
        found: dict[str, Any] = self.client.get(f"/api/v1/workflows/{number}").json()
        return found

    def change_workflow(self, flow_name: str, **parts: Any) -> None:
        """Save the stored definition anew, with these parts."""
        stored = self.workflow(flow_name)
        token = {"X-CSRFToken": self.client.cookies["csrftoken"], "Origin": self.url, "Referer": self.url}
        body = {"definition": stored["definition"] | parts}
        answer = self.client.put(f"/api/v1/workflows/{stored['id']}", json=body, headers=token)
        assert answer.status_code == 200, answer.text

    def save_workflow(self, upstream: str, definition: dict[str, Any], flow_name: str, **watching: str) -> None:
        """Save a definition for the upstream of this name. `watching`: fields of how its runs are watched, as typed."""
        page = self.client.get("/workflows/new/").text
        found = re.search(rf'<option value="(\d+)"[^>]*>{re.escape(upstream)}<', page)
        assert found, page
        fields = {"upstream": found[1], "flow_name": flow_name, "definition": json.dumps(definition), **watching}
        answer = self.post("/workflows/new/", **fields)
        assert answer.status_code == 302, answer.text
