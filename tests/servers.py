"""Private PostgreSQL and Redis servers for tests: the installed programs, on free loopback ports, in temporary folders.

They end with the test process, however that ends, and can be killed and started again in the middle of a test.
"""

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

START_SECONDS = 30.0
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class NotInstalled(Exception):
    """The server's programs are not on this machine; the message says what was looked for."""


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        return int(asking.getsockname()[1])


def end_with_parent() -> None:
    """For Popen's preexec_fn: the kernel kills this process when the thread that started it ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(ready: Callable[[], Any], what: str, seconds: float = START_SECONDS) -> Any:
    """The first true value of `ready`, asked again and again. Fails after so many seconds, naming `what`."""
    ends = time.monotonic() + seconds
    while not (found := ready()):
        if time.monotonic() > ends:
            raise AssertionError(f"not in {seconds:.0f} s: {what}")
        time.sleep(0.05)
    return found


class Server:
    """One server process; `start` after `kill` brings it back with what it had on disk."""

    def __init__(self, name: str, command: list[str], folder: Path, port: int, ready: Callable[[], bool]) -> None:
        self.port = port
        self.folder = folder
        self.user: str | None = None
        self.stop_signal = signal.SIGTERM
        self._name, self._command, self._ready = name, command, ready
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers. Call it on the main thread: the kernel ends it with the one that did."""
        log = self.folder / "log"
        self._log = log.open("ab")
        process = subprocess.Popen(
            self._command,
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
            preexec_fn=end_with_parent,  # noqa: PLW1509  # it only makes one system call
            **_as_user(self.user),
        )
        self._process = process

        def answers() -> bool:
            assert process.poll() is None, f"{self._name} ended at once:\n{log.read_text(errors='replace')[-2000:]}"
            return self._ready()

        wait_until(answers, f"{self._name} answers")

    def kill(self) -> None:
        """End it with no chance to say goodbye to anyone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(self.stop_signal)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """It takes connections, and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(number)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._log:
            self._log.close()
        self._process = self._log = None


class Postgres(Server):
    """A PostgreSQL server; `url` is for DATABASE_URL."""

    @property
    def url(self) -> str:
        return f"postgres://stepline@127.0.0.1:{self.port}/stepline"

    def kill(self) -> None:
        """At once and without a checkpoint. (SIGKILL would leave its other processes on the shared memory.)"""
        self._end(signal.SIGQUIT)

    def make(self, database: str) -> str:
        """A further, empty database; its url."""
        _sql(self.port, f'CREATE DATABASE "{database}"')
        return f"postgres://stepline@127.0.0.1:{self.port}/{database}"


class Redis(Server):
    """A Redis server that keeps nothing; `url` is for REDIS_URL."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def answers(self) -> bool:
        return _pongs(self.port)

    def ask(self, command: str) -> str:
        """The first line of what it answers to a command without arguments."""
        return _redis(self.port, command)


@contextmanager
def private_postgres() -> Iterator[Postgres]:
    """A PostgreSQL server with an empty database. Raises NotInstalled."""
    programs = postgres_programs()
    with _folder("postgres") as folder:
        user = _other_user() if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        if user:
            shutil.chown(folder, user)
        data = folder / "data"
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "stepline", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"],
            check=True,
            capture_output=True,
            cwd=folder,
            **_as_user(user),
        )
        port = free_port()
        settings = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",  # outlives a killed server all the same: only a power failure would show
            "max_connections": 100,
            "shared_buffers": "32MB",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        server = Postgres(
            "PostgreSQL", [str(programs / "postgres"), "-D", str(data), *options], folder, port, lambda: _answers(port)
        )
        server.user = user
        server.stop_signal = signal.SIGINT  # ends open connections, too
        try:
            server.start()
            server.make("stepline")
            yield server
        finally:
            server.stop()


@contextmanager
def private_redis() -> Iterator[Redis]:
    """A Redis server. Raises NotInstalled."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        raise NotInstalled("neither redis-server nor valkey-server is on the PATH")
    with _folder("redis") as folder:
        port = free_port()
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        server = Redis("Redis", [*command, "--dir", str(folder)], folder, port, lambda: _pongs(port))
        try:
            server.start()
            yield server
        finally:
            server.stop()


def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs. Raises NotInstalled."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    folders += [Path("/usr/local/pgsql/bin"), Path("/opt/homebrew/bin")]
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise NotInstalled(
        "PostgreSQL's server programs (initdb, postgres) are neither on the PATH nor where they usually are"
    )


def _other_user() -> str:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise NotInstalled("PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody")


def _as_user(name: str | None) -> dict[str, Any]:
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
    if name is None:
        return {"env": environment}
    entry = pwd.getpwnam(name)
    return {"env": environment, "user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix=f"stepline-{name}-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def query(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a PostgreSQL database answers to one statement; `url` as for DATABASE_URL."""
    import psycopg

    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        cursor = connection.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def followed(url: str) -> dict[int, set[int]]:
    """Which runs the workers on this database follow, by the worker's process id; leases that ran out do not count."""
    rows = query(
        url,
        "SELECT owner, run_id FROM runs_stream "
        "WHERE active AND owner <> '' AND lease_until > EXTRACT(EPOCH FROM clock_timestamp())",
    )
    found: dict[int, set[int]] = {}
    for owner, run_id in rows:
        found.setdefault(int(owner.split(":")[1]), set()).add(run_id)
    return found


def _sql(port: int, statement: str) -> None:
    import psycopg

    with psycopg.connect(
        host="127.0.0.1", port=port, user="stepline", dbname="postgres", autocommit=True, connect_timeout=5
    ) as connection:
        connection.execute(statement.encode())


def _answers(port: int) -> bool:
    import psycopg

    try:
        _sql(port, "SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def _pongs(port: int) -> bool:
    try:
        return _redis(port, "PING") == "+PONG"
    except OSError:
        return False


def _redis(port: int, command: str) -> str:
    with socket.create_connection(("127.0.0.1", port), 1) as connection:
        connection.sendall(f"{command}\r\n".encode())
        return connection.recv(200).decode().partition("\r\n")[0]
