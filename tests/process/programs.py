"""Real processes of manage.py with a data folder of their own, and the HTTP API as a program would use it."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from tests.scripted import eventually
from tests.servers import end_with_parent, free_port

ROOT = Path(__file__).resolve().parents[2]
ENDED = {"succeeded", "failed", "lost", "stopped", "rejected"}
START_SECONDS = 40.0
PATIENCE = 60.0  # seconds for which a patient caller goes on asking


class Program:
    """One process of manage.py; what it prints goes to `log`."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        self._from = log.stat().st_size if log.exists() else 0
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", *arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=end_with_parent,  # noqa: PLW1509  # it only makes one system call
            )

    def said(self) -> str:
        return self.log.read_bytes()[self._from :].decode(errors="replace")

    async def until_it_says(self, words: str) -> None:
        async def there() -> bool:
            assert self.process.poll() is None or words in self.said(), f"it has ended:\n{self.said()[-3000:]}"
            return words in self.said()

        await eventually(there, START_SECONDS)

    async def ended(self, seconds: float = 30.0) -> int:
        """Its exit code, once it has one."""

        async def over() -> bool:
            return self.process.poll() is not None

        await eventually(over, seconds)
        assert self.process.returncode is not None
        return self.process.returncode

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


class Home:
    """A data folder, an environment, and the processes started with them."""

    def __init__(self, prepared: Path, folder: Path, token: str, **environment: Any) -> None:
        shutil.copytree(prepared, folder)
        self.folder, self.token = folder, token
        self.programs: list[Program] = []
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.environment = {
            **kept,
            "DATA_DIR": str(folder),
            "PYTHONUNBUFFERED": "1",
            "ALLOW_PRIVATE_UPSTREAMS": "1",
            "LINGER_SECONDS": "0.5",
            "API_CALLS_PER_MINUTE": "0",  # tests ask as fast as they can
            **{name: str(value) for name, value in environment.items()},
        }

    @property
    def database(self) -> str:
        """DATABASE_URL."""
        return self.environment["DATABASE_URL"]

    def manage(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def start(self, *arguments: str, log: str = "log", **environment: str) -> Program:
        program = Program(list(arguments), self.environment | environment, self.folder / log)
        self.programs.append(program)
        return program

    async def serve(self, *arguments: str, port: int = 0, log: str = "serve.log") -> "tuple[Program, Api]":
        """A site that answers, and its API."""
        port = port or free_port()
        program = self.start("serve", "--port", str(port), *arguments, log=log)
        await program.until_it_says("Stepline is at")
        return program, Api(port, self.token)

    def end(self) -> None:
        """End whatever still runs."""
        running = [program.process for program in self.programs if program.process.poll() is None]
        for process in running:
            process.terminate()
        ends = time.monotonic() + 25
        for process in running:
            try:
                process.wait(max(0.1, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Api:
    """The HTTP API of one site."""

    def __init__(self, port: int, token: str) -> None:
        self.port, self.token = port, token
        self.patient = False  # ask again where nobody answers, or the answer is "try again shortly"
        self._base = f"http://127.0.0.1:{port}/api/v1"
        self._headers = {"Authorization": f"Bearer {token}"}

    async def call(self, method: str, path: str, **more: Any) -> Any:
        """The JSON of the answer; fails when it is no success."""
        ends = time.monotonic() + (PATIENCE if self.patient else 0)
        while True:
            try:
                response = await self.ask(method, path, **more)
                if response.status_code != 503 or time.monotonic() > ends:
                    break
            except httpx.TransportError:
                if time.monotonic() > ends:
                    raise
            await asyncio.sleep(0.2)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        return response.json()

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """The answer, whatever it is. Raises httpx.TransportError where there is none."""
        # verify: there is no TLS here, and loading certificates takes longer than the call.
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30, headers=self._headers) as client:
            return await client.request(method, self._base + path, **more)

    async def launch(self, **body: Any) -> int:
        """Launch; the run's id."""
        return int((await self.call("POST", "/runs", json=body))["id"])

    async def run(self, run_id: int) -> dict[str, Any]:
        found: dict[str, Any] = await self.call("GET", f"/runs/{run_id}")
        return found

    async def until(self, run_id: int, **expected: Any) -> dict[str, Any]:
        """The run, once these of its fields are so."""

        async def so() -> dict[str, Any] | None:
            run = await self.run(run_id)
            return run if all(run[name] == value for name, value in expected.items()) else None

        found = await eventually(so, 40)
        assert found is not None
        return found

    async def ended(self, run_id: int, seconds: float = 60.0) -> dict[str, Any]:
        """The run, once it has ended and nothing more is expected of it."""

        async def over() -> dict[str, Any] | None:
            run = await self.run(run_id)
            return run if run["status"] in ENDED and run["connection"] == "closed" else None

        found = await eventually(over, seconds)
        assert found is not None
        return found

    async def runs(self) -> list[dict[str, Any]]:
        """All runs."""
        found: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await self.call("GET", "/runs", params={"limit": 200, **({"cursor": cursor} if cursor else {})})
            found += page["items"]
            cursor = page["next_cursor"]
        return found

    async def events(self, run_id: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.call("GET", f"/runs/{run_id}/events?limit=1000"))["items"]
        return found


async def start(home: Home, webs: int, workers: int) -> tuple[list[tuple[Program, Api]], list[Program]]:
    """Web processes that answer and workers that work, in one home on PostgreSQL and Redis."""
    following = [home.start("worker", log=f"worker-{number}.log") for number in range(workers)]
    sites = await asyncio.gather(*(home.serve("--no-worker", log=f"web-{number}.log") for number in range(webs)))
    for worker in following:
        await worker.until_it_says("starts")
    return list(sites), following
