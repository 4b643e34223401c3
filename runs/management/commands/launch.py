"""`launch FLOW`: start a workflow and, with --follow, watch it to its end."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from runs import actions
from runs.management.following import USAGE, FollowingCommand, upstream_named


class Command(FollowingCommand):
    help = (
        "Launch a workflow. With --follow: a progress bar, then exit 0 succeeded, 1 failed, 2 lost. Exit 64 when it "
        "could not be launched as asked."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("flow", metavar="FLOW", help="name of a saved workflow")
        parser.add_argument("--run-name", default="", help="minted when it is not given")
        parser.add_argument("--upstream", default="", help="name of the upstream, where several have this workflow")
        parser.add_argument("--input", action="append", default=[], metavar="K=V", help="V as JSON, else as text")
        parser.add_argument("--inputs", metavar="FILE", help="a JSON object of inputs")
        self.add_following(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        inputs = _file_inputs(options["inputs"]) if options["inputs"] else {}
        for pair in options["input"]:
            name, found, value = pair.partition("=")
            if not found or not name:
                raise CommandError(f"--input {pair!r}: expected NAME=VALUE", returncode=USAGE)
            inputs[name] = _value(value)
        upstream = upstream_named(options["upstream"])
        try:
            run = actions.launch(
                flow_name=options["flow"], run_name=options["run_name"], inputs=inputs, upstream=upstream
            )
        except actions.Refused as error:
            self.refuse(error)
        self.present(run, options)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # the latter: nested too deeply to be meant as JSON
        return text


def _file_inputs(path: str) -> dict[str, Any]:
    try:
        inputs = json.loads(Path(path).read_text())
    except OSError as error:
        raise CommandError(f"--inputs {path}: {error.strerror}", returncode=USAGE) from None
    except (ValueError, RecursionError) as error:
        raise CommandError(f"--inputs {path}: not JSON: {error}", returncode=USAGE) from None
    if not isinstance(inputs, dict):
        raise CommandError(f"--inputs {path}: expected a JSON object", returncode=USAGE)
    return inputs
