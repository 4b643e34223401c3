"""Send a recorded stream to a running sandbox, which plays it to whoever listens."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import httpx
from django.core.management.base import BaseCommand, CommandError

TIMEOUT_SECONDS = 60.0


class Command(BaseCommand):
    help = "Play an NDJSON recording of a run's stream through a running sandbox."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="one frame a line")
        parser.add_argument("--speed", type=float, default=1.0, help="times as fast as it was recorded (1)")
        parser.add_argument("--flow", help="flow name to play it under (that of the recording)")
        parser.add_argument("--run", help="run name to play it under (that of the recording)")
        parser.add_argument("--url", default="http://127.0.0.1:8000/sandbox", help="where the sandbox is (%(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            content = options["file"].read_bytes()
        except OSError as error:
            raise CommandError(f"Cannot read {options['file']}: {error.strerror}.") from error
        url = options["url"].rstrip("/") + "/recordings/"
        query = {"speed": str(options["speed"]), "flow_name": options["flow"], "run_name": options["run"]}
        try:
            response = httpx.post(
                url,
                params={key: value for key, value in query.items() if value is not None},
                content=content,
                headers={"Content-Type": "application/x-ndjson"},
                timeout=TIMEOUT_SECONDS,
                trust_env=False,
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CommandError(
                f"No sandbox answers at {url} ({error}). Start one with `make run`, or give --url."
            ) from error
        try:
            answer = response.json()
        except ValueError:
            answer = {}
        if response.status_code != httpx.codes.ACCEPTED:
            said = answer.get("message") or f"it answered {response.status_code}; is a sandbox there?"
            raise CommandError(f"{url} did not play {options['file']}: {said}")
        self.stdout.write(
            f"Playing {answer['frames']} frames over {answer['seconds']:g} s as run {answer['run_name']} of "
            f"{answer['flow_name']}, to {answer['listeners']} listening."
        )
