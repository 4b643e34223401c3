"""`export_run ID`: one run as a file, masked as it is stored."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from runs.management.following import site
from runs.models import Run
from runs.web import export


class Command(BaseCommand):
    help = (
        "Write one run, all its events and what came of them to a file, masked. ndjson and json can be read by "
        "import_run; html is a page that shows the run with no network."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", type=int, metavar="ID")
        parser.add_argument("--format", choices=["ndjson", "json", "html"], default="ndjson")
        parser.add_argument(
            "--html", action="store_const", const="html", dest="format", help="the same as --format html"
        )
        parser.add_argument("-o", "--output", metavar="FILE", help="else standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            run = export.read(options["id"])
        except Run.DoesNotExist:
            raise CommandError(f"There is no run {options['id']}.") from None
        parts = export.parts(run, options["format"], site())
        if options["output"]:
            write(Path(options["output"]), parts)
            self.stderr.write(f"Run {run.pk}, {run}, is in {options['output']}.")
            return
        try:
            for part in parts:
                sys.stdout.write(part)
            sys.stdout.flush()
        except BrokenPipeError:  # whoever read it has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write(path: Path, parts: Iterator[str]) -> None:
    """The file comes into being whole, readable by its owner alone, or not at all."""
    try:
        handle, new = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.writelines(parts)
            os.replace(new, path)
        except BaseException:
            os.unlink(new)
            raise
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
