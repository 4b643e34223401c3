"""`rebuild_runs [ID…]`: fold the stored events again and say where the stored state differs."""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from runs import store
from runs.models import Run


class Command(BaseCommand):
    help = (
        "Fold the stored events of these runs (of all, when none is named) and compare with the stored state. Exit 1 "
        "and a report where they differ. --fix writes the folded state; do that only while nobody follows the run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ids", nargs="*", type=int, metavar="ID")
        parser.add_argument("--fix", action="store_true", help="write the folded state where it differs")
        parser.add_argument("--json", action="store_true", help="print what differs as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = options["ids"]
        ids = list(Run.objects.filter(pk__in=wanted).values_list("pk", flat=True)) if wanted else None
        if ids is not None and (missing := sorted(set(wanted) - set(ids))):
            raise CommandError(f"There is no run {', '.join(map(str, missing))}.")
        checked, found = 0, []
        for run_id in ids if ids is not None else Run.objects.order_by("pk").values_list("pk", flat=True).iterator():
            checked += 1
            if differences := store.rebuild(run_id, fix=options["fix"]):
                found.append({"run": run_id, "differences": differences})
            for difference in differences if not options["json"] else ():
                self.stdout.write(f"run {run_id}: {difference}")
        if options["json"]:
            self.stdout.write(json.dumps({"checked": checked, "different": len(found), "runs": found}))
        else:
            words = "fixed" if options["fix"] else "different"
            self.stdout.write(f"{checked} runs checked, {len(found)} {words}")
        if found:
            sys.exit(1)
