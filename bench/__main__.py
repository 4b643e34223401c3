"""`python -m bench [--full] [NAME…]`: the measurements as a table, and as JSON under bench/results/.

Each stands in a process of its own, with a database of its own. `--full`: at full size, and those that take long, too;
without it, under ten minutes for all.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.row import Row, table

RESULTS = Path(__file__).parent / "results"
LIVE = ("live", "burst", "hot_run", "fanout")
QUICK = ("ingest", "ingest_pg", *LIVE, "streams", "big_run", "big_list", "cold", "ndjson")
FULL = (*QUICK, "growth")
NAMES = (*FULL, "peers")  # the last only when it is named: it installs another program
MOST_SECONDS = 3600.0  # one measurement


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Stepline beside bare programs.")
    parser.add_argument("--full", action="store_true", help="at full size, the long ones, too")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these of: {', '.join(NAMES)}")
    asked = parser.parse_args()
    unknown = set(asked.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    rows, failed = [], []
    for name in asked.names or (FULL if asked.full else QUICK):
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            rows += _apart(name, full=asked.full)
        except subprocess.SubprocessError as error:
            failed.append(f"{name}: {error}")
    print(table(rows))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    path.write_text(json.dumps({"machine": machine, "rows": [row.as_json() for row in rows]}, indent=2) + "\n")
    print(f"written to {path}")
    if failed:
        sys.exit("\n".join(failed))


def _apart(name: str, *, full: bool) -> list[Row]:
    """Measure in a process of its own. Raises SubprocessError."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stepline-bench-")))
        environment = dict(os.environ)
        for variable in ("DATABASE_URL", "REDIS_URL", "HOST", "PORT"):
            environment.pop(variable, None)
        environment |= {"DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "dashboard.settings"}
        environment["LINGER_SECONDS"] = "0.5"
        environment.setdefault("LOG_LEVEL", "WARNING")
        if name == "ingest_pg":
            from tests.servers import private_postgres, private_redis

            environment["DATABASE_URL"] = stack.enter_context(private_postgres()).url
            environment["ALLOW_PRIVATE_UPSTREAMS"] = "1"
            environment["REDIS_URL"] = stack.enter_context(private_redis()).url
        command = [sys.executable, "-m", "bench.one", name, *(["--full"] if full else [])]
        subprocess.run(command, env=environment, check=True, timeout=MOST_SECONDS)
        return [Row.of_json(told) for told in json.loads((folder / "rows.json").read_text())]


if __name__ == "__main__":
    main()
