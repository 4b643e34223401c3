"""`worker`: follows runs, delivers alerts and sends traces in a process of its own; any number of them."""

import asyncio
import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from alerts.delivering import Deliverer
from alerts.fanning import site
from runs.threads import take_short_turns
from runs.worker.supervisor import Supervisor
from telemetry import senders


class Command(BaseCommand):
    help = "Follow runs in this process. Needs REDIS_URL and DATABASE_URL, which all processes share."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.REDIS_URL:
            raise CommandError(
                "A worker of its own needs REDIS_URL: without it no page would hear of what it writes. For one process "
                "that does everything use `serve`."
            )
        if not settings.DATABASE_URL:
            raise CommandError(
                "SQLite cannot be shared by several processes here: set DATABASE_URL to a PostgreSQL database, or use "
                "`serve`, which works alone."
            )
        take_short_turns()
        asyncio.run(_work())


async def _work() -> None:
    supervisor = Supervisor()
    working: list[Any] = [supervisor, Deliverer(supervisor.name), *senders(supervisor.name, site())]

    def stop() -> None:
        for one in working:
            one.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await asyncio.gather(*(one.run() for one in working))
