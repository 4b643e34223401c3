"""The upstream's HTTP calls, and one of our own that plays a recording. Errors are JSON with a `message`."""

import math
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from sandbox import access, catalogue, definition, recording
from sandbox.engine import TooBusy, orchestrator

View = Callable[..., Coroutine[Any, Any, HttpResponse]]


def _served(method: str) -> Callable[[View], View]:
    """A call of the sandbox: one method, no sign-in and no CSRF token (access.WHY_NO_SIGN_IN)."""

    def decorate(view: View) -> View:
        @wraps(view)
        async def served(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if access.is_foreign_page(request.headers.get("Origin")):
                return _error(403, "A web page of another host may not use this sandbox; programs may.")
            if request.method != method:
                response = _error(405, f"{request.path} answers {method} only.")
                response["Allow"] = method
                return response
            return await view(request, *args, **kwargs)

        return csrf_exempt(served)

    return decorate


@_served("POST")
async def run_dag(request: HttpRequest) -> HttpResponse:
    """Start a run: {"status": "processing", "task_id"}; 422 with `detail`, or 400, when it is refused."""
    try:
        run = orchestrator().start(definition.read(request.body))
    except definition.Refused as refused:
        return _error(refused.status, refused.message, detail=refused.detail)
    except RequestDataTooBig:
        return _error(413, "The workflow is larger than this server reads; make it smaller.")
    except TooBusy as busy:
        return _error(503, str(busy))
    return JsonResponse({"status": run.status, "task_id": run.task_id})


@_served("GET")
async def task_status(request: HttpRequest, task_id: str) -> HttpResponse:
    """{"status": processing | completed | failed, "results": {task name: output}}; 404 for an unknown id."""
    run = orchestrator().find(task_id)
    if run is None:
        return _error(404, f"No run has the task_id {task_id!r}; finished runs are forgotten after a while.")
    return JsonResponse({"status": run.status, "results": run.results})


@_served("GET")
async def workflows(request: HttpRequest) -> HttpResponse:
    """The shipped workflows, a list of the studio's items."""
    return JsonResponse(catalogue.items(), safe=False)


@_served("GET")
async def workflow(request: HttpRequest, flow_id: str) -> HttpResponse:
    found = catalogue.item(flow_id)
    return JsonResponse(found) if found else _error(404, f"No workflow has the flow_id {flow_id!r}.")


@_served("POST")
async def recordings(request: HttpRequest) -> HttpResponse:
    """Play the NDJSON of the body to whoever listens at ?flow_name=&run_name=, ?speed= times as fast.

    202 {"status": "playing", "flow_name", "run_name", "frames", "seconds", "listeners"}. The names default to
    those in the recording.
    """
    if unknown := sorted(set(request.GET) - {"flow_name", "run_name", "speed"}):
        return _error(422, f"Unknown in the query: {', '.join(unknown)}. Known: flow_name, run_name, speed.")
    try:
        speed = float(request.GET.get("speed", "1"))
    except ValueError:
        speed = math.nan
    if not (math.isfinite(speed) and speed > 0):
        return _error(422, f"speed is {request.GET['speed']!r}; it must be a number above 0, as 4 or 0.5.")
    try:
        tape = recording.read(request.body)
    except RequestDataTooBig:
        return _error(413, f"The recording is too large; at most {recording.MAX_BYTES} bytes are played.")
    except recording.BadRecording as error:
        return _error(413 if len(request.body) > recording.MAX_BYTES else 422, str(error))
    flow_name = request.GET.get("flow_name") or tape.flow_name
    run_name = request.GET.get("run_name") or tape.run_name
    if not flow_name or not run_name:
        return _error(422, "No frame says whose run this is: add ?flow_name= and &run_name=.")
    stage = orchestrator()
    stage.play(tape.frames, (flow_name, run_name), speed)
    answer = {
        "status": "playing",
        "flow_name": flow_name,
        "run_name": run_name,
        "frames": len(tape.frames),
        "seconds": round(tape.seconds / speed, 3),
        "listeners": stage.rooms.listeners((flow_name, run_name)),
    }
    return JsonResponse(answer, status=202)


def _error(status: int, message: str, **more: Any) -> JsonResponse:
    return JsonResponse({"message": message, **more}, status=status)
