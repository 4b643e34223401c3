"""What a person or a program may do: launch, attach, retry, stop watching, and edit what can be launched.

An action checks, writes an intent and pokes the workers. It never talks to the upstream.
"""

import json
import secrets
import time
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import IntegrityError

from accounts.models import User
from runs import publish, store, vault
from runs.catalogue import (
    Refused,
    Taken,
    check_json,
    check_name,
    default_upstream,
    delete_upstream,
    delete_workflow,
    mistake,
    read_definition,
    save_upstream,
    save_workflow,
    unsealed,
)
from runs.core import plan as plans
from runs.core import redact
from runs.models import Run, Upstream, Workflow

__all__ = [
    "Refused",
    "Taken",
    "attach",
    "default_upstream",
    "delete_upstream",
    "delete_workflow",
    "launch",
    "mint_run_name",
    "retry",
    "save_upstream",
    "save_workflow",
    "stop_watching",
]

MAX_BODY = 8 * 1024 * 1024  # bytes of a launch


def mint_run_name(flow_name: str) -> str:
    """A run name that cannot collide: the name is a run's only address at the upstream."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"


def _poke() -> None:
    async_to_sync(publish.poke_workers)()


def _announce(run_id: int) -> None:
    async_to_sync(publish.ring)({run_id})


def launch(
    *,
    flow_name: str = "",
    run_name: str = "",
    inputs: dict[str, Any] | None = None,
    upstream: Upstream | None = None,
    definition: dict[str, Any] | None = None,
    workflow: Workflow | None = None,
    retry_of: Run | None = None,
    user: User | None = None,
) -> Run:
    """A new run, queued for a worker. The definition is the one given, else the workflow's of that name.

    `inputs` are merged over the definition's default_inputs; a masked value among them stands for the default that it
    masks. Raises Refused, or Taken when the upstream has a run of that name.
    """
    if definition is None:
        workflow = workflow or _workflow(flow_name, upstream)
        upstream = upstream or workflow.upstream
        definition = unsealed(workflow.sealed)
    else:
        upstream = upstream or default_upstream()
    assert definition is not None
    read_definition(definition)
    check_json(inputs or {}, "inputs")
    flow_name = flow_name or (workflow.flow_name if workflow else str(definition.get("flow_name") or ""))
    check_name(flow_name, "flow_name")
    run_name = run_name or mint_run_name(flow_name)
    check_name(run_name, "run_name")

    masker = vault.masker(upstream)
    defaults = definition.get("default_inputs") or {}
    merged = {**defaults, **_unmasked(inputs or {}, masker.value(defaults), defaults)}
    body = {**plans.strip_canvas(definition), "default_inputs": merged, "flow_name": flow_name, "run_name": run_name}
    body = {"edges": [], "flow_data": {}, **body}
    body.pop("description", None)
    if len(json.dumps(body)) > MAX_BODY:
        raise Refused(f"The launch is larger than {MAX_BODY // 1024**2} MiB.", (mistake("inputs", "Too large."),))
    masked = masker.value({**definition, "flow_name": flow_name})
    try:
        run = store.create_run(
            upstream=upstream,
            flow_name=flow_name,
            run_name=run_name,
            deadline_seconds=settings.RUN_DEADLINE_SECONDS,
            user_id=user.pk if user else None,
            workflow=workflow,
            retry_of=retry_of,
            definition=masked,
            inputs=masker.value(merged),
            sealed=vault.seal(body),
            plan=read_definition(masked),  # names and tags are stored, too, and events come masked
        )
    except IntegrityError:
        raise _taken(upstream, flow_name, run_name) from None
    _poke()
    _announce(run.pk)
    return run


def attach(*, upstream: Upstream | None = None, flow_name: str, run_name: str, user: User | None = None) -> Run:
    """Follow a run that was started elsewhere. Raises Refused, or Taken when it is followed already."""
    upstream = upstream or default_upstream()
    check_name(flow_name, "flow_name")
    check_name(run_name, "run_name")
    try:
        run = store.create_run(
            upstream=upstream,
            flow_name=flow_name,
            run_name=run_name,
            deadline_seconds=settings.RUN_DEADLINE_SECONDS,
            user_id=user.pk if user else None,
            workflow=Workflow.objects.filter(upstream=upstream, flow_name=flow_name).first(),
        )
    except IntegrityError:
        taken = _taken(upstream, flow_name, run_name)
        raise Taken(taken.message, (mistake("run_name", "This run is followed already."),)) from None
    _poke()
    _announce(run.pk)
    return run


def retry(run: Run, *, inputs: dict[str, Any] | None = None, run_name: str = "", user: User | None = None) -> Run:
    """A new run of what this one was launched with, other inputs merged over its own; linked to it by `retry_of`."""
    launched = getattr(run, "launch", None)
    if launched is None:
        raise Refused(
            f"{run} was started elsewhere, so what it was launched with is not known. Launch its workflow instead."
        )
    return launch(
        flow_name=run.flow_name,
        run_name=run_name,
        inputs=inputs,
        upstream=run.upstream,
        definition=unsealed(launched.sealed),
        workflow=run.workflow,
        retry_of=run,
        user=user,
    )


def stop_watching(run: Run, *, user: User | None = None) -> Run:
    """Ask the run's follower to end. The run itself goes on: the upstream has no way to cancel one."""
    if run.ended:
        raise Refused(f"{run} has ended ({run.status}); nobody is watching it any more.")
    store.request_stop(run.pk)
    _poke()
    run.refresh_from_db()
    return run


def _workflow(flow_name: str, upstream: Upstream | None) -> Workflow:
    check_name(flow_name, "flow_name")
    named = Workflow.objects.select_related("upstream").filter(flow_name=flow_name)
    if upstream is not None:
        found = named.filter(upstream=upstream).first()
    else:
        chosen = default_upstream()
        found = named.filter(upstream=chosen).first() or (named.first() if named.count() == 1 else None)
    if found is None:
        where = f" at {upstream.name}" if upstream else ""
        raise Refused(
            f"There is no workflow named {flow_name!r}{where}. Save it first, or send its definition.",
            (mistake("flow_name", "No workflow has this name."),),
        )
    return found


def _unmasked(inputs: dict[str, Any], masked_defaults: Any, defaults: Any) -> dict[str, Any]:
    try:
        restored: dict[str, Any] = redact.restore(inputs, masked_defaults, defaults)
    except LookupError as error:
        place = f"inputs.{error.args[0]}" if error.args else "inputs"
        raise Refused(
            f"{place} holds a masked secret that is not the default's; enter the secret itself.",
            (mistake(place, "A masked secret that is not the default's; enter the secret itself."),),
        ) from None
    return restored


def _taken(upstream: Upstream, flow_name: str, run_name: str) -> Taken:
    there = Run.objects.filter(upstream=upstream, flow_name=flow_name, run_name=run_name).first()
    number = f" (run {there.pk})" if there else ""
    return Taken(
        f"{flow_name} has a run named {run_name!r} already{number}.",
        (mistake("run_name", "This run name is taken; choose another."),),
    )
