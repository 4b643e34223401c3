"""For whoever watches the site: is the process up, and can it do its work. No sign-in, no secrets."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable

from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from runs.models import EpochNow, Worker

PATIENCE = 3.0  # seconds for each check
LEAST_SPACE = 64 * 1024**2  # bytes

Check = Callable[[], Awaitable[str]]


class Unready(Exception):
    """Why a check failed, in words."""


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
async def readyz(request: HttpRequest) -> HttpResponse:
    """{"ready": …, "checks": {name: {"ok": …, "detail": …}}}; 503 when one fails."""
    results = await asyncio.gather(*(outcome(check) for check in CHECKS.values()))
    report = dict(zip(CHECKS, results, strict=True))
    ready = all(result["ok"] for result in results)
    return JsonResponse({"ready": ready, "checks": report}, status=200 if ready else 503)


async def outcome(check: Check) -> dict[str, object]:
    # Not wait_for: that would wait for a thread which cannot be cancelled.
    task = asyncio.ensure_future(check())
    done, _ = await asyncio.wait({task}, timeout=PATIENCE)
    if not done:
        task.cancel()
        return {"ok": False, "detail": f"no answer within {PATIENCE:g} seconds"}
    error = task.exception()
    if error is None:
        return {"ok": True, "detail": task.result()}
    # Other errors may hold addresses and passwords: their kind is enough here.
    return {
        "ok": False,
        "detail": str(error) if isinstance(error, Unready) else f"failed ({type(error).__name__})",
    }


async def database() -> str:
    def ask() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM runs_run LIMIT 1")

    try:
        await database_sync_to_async(ask, thread_sensitive=False)()
    except DatabaseError as error:
        raise Unready(
            f"the database does not answer ({type(error).__name__}); is it up, was 'manage.py migrate' run?"
        ) from None
    return "answers"


async def layer() -> str:
    channels = get_channel_layer()
    if channels is None:
        raise Unready("there is no channel layer")
    try:
        channel = await channels.new_channel()
        await channels.send(channel, {"type": "ready.check"})
        await channels.receive(channel)
    except OSError as error:
        raise Unready(f"the channel layer does not answer ({type(error).__name__}); is Redis up?") from None
    return "carries messages"


async def worker() -> str:
    def beating() -> int:
        return Worker.objects.filter(beat_at__gt=EpochNow() - Worker.LATEST_BEAT).count()

    try:
        count = await database_sync_to_async(beating, thread_sensitive=False)()
    except DatabaseError:
        raise Unready("not known, because the database does not answer") from None
    if not count:
        raise Unready(
            f"no worker has been heard of for {Worker.LATEST_BEAT:g} seconds; runs stay queued until one starts"
        )
    return f"{count} at work"


async def disk() -> str:
    """Of SQLite only: where the database is elsewhere, so is its disk."""
    if connection.vendor != "sqlite":
        return "not needed: the database is not on this machine's disk"
    free = (await asyncio.to_thread(shutil.disk_usage, settings.DATA_DIR)).free
    if free < LEAST_SPACE:
        raise Unready(
            f"{free // 1024**2} MiB are free in the data folder; at least {LEAST_SPACE // 1024**2} are needed"
        )
    return f"{free // 1024**2} MiB free"


CHECKS: dict[str, Check] = {"database": database, "layer": layer, "worker": worker, "disk": disk}
