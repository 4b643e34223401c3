"""The upstream's own calls: run-dag launches, task-status tells how it goes. Errors are JSON with `message` and
`detail`.
"""

import json
import logging
import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from accounts.limits import TooMany
from dropin.callers import Caller, Denied, caller_of
from runs import actions
from runs.actions import Refused, Taken
from runs.catalogue import check_json, read_definition
from runs.core import plan
from runs.core.decode import ESCAPED, unescaped
from runs.models import Event, Run, Upstream

STATUS = {
    Run.Status.SUCCEEDED: "completed",
    Run.Status.FAILED: "failed",
    Run.Status.REJECTED: "failed",
    Run.Status.LOST: "error",
    Run.Status.STOPPED: "error",
}
GOING_ON = "processing"
TASK_ID = "run-{}"  # the upstream's own is not known yet when a launch is answered
WRAPPED, NAMES = "workflow_data", ("flow_name", "run_name")

View = Callable[..., HttpResponse]

logger = logging.getLogger(__name__)


def error(status: int, message: str, detail: Any = None) -> JsonResponse:
    answer = JsonResponse({"message": message, "detail": message if detail is None else detail}, status=status)
    if status == 401:
        answer["WWW-Authenticate"] = 'Bearer realm="stepline"'
    return answer


def served(method: str, role: str) -> Callable[[View], View]:
    """A call of the upstream: one method, for callers of this role, and every error in the upstream's shape."""

    def decorate(view: View) -> View:
        @wraps(view)
        def answered(request: HttpRequest, *args: Any, **values: Any) -> HttpResponse:
            if request.method != method:
                answer = error(405, f"{request.path} answers {method} only.")
                answer["Allow"] = method
                return answer
            try:
                return view(request, caller_of(request, role), *args, **values)
            except Denied as denied:
                return error(denied.status, denied.message)
            except TooMany as many:
                answer = error(429, str(many))
                answer["Retry-After"] = str(many.wait)
                return answer
            except Taken as taken:
                return error(409, taken.message)
            except Refused as refused:
                return error(422, refused.message, [detail(one.place, one.message) for one in refused.mistakes] or None)
            except RequestDataTooBig:
                most = (settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0) // 1024**2
                return error(413, f"The body is larger than the {most} MiB that are accepted.")
            except (OperationalError, InterfaceError) as trouble:
                logger.warning("%s %s: %s", request.method, request.path, trouble)
                return error(503, "The database does not answer at present; try again shortly.")

        return csrf_exempt(answered)  # caller_of checks where a cookie counts

    return decorate


def detail(place: str, message: str) -> dict[str, Any]:
    """A mistake as the upstream tells it: `tasks[2].params` as ["body", "tasks", 2, "params"]."""
    steps = [int(number) if number else name for number, name in re.findall(r"\[(\d+)\]|([^.\[\]]+)", place)]
    return {"loc": ["body", *steps], "msg": message, "type": "value_error"}


@served("POST", "operator")
def run_dag(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Launch what the body holds: {"status": "processing", "task_id"}, and the run_name where one had to be made up.

    `?upstream=NAME` launches elsewhere than at the default upstream.
    """
    definition, inputs = read(request.body)
    flow_name, run_name = (text(definition, name) for name in NAMES)
    upstream = None
    if wanted := request.GET.get("upstream"):
        upstream = Upstream.objects.filter(name=wanted).first() if "\0" not in wanted else None
        if upstream is None:
            raise Denied(422, f"There is no upstream named {wanted!r}.")
    check_json(definition, "The body")
    if plan.NO_AGENT in (warning.message for warning in read_definition(definition).warnings):
        raise Denied(400, f"{plan.NO_AGENT[0].upper()}{plan.NO_AGENT[1:]}.")
    run = actions.launch(
        flow_name=flow_name,
        run_name=run_name,
        definition=definition,
        inputs=inputs,
        upstream=upstream,
        user=caller.user,
    )
    answer = {"status": GOING_ON, "task_id": TASK_ID.format(run.pk)}
    return JsonResponse(answer if run_name else {**answer, "run_name": run.run_name})


def read(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The definition and the inputs in a body of either form: bare, or {"workflow_data": …, "inputs": …}."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise refusal("", "The body must be a JSON object in UTF-8.") from None
    if not isinstance(found, dict):
        raise refusal("", "The body must be a JSON object.")
    if WRAPPED not in found or "tasks" in found:
        return found, {}
    definition, inputs = found[WRAPPED], found.get("inputs")
    if not isinstance(definition, dict):
        raise refusal(WRAPPED, f"{WRAPPED} must be a JSON object.")
    if not isinstance(inputs, dict | None):
        raise refusal("inputs", "inputs must be a JSON object.")
    return {**{name: found[name] for name in NAMES if name in found}, **definition}, inputs or {}


def text(definition: dict[str, Any], name: str) -> str:
    value = definition.get(name) or ""
    if not isinstance(value, str):
        raise refusal(name, f"{name} must be a text.")
    return value


def refusal(place: str, message: str) -> Refused:
    return Refused(message, (plan.Mistake(place, None, message),))


@served("GET", "viewer")
def task_status(request: HttpRequest, caller: Caller, task_id: str) -> HttpResponse:
    """{"status": processing | completed | failed | error, "results": {task name: output}} of what is stored, masked.

    `message` says why where it failed; `error`: we do not know how it ended, or nobody watches it any more.
    """
    found = re.fullmatch(TASK_ID.format(r"([0-9]{1,15})"), task_id)
    run = Run.objects.filter(pk=int(found[1])).first() if found else None
    if run is None:
        return error(404, "No run has this task_id; only what was launched here is known here.")
    answer: dict[str, Any] = {"status": STATUS.get(Run.Status(run.status), GOING_ON), "results": results(run)}
    if run.ended and run.status != Run.Status.SUCCEEDED:
        answer["message"] = run.notice or (run.error or {}).get("message") or f"The run is {run.status}."
    return JsonResponse(answer)


def results(run: Run) -> dict[str, Any]:
    """Each task's last output. Where its own event did not come, that of the event which ended the run."""
    tasks = list(run.tasks.exclude(output_seq=None).order_by("position").only("name", "output_seq", "inferred"))
    events = Event.objects.filter(run=run, seq__in={task.output_seq for task in tasks})
    payloads: dict[int | None, dict[str, Any]] = {event.seq: payload_of(event) for event in events}
    found = {}
    for task in tasks:
        whole = payloads.get(task.output_seq, {})
        output = whole.get("output")
        if task.inferred:
            outputs = whole.get("output", whole.get("results"))
            output = outputs.get(task.name) if isinstance(outputs, dict) else None
        found[task.name] = output
    return found


def payload_of(event: Event) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(event.payload)
    return unescaped(payload) if ESCAPED in event.flags.split(",") else payload
