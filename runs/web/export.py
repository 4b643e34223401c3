"""A run as one file: a page that shows it with no network, or what `import_run` reads."""

import base64
import json
import re
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
from channels.db import database_sync_to_async
from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from accounts.access import role_required
from accounts.models import Role
from runs import archive
from runs.facts import run_facts
from runs.models import Run
from runs.replay import replay

TYPES: Final = {"html": "text/html", "ndjson": "application/x-ndjson", "json": "application/json"}
PARTS_AT_ONCE = 500
FILES = Path(settings.BASE_DIR, "static", "export")


def read(run_id: int) -> Run:
    """With all that an export names. Raises Run.DoesNotExist."""
    return Run.objects.select_related("upstream", "created_by", "retry_of").get(pk=run_id)


def parts(run: Run, form: str, base_url: str = "") -> Iterator[str]:
    """The text of the file. `form`: one of TYPES; `base_url`: where the site is, for the link in a page."""
    return iter([page(run, base_url)]) if form == "html" else archive.lines(run, form)


def page(run: Run, base_url: str) -> str:
    """The page with its style, its script and its data within; its own policy lets nothing be loaded from anywhere."""
    style, script = ((FILES / name).read_text() for name in ("run.css", "run.js"))
    data = {"run": run_facts(run, base_url=base_url), **msgspec.to_builtins(replay(run))}
    # Nothing in JSON can end a script element once these are escapes.
    text = re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(data, separators=(",", ":")))
    return render_to_string(
        "export/run.html",
        {
            "run": run,
            "policy": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; "
            "form-action 'none'",
            "style": SafeString(style),  # nosec B703  # our own file
            "script": SafeString(script),  # nosec B703
            "data": SafeString(text),  # nosec B703  # escaped above
        },
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


@require_safe
@role_required(Role.VIEWER)
def export(request: HttpRequest, run_id: int) -> HttpResponseBase:
    """The file, as a download; `?format=` is html, ndjson or json."""
    form = request.GET.get("format", "html")
    if form not in TYPES:
        raise BadRequest("`format` is html, ndjson or json.")
    try:
        run = read(run_id)
    except Run.DoesNotExist:
        raise Http404(f"There is no run {run_id}.") from None
    base_url = request.build_absolute_uri("/").rstrip("/")
    return StreamingHttpResponse(
        _streamed(parts(run, form, base_url)),
        content_type=f"{TYPES[form]}; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="run-{run.pk}.{form}"', "Cache-Control": "no-store"},
    )


async def _streamed(texts: Iterator[str]) -> AsyncIterator[bytes]:
    def some() -> bytes:
        return "".join(islice(texts, PARTS_AT_ONCE)).encode()

    while text := await database_sync_to_async(some, thread_sensitive=False)():
        yield text
