"""`make test-faults`: every fault at its full size, on both databases; prints one table of all."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.faults import ledger
from tests.servers import NotInstalled, private_postgres

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def run(part: str, environment: dict[str, str], arguments: list[str]) -> int:
    print(f"--- {part}", flush=True)  # noqa: T201
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=False).returncode


def main() -> int:
    more = sys.argv[1:]
    inside = [str(HERE / "inside"), *more]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        full = {"FAULTS": "full", ledger.TABLE: str(path)}
        bare = dict.fromkeys(("DATABASE_URL", "REDIS_URL"), "")
        codes = [run("in one process, SQLite", full | bare, inside)]
        try:
            with private_postgres() as postgres:
                there = {"DATABASE_URL": postgres.url, "ALLOW_PRIVATE_UPSTREAMS": "1"}
                codes.append(run("in one process, PostgreSQL", full | bare | there, inside))
        except NotInstalled as missing:
            print(f"left out on PostgreSQL: {missing}")  # noqa: T201
        codes.append(run("real processes", full | bare, [str(HERE / "processes"), *more]))
        print("\n".join(["", *ledger.table(ledger.kept(path))]), flush=True)  # noqa: T201
    nothing_collected = 5  # with -k, a part may have no test
    return max(0 if code == nothing_collected else code for code in codes)


if __name__ == "__main__":
    sys.exit(main())
