"""`import_run FILE`: a run that export_run wrote, here."""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from runs import actions
from runs.facts import run_facts
from runs.management.following import site
from runs.models import Run


class Command(BaseCommand):
    help = (
        "Store a run from a file of export_run (ndjson or json). A file that is damaged stores nothing; a run that is "
        "here already, and the same, is left as it is. Exit 0 when it is here then, else 1."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", help="- for standard input")
        parser.add_argument("--json", action="store_true", help="print the run as JSON, as the API gives it")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["file"]
        with ExitStack() as stack:
            if name == "-":  # it is read twice
                path = Path(stack.enter_context(tempfile.TemporaryDirectory()), "run")
                with path.open("wb") as kept:
                    shutil.copyfileobj(sys.stdin.buffer, kept)
            else:
                path = Path(name)

            def lines() -> Iterable[bytes]:
                return stack.enter_context(path.open("rb"))

            try:
                run, new = actions.import_run(lines)
            except OSError as error:
                raise CommandError(f"{name}: {error.strerror}") from None
            except actions.Damaged as error:
                raise CommandError(f"{name} was not imported: {error}.") from None
            except actions.Refused as error:
                raise CommandError(f"{name} was not imported: {error.message}") from None
        run = Run.objects.listed().get(pk=run.pk)
        if options["json"]:
            self.stdout.write(json.dumps(run_facts(run, base_url=site()), indent=2))
        else:
            words = "imported" if new else "here already, and the same"
            self.stdout.write(f"Run {run.pk}, {run}: {words}. {site()}{run.get_absolute_url()}")
