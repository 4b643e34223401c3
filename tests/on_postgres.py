"""`python -m tests.on_postgres [pytest's arguments]`: the tests whose meaning depends on the database, on PostgreSQL.

Starts a private server, and says so when its programs are not installed.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.servers import NotInstalled, private_postgres

ROOT = Path(__file__).resolve().parent.parent
PLACES = ["tests/store", "tests/worker", "tests/accounts", "tests/alerts", "tests/api", "tests/faults/inside"]
PLACES += [
    "tests/telemetry",
    "tests/commands/test_export_and_import.py",
    "tests/commands/test_prune_runs.py",
    "tests/web/test_export.py",
]


def main() -> int:
    try:
        with private_postgres() as postgres:
            command = [sys.executable, "-m", "pytest", *(sys.argv[1:] or PLACES)]
            environment = {"DATABASE_URL": postgres.url, "REDIS_URL": "", "ALLOW_PRIVATE_UPSTREAMS": "1"}
            return subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=False).returncode
    except NotInstalled as missing:
        print(f"Left out on PostgreSQL: {', '.join(PLACES)}: {missing}.")  # noqa: T201
        return 0


if __name__ == "__main__":
    sys.exit(main())
