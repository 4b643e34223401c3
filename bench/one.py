"""`python -m bench.one NAME [--full]`: one measurement, in this process; its rows go to rows.json in DATA_DIR."""

import importlib
import json
import os
import sys
from pathlib import Path


def main() -> None:
    import django

    django.setup()
    from django.core.management import call_command

    from runs.threads import take_short_turns

    take_short_turns()  # as `serve` and `worker` do
    folder = Path(os.environ["DATA_DIR"])
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    rows = importlib.import_module(f"bench.{sys.argv[1]}").measure(folder, full="--full" in sys.argv)
    (folder / "rows.json").write_text(json.dumps([row.as_json() for row in rows]))


if __name__ == "__main__":
    main()
