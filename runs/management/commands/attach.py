"""`attach UPSTREAM FLOW RUN`: follow a run that was started elsewhere."""

from typing import Any

from django.core.management.base import CommandParser

from runs import actions
from runs.management.following import FollowingCommand, upstream_named


class Command(FollowingCommand):
    help = "Follow a run that was started elsewhere. Exits as `launch` does."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("upstream", metavar="UPSTREAM")
        parser.add_argument("flow", metavar="FLOW")
        parser.add_argument("run", metavar="RUN", help="the run name at the upstream")
        self.add_following(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        upstream = upstream_named(options["upstream"])
        try:
            run = actions.attach(upstream=upstream, flow_name=options["flow"], run_name=options["run"])
        except actions.Refused as error:
            self.refuse(error)
        self.present(run, options)
