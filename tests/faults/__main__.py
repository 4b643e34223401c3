"""`make test-faults`: every fault at its full size, on both databases; prints one table of all."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.faults import ledger
from tests.servers import NotInstalled, private_postgres

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


class Part:
    """pytest in a process of its own, which ends with the block. `quiet`: what it prints is shown when it has ended."""

    def __init__(self, name: str, environment: dict[str, str], arguments: list[str], *, quiet: bool = False) -> None:
        self._name = name
        self._said = tempfile.TemporaryFile() if quiet else None  # noqa: SIM115  # it is closed with the process
        command = [sys.executable, "-m", "pytest", *arguments]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment, stdout=self._said, stderr=self._said
        )

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # it still says what it has found
            self.code()

    def code(self) -> int:
        """Its exit code, once it has one; that of a signal is negative."""
        self._process.wait()
        if self._said:
            self._said.seek(0)
            print(f"--- {self._name}\n{self._said.read().decode(errors='replace')}", flush=True)  # noqa: T201
        return self._process.returncode


def main() -> int:
    more = sys.argv[1:]
    inside = [str(HERE / "inside"), *more]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder) / "rows"
        full = {"FAULTS": "full", ledger.TABLE: str(path), "DATABASE_URL": "", "REDIS_URL": ""}
        print("--- in one process, on SQLite and on PostgreSQL at the same time", flush=True)  # noqa: T201
        places = {"SQLite": full}
        try:
            postgres = stack.enter_context(private_postgres())
            places["PostgreSQL"] = full | {"DATABASE_URL": postgres.url, "ALLOW_PRIVATE_UPSTREAMS": "1"}
        except NotInstalled as missing:
            print(f"left out on PostgreSQL: {missing}")  # noqa: T201
        parts = [
            stack.enter_context(Part(f"in one process, {place}", environment, inside, quiet=True))
            for place, environment in places.items()
        ]
        codes = [part.code() for part in parts]
        print("--- real processes", flush=True)  # noqa: T201
        codes.append(stack.enter_context(Part("real processes", full, [str(HERE / "processes"), *more])).code())
        print("\n".join(["", *ledger.table(ledger.kept(path))]), flush=True)  # noqa: T201
    nothing_collected = 5  # with -k, a part may have no test
    return max(0 if code == nothing_collected else abs(code) for code in codes)


if __name__ == "__main__":
    sys.exit(main())
