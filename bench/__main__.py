"""`python -m bench`: every measurement as a table, and as JSON under bench/results/."""

import json
import os
import platform
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="stepline-bench-") as name:
        folder = Path(name)
        os.environ.update(DATA_DIR=name, DJANGO_SETTINGS_MODULE="dashboard.settings", LINGER_SECONDS="0.5")
        for variable in ("DATABASE_URL", "REDIS_URL"):
            os.environ.pop(variable, None)
        os.environ.setdefault("LOG_LEVEL", "WARNING")

        import django

        django.setup()
        from django.core.management import call_command

        from bench import ingest, latency

        call_command("migrate", verbosity=0)
        rows = [ingest.measure(folder), latency.measure(folder)]
    print(f"{'bench':12} {'Stepline':>16} {'floor':>14} {'ratio':>7} {'reach':>8}  unit; work")
    for row in rows:
        print(
            f"{row['bench']:12} {row['stepline']:>16} {row['floor']:>14} {row['ratio']:>7} {row['reach']:>8}  "
            f"{row['unit']}; {row['work']}"
        )
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    path.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
