"""`prune_runs`: remove runs that ended long ago, with all that hangs on them."""

import json
import re
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from runs import actions, keeping

SECONDS = {"h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0}


class Command(BaseCommand):
    help = (
        "Remove runs that ended longer ago than this, with their events. Never one that is followed. In short "
        "transactions, so the site may be up; it may be interrupted and run again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than", metavar="AGE", help="as 12h, 90d or 8w, since the run ended; else RETENTION_DAYS"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
        parser.add_argument("--json", action="store_true", help='print {"runs", "events", "before", "removed"}')

    def handle(self, *args: Any, **options: Any) -> None:
        before = time.time() - age(options["older_than"])
        if options["dry_run"]:
            found = keeping.count(before)
            runs, events = found.runs, found.events
        else:
            runs = events = 0
            for gone in actions.prune(before):
                runs, events = runs + gone.runs, events + gone.events
        if options["json"]:
            said = {"runs": runs, "events": events, "before": round(before, 3), "removed": not options["dry_run"]}
            self.stdout.write(json.dumps(said))
            return
        words = "would be removed" if options["dry_run"] else "removed"
        self.stdout.write(f"{runs} runs with {events} events {words}")


def age(text: str | None) -> float:
    """Seconds. Raises CommandError for what is no age."""
    if text is None:
        if not settings.RETENTION_DAYS:
            raise CommandError("Say how old a run must be with --older-than, or set RETENTION_DAYS.")
        return float(settings.RETENTION_DAYS * SECONDS["d"])
    found = re.fullmatch(r"([0-9]{1,6})([hdw])", text)
    if not found:
        raise CommandError(f"--older-than {text!r}: expected a number and h, d or w, as in 90d.")
    return int(found[1]) * SECONDS[found[2]]
