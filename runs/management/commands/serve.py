"""`serve`: daphne, and the worker in the same loop unless told otherwise."""

from daphne.server import Server, twisted_loop  # first: it installs the asyncio reactor  # isort: skip

import fcntl
from typing import IO, Any, cast

from channels.routing import get_default_application
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.autoreload import run_with_reloader
from twisted.internet import defer, reactor

from accounts.signin import link_for_start
from runs import catalogue, store
from runs.worker.supervisor import Supervisor


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
        if alone and not options["no_worker"]:
            store.forget_leases()
        catalogue.ensure_defaults(settings.SANDBOX_URL or (f"{site}/sandbox" if settings.SANDBOX else ""))
        escaped = host.replace(":", r"\:")
        server = Server(
            application=get_default_application(),
            endpoints=[f"tcp:port={port}:interface={escaped}"],
            signal_handlers=signal_handlers,
            server_name="stepline",
            websocket_timeout=-1,
            application_close_timeout=5,
        )

        def ready() -> None:
            if not options["no_worker"]:
                _start_worker()
            self.stdout.write(f"Stepline is at {site}/ (Ctrl-C stops it)")
            if alone:
                self.stdout.write(f"Sign in once with: {site}{link_for_start()}")
            self.stdout.flush()

        server.ready_callable = ready
        server.run()
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


def _start_worker() -> None:
    """Run a worker on daphne's loop; the reactor's end waits until it has handed its runs over."""
    supervisor = Supervisor()
    working = twisted_loop.create_task(supervisor.run())

    def stop() -> "defer.Deferred[Any]":
        supervisor.stop()
        return defer.Deferred.fromFuture(working)

    cast(Any, reactor).addSystemEventTrigger("before", "shutdown", stop)
