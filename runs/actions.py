"""What a person or a program may do: launch, attach, retry, stop watching, and edit what can be launched.

An action checks, writes an intent and its entry in the audit log in one transaction, and pokes the workers. It never
talks to the upstream. `user` is who does it; None: a command.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from asgiref.sync import async_to_sync
from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import Deed, User
from runs import archive, catalogue, input_schema, keeping, publish, store, vault
from runs.catalogue import (
    Overtaken,
    Refused,
    Taken,
    check_json,
    check_name,
    check_upstream,
    default_upstream,
    masked_places,
    mistake,
    places_masked,
    read_definition,
    unsealed,
)
from runs.core import plan as plans
from runs.core import redact
from runs.core import schema as schemas
from runs.core.archive import Damaged, RunRecord, Seal, read, sealed
from runs.models import Run, Upstream, Workflow, WorkflowVersion

__all__ = [
    "Damaged",
    "Overtaken",
    "Refused",
    "Taken",
    "attach",
    "default_upstream",
    "delete_upstream",
    "delete_workflow",
    "import_run",
    "launch",
    "mint_run_name",
    "prune",
    "read_definition",
    "restore_version",
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
    also: Callable[[Run], None] | None = None,
) -> Run:
    """A new run, queued for a worker. The definition is the one given, else the workflow's of that name.

    `inputs` are merged over the definition's default_inputs, and those over the defaults of its input_schema; a masked
    value among them stands for the default that it masks. `also` is called in the transaction that makes the run; what
    it raises undoes both. Raises Refused, or Taken when the upstream has a run of that name.
    """
    version = retry_of.workflow_version if retry_of else None
    if definition is None:
        workflow = workflow or _workflow(flow_name, upstream)
        upstream = upstream or workflow.upstream
        definition, version = unsealed(workflow.sealed), workflow.version
    else:
        upstream = upstream or default_upstream()
    check_upstream(upstream)
    assert definition is not None
    masker = vault.masker(upstream)
    with places_masked(masker):
        read_definition(definition)
    check_json(inputs or {}, "inputs")
    flow_name = flow_name or (workflow.flow_name if workflow else str(definition.get("flow_name") or ""))
    check_name(flow_name, "flow_name")
    run_name = run_name or mint_run_name(flow_name)
    check_name(run_name, "run_name")

    masked = schemas.masked({**definition, "flow_name": flow_name}, masker)
    defaults = _defaults(definition)
    merged = {**defaults, **_unmasked(inputs or {}, _defaults(masked), defaults)}
    if (schema := schemas.of(definition)) is not None:
        _check_inputs(schema, merged, masker)
    body = {**plans.as_sent(definition), "default_inputs": merged, "flow_name": flow_name, "run_name": run_name}
    if len(json.dumps(body)) > MAX_BODY:
        raise Refused(f"The launch is larger than {MAX_BODY // 1024**2} MiB.", (mistake("inputs", "Too large."),))
    try:
        with transaction.atomic():
            run = store.create_run(
                upstream=upstream,
                flow_name=flow_name,
                run_name=run_name,
                user_id=user.pk if user else None,
                workflow=workflow,
                workflow_version=version,
                retry_of_id=retry_of.pk if retry_of else None,
                definition=masked,
                inputs=masker.value(merged),
                sealed=vault.seal(body),
                plan=read_definition(schemas.without(masked)),  # names and tags are stored, too, and events come masked
            )
            deed, detail = (Deed.RUN_RETRIED, f"again of run {retry_of.pk}") if retry_of else (Deed.RUN_LAUNCHED, "")
            audit.record(deed, user, _named(run), detail)
            if also:
                also(run)
    except IntegrityError:
        raise _taken(upstream, flow_name, run_name) from None
    _poke()
    _announce(run.pk)
    return run


def attach(
    *,
    upstream: Upstream | None = None,
    flow_name: str,
    run_name: str,
    user: User | None = None,
    also: Callable[[Run], None] | None = None,
) -> Run:
    """Follow a run that was started elsewhere; `also` as in launch. Raises Refused, or Taken when it is followed
    already.
    """
    upstream = upstream or default_upstream()
    check_upstream(upstream)
    check_name(flow_name, "flow_name")
    check_name(run_name, "run_name")
    try:
        with transaction.atomic():
            run = store.create_run(
                upstream=upstream,
                flow_name=flow_name,
                run_name=run_name,
                user_id=user.pk if user else None,
                workflow=Workflow.objects.filter(upstream=upstream, flow_name=flow_name).first(),
            )
            audit.record(Deed.RUN_ATTACHED, user, _named(run))
            if also:
                also(run)
    except IntegrityError:
        taken = _taken(upstream, flow_name, run_name)
        raise Taken(taken.message, (mistake("run_name", "This run is followed already."),)) from None
    _poke()
    _announce(run.pk)
    return run


def retry(
    run: Run,
    *,
    inputs: dict[str, Any] | None = None,
    run_name: str = "",
    user: User | None = None,
    also: Callable[[Run], None] | None = None,
) -> Run:
    """A new run of what this one was launched with, other inputs merged over its own; linked to it by `retry_of`.
    `also` as in launch.
    """
    launched = getattr(run, "launch", None)
    if launched is None or not launched.sealed:
        came = "started elsewhere" if launched is None else "imported, and files hold no secrets"
        raise Refused(f"{run} was {came}, so what it was launched with is not known. Launch its workflow instead.")
    return launch(
        flow_name=run.flow_name,
        run_name=run_name,
        inputs=inputs,
        upstream=run.upstream,
        definition=unsealed(launched.sealed),
        workflow=run.workflow,
        retry_of=run,
        user=user,
        also=also,
    )


def stop_watching(run: Run, *, user: User | None = None) -> Run:
    """Ask the run's follower to end. The run itself goes on: the upstream has no way to cancel one."""
    if run.ended:
        raise Refused(f"{run} has ended ({run.status}); nobody is watching it any more.")
    with transaction.atomic():
        store.request_stop(run.pk)
        audit.record(Deed.RUN_STOPPED, user, _named(run))
    _poke()
    run.refresh_from_db()
    return run


# --- whole runs that come and go: written by runs/keeping.py -----------------------------------------------------


def import_run(lines: Callable[[], Iterable[bytes]], *, user: User | None = None) -> tuple[Run, bool]:
    """The run of an exported file, and whether it is new here. `lines` opens the file anew at each call.

    Raises Damaged where it is no whole export, Taken where another run of that name is here; nothing is stored then.
    """
    seal, first = Seal(), None
    for record in sealed(read(lines())):
        first = first or (record if isinstance(record, RunRecord) else None)
        seal.add(record)
    assert first is not None  # read has seen one
    ended = first.status in Run.ENDED and first.connection == Run.Connection.CLOSED
    if not ended:
        raise Refused("The run was still going on when it was exported. Export it again once it has ended.")
    for name, place in ((first.flow_name, "flow_name"), (first.run_name, "run_name")):
        check_name(name, place)
    upstream = Upstream.objects.filter(name=first.upstream).first()
    there = Run.objects.filter(upstream=upstream, flow_name=first.flow_name, run_name=first.run_name).first()
    if there is None:
        try:
            with transaction.atomic():
                upstream = upstream or catalogue.upstream_of_imports(first.upstream)
                run = keeping.insert_run(upstream, read(lines()))
                audit.record(Deed.RUN_IMPORTED, user, _named(run))
        except IntegrityError:  # imported by somebody else meanwhile
            raise _taken(upstream or default_upstream(), first.flow_name, first.run_name) from None
        return run, True
    here = Seal()
    for record in sealed(archive.records(there)):
        here.add(record)
    if here.end() != seal.end():
        raise Taken(f"Another run of this name is here already (run {there.pk}), and it is not the same.")
    return there, False


def prune(before: float, *, user: User | None = None) -> Iterator[keeping.Removed]:
    """Remove what had ended before this time in epoch seconds; yields what has gone, step by step."""
    runs = events = 0
    try:
        for gone in keeping.remove(before):
            runs, events = runs + gone.runs, events + gone.events
            yield gone
    finally:
        if runs:
            then = datetime.fromtimestamp(before, UTC).isoformat(timespec="seconds")
            audit.record(Deed.RUNS_REMOVED, user, f"{runs} runs", f"ended before {then}, {events} events")


# --- what can be launched, and where: written by the catalogue ----------------------------------------------------


def save_workflow(*, user: User | None = None, **fields: Any) -> Workflow:
    """As catalogue.save_workflow, with its entry in the log."""
    with transaction.atomic():
        saved = catalogue.save_workflow(user=user, **fields)
        version = "new" if fields.get("workflow") is None else f"version {saved.version}"
        detail = ", ".join(filter(None, (version, fields.get("origin"))))
        audit.record(Deed.WORKFLOW_SAVED, user, f"workflow {saved.flow_name}", detail)
    return saved


def restore_version(version: WorkflowVersion, *, user: User | None = None) -> Workflow:
    """Make this version's definition the present one, as a new version. Its name and how it is watched stay."""
    workflow = version.workflow
    return save_workflow(
        upstream=workflow.upstream,
        definition=unsealed(version.sealed),
        description=workflow.description,
        flow_name=workflow.flow_name,
        workflow=workflow,
        origin=f"restored from version {version.number}",
        user=user,
    )


def delete_workflow(workflow: Workflow, *, user: User | None = None) -> None:
    """Its runs stay."""
    with transaction.atomic():
        audit.record(Deed.WORKFLOW_DELETED, user, f"workflow {workflow.flow_name}")
        catalogue.delete_workflow(workflow)


def save_upstream(*, user: User | None = None, **fields: Any) -> Upstream:
    """As catalogue.save_upstream, with its entry in the log: the addresses, and whether there is a new key."""
    key = {None: "", "": ", key removed"}.get(fields.get("api_key"), ", new key")
    with transaction.atomic():
        saved = catalogue.save_upstream(**fields)
        addresses = " ".join(filter(None, (saved.api_url, saved.socket_url, saved.studio_url)))
        audit.record(Deed.UPSTREAM_SAVED, user, f"upstream {saved.name}", f"{addresses}{key}")
    return saved


def delete_upstream(upstream: Upstream, *, user: User | None = None) -> None:
    """Raises Refused while runs or workflows belong to it."""
    with transaction.atomic():
        audit.record(Deed.UPSTREAM_DELETED, user, f"upstream {upstream.name}")
        catalogue.delete_upstream(upstream)


# ------------------------------------------------------------------------------------------------------------------


def _named(run: Run) -> str:
    return f"run {run.pk}: {run.flow_name} / {run.run_name}"


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


def _defaults(definition: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a launch that says nothing of them; of a masked definition, as its form shows them."""
    return {**schemas.defaults(schemas.of(definition)), **(definition.get("default_inputs") or {})}


def _check_inputs(schema: dict[str, Any], inputs: dict[str, Any], masker: redact.Masker) -> None:
    """Raises Refused with each place at which the inputs do not fit the schema."""
    if mistakes := masked_places(input_schema.input_mistakes(schema, inputs), masker):
        first = f"{mistakes[0].place}: {mistakes[0].message}"
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        raise Refused(f"The inputs do not fit the workflow's input_schema. {first}{more}", mistakes)


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
