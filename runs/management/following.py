"""What `launch` and `attach` share: usage errors that exit with 64, and a progress bar that follows a run."""

import json
import sys
import time
from functools import partial
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from runs.catalogue import Refused
from runs.core.progress import left_words
from runs.core.timeline import label
from runs.facts import progress_of, run_facts
from runs.models import EpochNow, Event, Run, Upstream, Worker

USAGE = 64
EXIT = {
    Run.Status.SUCCEEDED: 0,
    Run.Status.FAILED: 1,
    Run.Status.REJECTED: 1,
    Run.Status.LOST: 2,
    Run.Status.STOPPED: 2,
}
POLL_SECONDS = 0.25
BAR = 30  # characters
NO_WORKER_SECONDS = 30.0


class FollowingCommand(BaseCommand):
    """A command that ends with one run, which it may follow to its end."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        setattr(parser, "error", partial(_usage_error, parser))  # noqa: B010  # argparse would exit with 2: a lost run
        return parser

    def add_following(self, parser: CommandParser) -> None:
        parser.add_argument("--follow", action="store_true", help="show a progress bar until the run ends")
        parser.add_argument("--json", action="store_true", help="print the run as JSON, as the API gives it")

    def refuse(self, error: Refused) -> NoReturn:
        """Say what was wrong and where, and exit with 64."""
        places = "".join(f"\n  {one.place}: {one.message}" for one in error.mistakes)
        raise CommandError(f"{error.message}{places}", returncode=USAGE)

    def present(self, run: Run, options: dict[str, Any]) -> None:
        """Print the run; with --follow exit as it has ended."""
        if not options["json"]:
            self.stdout.write(f"Run {run.pk}: {run.flow_name} / {run.run_name}")
        if options["follow"]:
            run = self._follow(run, quiet=options["json"])
        if options["json"]:
            self.stdout.write(json.dumps(run_facts(run, base_url=site(), output=_output(run)), indent=2))
        if options["follow"]:
            sys.exit(EXIT[Run.Status(run.status)])

    def _follow(self, run: Run, *, quiet: bool) -> Run:
        live = sys.stderr.isatty()
        shown = ""
        since = time.monotonic()
        while True:
            run = Run.objects.select_related("upstream", "created_by").get(pk=run.pk)
            line = progress_line(run)
            if not quiet and line != shown and (live or _without_clock(line) != _without_clock(shown)):
                self._show(line, live)
                shown = line
            if run.ended:
                break
            if run.status == Run.Status.QUEUED and time.monotonic() - since > 3 and not _worker_alive():
                since = float("inf")
                self.stderr.write("No worker is running: `make run` or `python manage.py serve` starts one. Waiting.")
            time.sleep(POLL_SECONDS)
        if not quiet:
            if live:
                sys.stderr.write("\n")
            for sentence in closing_lines(run):
                self.stdout.write(sentence)
        return run

    def _show(self, line: str, live: bool) -> None:
        sys.stderr.write(f"\r\x1b[2K{line}" if live else f"{line}\n")
        sys.stderr.flush()


def site() -> str:
    """Where the site answers, as far as this process knows: HOST and PORT."""
    return f"http://{settings.HOST}:{settings.PORT}"


def progress_line(run: Run) -> str:
    """One line: bar, step, current task, state, seconds since the start, and how long it still takes."""
    known = progress_of(run, time.time())
    filled = round(BAR * (known.fraction or 0))
    bar = "█" * filled + "░" * (BAR - filled)
    steps = f"{known.step.current} of {known.total}" if known.total else f"{known.completed} done"
    left = "" if known.eta_low is None or known.eta_high is None else f", {left_words(known.eta_low, known.eta_high)}"
    began = run.started_at or run.created_at.timestamp()
    seconds = run.execution_time if run.execution_time is not None else max(0.0, time.time() - began)
    task = f"  {run.current_task}" if run.current_task and not run.ended else ""
    return f"{bar}  step {steps}  {run.status}{task}  [{label(round(seconds))}{left}]"


def closing_lines(run: Run) -> list[str]:
    """What a person wants to know when a run has ended."""
    lines = []
    if run.error:
        code = f" ({run.error['code']})" if run.error.get("code") else ""
        lines.append(f"{run.error['type']}: {run.error['message']}{code}")
    if run.notice:
        lines.append(run.notice)
    if run.gap_count:
        lines.append(f"{run.gap_count} gap(s): what the upstream sent then may be missing.")
    if run.conflict:
        lines.append("The upstream said both that it succeeded and that it failed; the earlier word counts.")
    return [*lines, f"{run.status}: {site()}{run.get_absolute_url()}"]


def upstream_named(name: str) -> Upstream | None:
    """The upstream of this name; None for ''. Exits with 64 when there is none."""
    if not name:
        return None
    found = Upstream.objects.filter(name=name).first()
    if found is None:
        known = ", ".join(Upstream.objects.order_by("name").values_list("name", flat=True)) or "none"
        raise CommandError(f"There is no upstream named {name!r}. Known: {known}.", returncode=USAGE)
    return found


def _usage_error(parser: CommandParser, message: str) -> NoReturn:
    parser.print_usage(sys.stderr)
    parser.exit(USAGE, f"{parser.prog}: {message}\n")
    raise AssertionError  # exit does not return


def _without_clock(line: str) -> str:
    return line.rpartition("  [")[0]


def _worker_alive() -> bool:
    return Worker.objects.filter(beat_at__gt=EpochNow() - NO_WORKER_SECONDS).exists()


def _output(run: Run) -> Any:
    if run.output_seq is None:
        return None
    payload = Event.objects.values_list("payload", flat=True).get(run_id=run.pk, seq=run.output_seq)
    return json.loads(payload).get("output")
