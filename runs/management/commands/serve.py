"""`serve`: daphne, and the worker in the same loop unless told otherwise."""

from runs.management.serving import THREAD_SECONDS, Server, twisted_loop  # first: it installs the asyncio reactor  # isort: skip

import asyncio
import fcntl
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from typing import IO, Any

from channels.routing import get_default_application
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.utils.autoreload import run_with_reloader

from accounts.signin import link_for_start
from alerts.delivering import Deliverer
from alerts.fanning import site as site_url
from runs import catalogue, store
from runs.threads import take_short_turns
from runs.web import limits
from runs.web.live import MAX_INBOUND
from runs.worker.supervisor import Supervisor
from telemetry import senders

logger = logging.getLogger(__name__)

MAX_MESSAGE = 32 * 1024 * 1024  # bytes: the page of a large run drawn anew, and the sandbox's largest frames


class Command(BaseCommand):
    help = "Serve the site, with a worker and the sandbox in the same process unless told otherwise."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=settings.HOST, help="address to listen on (default %(default)s)")
        parser.add_argument("--port", type=int, default=settings.PORT, help="port to listen on (default %(default)s)")
        parser.add_argument("--no-worker", action="store_true", help="follow no runs; `worker` processes do")
        parser.add_argument("--no-sandbox", action="store_true", help="do not mount the sandbox under /sandbox/")
        parser.add_argument("--reload", action="store_true", help="start again when the code changes")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["no_sandbox"]:
            settings.SANDBOX = False
        if options["no_worker"] and not settings.REDIS_URL:
            raise CommandError(
                "--no-worker needs REDIS_URL: with the in-memory layer no other process can tell this one that a run "
                "has changed."
            )
        if options["reload"]:
            run_with_reloader(self._serve, options, signal_handlers=False)
        else:
            self._serve(options, signal_handlers=True)

    def _serve(self, options: dict[str, Any], *, signal_handlers: bool) -> None:
        host, port = options["host"], options["port"]
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # for reading, not for binding
        site = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
        settings.HOST, settings.PORT = shown, port
        alone = not settings.DATABASE_URL
        lock = _lock() if alone else None
        try:
            if alone and not options["no_worker"]:
                store.forget_leases()
            catalogue.ensure_defaults(settings.SANDBOX_URL or (f"{site}/sandbox" if settings.SANDBOX else ""))
            link = link_for_start() if alone else ""
        except OperationalError as error:
            raise CommandError(f"The database cannot be written: {error}") from None
        limits.install()
        take_short_turns()
        escaped = host.replace(":", r"\:")
        server = Server(
            application=get_default_application(),
            endpoints=[f"tcp:port={port}:interface={escaped}"],
            signal_handlers=signal_handlers,
            server_name="stepline",
            websocket_timeout=-1,
            websocket_max_frame_size=MAX_INBOUND,  # of what comes in
            websocket_max_message_size=MAX_MESSAGE,  # of what goes out, too
            application_close_timeout=5,
        )

        def ready() -> None:
            if not options["no_worker"]:
                server.before_end = _start_worker(alone=alone)
            self.stdout.write(f"Stepline is at {site}/ (Ctrl-C stops it)")
            if alone:
                self.stdout.write(f"Sign in once with: {site}{link}")
            self.stdout.flush()

        server.ready_callable = ready
        server.run()
        _end_in_any_case()
        if lock:
            lock.close()
        if not server.listening_addresses:  # it has ended, or not begun, because of that
            raise CommandError(f"Nothing can listen on {host}:{port}: is the port taken? --port names another.")


def _lock() -> IO[str]:
    """Hold the data folder: SQLite and the in-memory layer serve one process."""
    lock = (settings.DATA_DIR / "serve.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise CommandError(
            f"Another Stepline uses {settings.DATA_DIR}. Stop it, or give this one a DATA_DIR of its own; for several "
            "processes set DATABASE_URL and REDIS_URL."
        ) from None
    return lock


def _start_worker(*, alone: bool) -> Callable[[], Awaitable[None]]:
    """Run a worker on daphne's loop. What is returned has it hand its runs over, and ends it."""
    supervisor = Supervisor(alone=alone)
    workers: list[Any] = [supervisor, Deliverer(supervisor.name), *senders(supervisor.name, site_url())]
    working = [twisted_loop.create_task(one.run()) for one in workers]

    async def end() -> None:
        for one in workers:
            one.stop()
        await asyncio.wait(working)

    return end


def _end_in_any_case() -> None:
    """A thread that is still at work, or that waits for the loop, keeps the process for a while only."""

    def give_up() -> None:
        logger.critical("a thread did not end; the process ends without it")
        os._exit(1)

    timer = threading.Timer(THREAD_SECONDS, give_up)
    timer.daemon = True
    timer.start()
