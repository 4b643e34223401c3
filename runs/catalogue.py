"""The only writer of upstreams and workflows: what can be launched, and where. Definitions are kept masked for the
pages and encrypted for launching.
"""

import json
import logging
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.db import IntegrityError, transaction

from accounts.models import User
from outgoing.addresses import Forbidden, check
from outgoing.dialling import check_name as check_host_name
from runs import input_schema, vault
from runs.core import changes, redact
from runs.core import plan as plans
from runs.core import schema as schemas
from runs.core.decode import MAX_DEPTH
from runs.core.plan import Mistake, PlanError
from runs.core.text import storable
from runs.models import Upstream, Workflow, WorkflowVersion

DEFAULT, SANDBOX = "default", "sandbox"
HTTP, SOCKET = ("http", "https"), ("ws", "wss")
KEY_HINT = 4  # last characters of a key that the pages show

# The fields of a workflow that say how its runs are watched: least and most value, and what it is.
WATCHING: dict[str, tuple[float, float, str] | None] = {
    "deadline_seconds": (1, 366 * 86400, "A deadline in seconds"),
    "retry_limit": (0, 20, "How often to launch again"),
    "retry_pause": (0, 86400, "The pause before the first retry, in seconds,"),
    "retry_on": None,
}
MOST_TYPES = 50
MAX_KEY = 1000  # characters of a name in what is launched
MOST_VERSIONS = 50  # of a workflow; older ones go

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")

logger = logging.getLogger(__name__)


class Refused(Exception):
    """What a person asked for cannot be done; `mistakes` say where, each with its place."""

    def __init__(self, message: str, mistakes: tuple[Mistake, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.mistakes = mistakes


class Taken(Refused):
    """The name is in use."""


class Overtaken(Refused):
    """Somebody else has saved it since it was read."""


def mistake(place: str, message: str, task: str | None = None) -> Mistake:
    return Mistake(place=place, task=task, message=message)


def unsealed(sealed: str) -> Any:
    """What was sealed. Raises Refused when the keys at hand do not open it."""
    try:
        return vault.unseal(sealed)
    except vault.Unreadable as error:
        raise Refused(str(error)) from None


def check_name(name: str, place: str) -> None:
    """Raises Refused for a flow or run name that cannot be an address."""
    words = "The flow name" if place == "flow_name" else "The run name"
    problem = ""
    if not name:
        problem = "is empty"
    elif len(name) > 300:
        problem = f"has {len(name)} characters; at most 300 can be used"
    elif name in (".", ".."):
        problem = f"is {name!r}, which an address would lose"
    elif _UNPRINTABLE.search(name):
        problem = "has control characters or broken text in it"
    if problem:
        raise Refused(f"{words} {problem}.", (mistake(place, f"{words} {problem}."),))


def check_json(value: Any, place: str) -> None:
    """Raises Refused for what cannot be sent as JSON, or would come back in events that nest too deeply to be read."""
    depth = -1
    level: list[Any] = [[value]]
    while level:
        depth += 1
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        problem = f"is nested deeper than {MAX_DEPTH}" if depth > MAX_DEPTH else ""
        # What is told of each place names the way to it: long keys over many places would fill the memory.
        if any(isinstance(one, dict) and max(map(len, one), default=0) > MAX_KEY for one in level):
            problem = f"holds a name of more than {MAX_KEY:,} characters"
        if any(isinstance(one, float) and not math.isfinite(one) for one in level):
            problem = "holds NaN or Infinity, which are no JSON"
        if problem:
            raise Refused(f"{place} {problem}.", (mistake(place, f"This {problem}."),))


# --- upstreams ------------------------------------------------------------------------------------------------


def default_upstream() -> Upstream:
    """The one that is meant where none is named: `default` when the environment defines it, else the sandbox."""
    found = Upstream.objects.filter(name=DEFAULT).first() or Upstream.objects.filter(name=SANDBOX).first()
    if found is None:
        raise Refused("There is no upstream yet. An administrator can add one on the page Upstreams.")
    return found


def save_upstream(
    *,
    upstream: Upstream | None,
    name: str,
    api_url: str,
    socket_url: str,
    studio_url: str = "",
    api_key: str | None = None,
) -> Upstream:
    """Make (upstream is None) or change an upstream. `api_key`: None keeps the present one, '' removes it."""
    mistakes = [
        *_name_mistakes(name.strip()),
        *_address_mistakes("api_url", api_url, HTTP, look_up=True),
        *_address_mistakes("socket_url", socket_url, SOCKET, look_up=True),
        *(_address_mistakes("studio_url", studio_url, HTTP, look_up=True) if studio_url else []),
        *([] if _can_be_sent(api_key or "") else [mistake("api_key", "A key is plain ASCII text on one line.")]),
    ]
    if mistakes:
        raise Refused("The upstream was not saved.", tuple(mistakes))
    row = upstream or Upstream()
    row.name = name.strip()
    row.api_url, row.socket_url, row.studio_url = (url.strip().rstrip("/") for url in (api_url, socket_url, studio_url))
    if api_key is not None:
        row.key_sealed = vault.seal(api_key) if api_key else ""
        row.key_hint = api_key[-KEY_HINT:] if len(api_key) >= 3 * KEY_HINT else ""
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        raise Taken(
            f"There is an upstream named {row.name!r} already.", (mistake("name", "This name is taken."),)
        ) from None
    return row


def delete_upstream(upstream: Upstream) -> None:
    """Raises Refused while runs or workflows belong to it."""
    if upstream.runs.exists() or upstream.workflows.exists():
        raise Refused(f"{upstream.name} has runs or workflows; an upstream can be removed only while it has none.")
    upstream.delete()


def _can_be_sent(key: str) -> bool:
    """Whether an HTTP header can carry it."""
    return key.isascii() and not _UNPRINTABLE.search(key)


def _name_mistakes(name: str) -> list[Mistake]:
    if not name:
        return [mistake("name", "An upstream needs a name.")]
    if len(name) > 100 or _UNPRINTABLE.search(name):
        return [mistake("name", "A name has at most 100 characters, and no control characters.")]
    return []


def _address_mistakes(place: str, url: str, schemes: tuple[str, ...], *, look_up: bool = False) -> list[Mistake]:
    try:
        check(url, schemes)
        if look_up:
            check_host_name(url)
    except Forbidden as forbidden:
        return [mistake(place, f"{forbidden}.")]
    return []


def check_upstream(upstream: Upstream) -> None:
    """Raises Refused when requests may not go to this upstream (any more), as far as its addresses tell."""
    mistakes = [
        *_address_mistakes("upstream", upstream.api_url, HTTP),
        *_address_mistakes("upstream", upstream.socket_url, SOCKET),
    ]
    if mistakes:
        raise Refused(f"The upstream {upstream.name} may not be used: {mistakes[0].message}", tuple(mistakes))


def upstream_of_imports(name: str) -> Upstream:
    """The upstream of this name; where there is none a new one without addresses, at which nothing can be launched."""
    return Upstream.objects.get_or_create(name=name, defaults={"api_url": "", "socket_url": ""})[0]


# --- workflows ------------------------------------------------------------------------------------------------


def read_definition(definition: object) -> plans.Plan:
    """The plan of a definition. Raises Refused with the place of each mistake."""
    check_json(definition, "definition")
    if isinstance(definition, dict) and not isinstance(definition.get("default_inputs") or {}, dict):
        message = "default_inputs must be a JSON object."
        raise Refused(f"The definition cannot be launched: {message}", (mistake("default_inputs", message),))
    found: tuple[Mistake, ...] = ()
    if isinstance(definition, dict) and schemas.NAME in definition:
        found = tuple(input_schema.schema_mistakes(definition[schemas.NAME]))
    try:
        plan = plans.read(definition, new=True)
    except PlanError as error:
        found = (*error.mistakes, *found)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise Refused(f"The definition cannot be launched: {found[0].message}{more}", found)
    return plan


def masked_places(mistakes: Iterable[Mistake], masker: redact.Masker) -> tuple[Mistake, ...]:
    """Places name the keys of a definition, where secrets may stand that a page showed masked."""
    return tuple(msgspec.structs.replace(one, place=masker.text(one.place)) for one in mistakes)


@contextmanager
def places_masked(masker: redact.Masker) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        raise Refused(refused.message, masked_places(refused.mistakes, masker)) from None


def check_watching(watching: dict[str, Any]) -> None:
    """Raises Refused for a deadline or a rule of retries that makes no sense."""
    assert set(watching) <= set(WATCHING)
    mistakes = []
    for name, bounds in WATCHING.items():
        value = watching.get(name)
        if value is not None and bounds is not None and not bounds[0] <= value <= bounds[1]:
            mistakes.append(mistake(name, f"{bounds[2]} is a number from {bounds[0]:g} to {bounds[1]:g}."))
    types = watching.get("retry_on") or []
    if any(not one.strip() or len(one) > 100 or _UNPRINTABLE.search(one) for one in types) or len(types) > MOST_TYPES:
        mistakes.append(mistake("retry_on", f"At most {MOST_TYPES} types of errors, each of 1 to 100 characters."))
    if mistakes:
        raise Refused("The workflow was not saved.", tuple(mistakes))


def save_workflow(
    *,
    upstream: Upstream,
    definition: Any,
    description: str = "",
    flow_name: str = "",
    workflow: Workflow | None = None,
    seen: int | None = None,
    origin: str = "",
    user: User | None = None,
    **watching: Any,
) -> Workflow:
    """Make (workflow is None) or change a workflow. Where its definition changes it has a new version.

    A secret that the pages showed masked may come back masked: at its own place it stays what it was. `seen`: the
    version that was changed, where that was read earlier than `workflow`; raises Overtaken where another has come
    meanwhile. `origin`: where a version comes from, unless somebody typed it. `watching`: any of the fields that
    WATCHING names; those left out stay as they are.
    """
    check_watching(watching)
    before = None if workflow is None else unsealed(workflow.sealed)
    if workflow is not None:
        definition = _restored(definition, workflow.definition, before)
    masker = vault.masker(upstream)
    with places_masked(masker):
        plan = read_definition(definition)
    name = flow_name or str(definition.get("flow_name") or (workflow.flow_name if workflow else ""))
    check_name(name, "flow_name")
    definition = named(definition, name)
    row = workflow or Workflow()
    shown_before = row.definition if before is not None else {}
    row.upstream, row.flow_name = upstream, name
    row.description = storable(masker.text(description or str(definition.get("description", ""))))
    row.definition = schemas.masked(definition, masker)
    row.sealed = vault.seal(definition)
    row.tasks_total = len(plan.tasks)
    for field, value in watching.items():
        setattr(row, field, value)
    if row.retry_limit and not row.retry_on:
        message = "Name the types of errors after which a run is launched again; without any, none ever is."
        raise Refused("The workflow was not saved.", (mistake("retry_on", message),))
    try:
        with transaction.atomic():
            if before is not None:
                _check_not_overtaken(row, row.version if seen is None else seen)
            changed = before is None or not same(definition, before)
            row.version += int(changed and before is not None)
            row.save()
            if changed:
                change = "" if before is None else changes.words(changes.changes(shown_before, row.definition))
                _keep_version(row, "; ".join(filter(None, (origin, change))), user)
    except IntegrityError:
        raise Taken(
            f"{upstream.name} has a workflow named {name!r} already.", (mistake("flow_name", "This name is taken."),)
        ) from None
    return row


def named(definition: dict[str, Any], flow_name: str) -> dict[str, Any]:
    """A definition as it is stored: with the name of its workflow in it."""
    return {**definition, "flow_name": flow_name}


def same(one: Any, other: Any) -> bool:
    """Whether two definitions are the same JSON: 1, 1.0 and true are three things, the order of names is none."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _restored(definition: Any, masked: Any, original: Any) -> Any:
    try:
        return redact.restore(definition, masked, original)
    except LookupError as error:
        place = str(error.args[0]) if error.args else "definition"
        raise Refused(
            f"At {place} stands a masked secret that was not there before; enter the secret itself.",
            (mistake(place, "A masked secret was not there before; enter the secret itself."),),
        ) from None


def _check_not_overtaken(workflow: Workflow, seen: int) -> None:
    """Holds the row until the transaction ends, so that two who save at once come one after the other."""
    there = Workflow.objects.select_for_update().values_list("version", flat=True).filter(pk=workflow.pk).first()
    if there is None:
        raise Overtaken(f"{workflow.flow_name} was deleted by somebody else meanwhile. Nothing was saved.")
    if there != seen:
        raise Overtaken(
            f"{workflow.flow_name} was saved by somebody else meanwhile: it has version {there} now, and what you "
            f"changed was version {seen}. Nothing was saved; look at that version first."
        )


def _keep_version(workflow: Workflow, change: str, user: User | None) -> None:
    WorkflowVersion.objects.create(
        workflow=workflow,
        number=workflow.version,
        definition=workflow.definition,
        sealed=workflow.sealed,
        change=storable(change),
        saved_by=user,
    )
    WorkflowVersion.objects.filter(workflow=workflow, number__lte=workflow.version - MOST_VERSIONS).delete()


def delete_workflow(workflow: Workflow) -> None:
    """Its runs stay."""
    workflow.delete()


def reseal_upstream(upstream_id: int, before: str, after: str) -> bool:
    """Put another encryption of its key in place of this one. False when it has changed, or gone, meanwhile."""
    return bool(Upstream.objects.filter(pk=upstream_id, key_sealed=before).update(key_sealed=after))


def reseal_workflow(workflow_id: int, before: str, after: str) -> bool:
    """The same for a workflow's definition."""
    return bool(Workflow.objects.filter(pk=workflow_id, sealed=before).update(sealed=after))


def reseal_version(version_id: int, before: str, after: str) -> bool:
    """The same for one of its versions."""
    return bool(WorkflowVersion.objects.filter(pk=version_id, sealed=before).update(sealed=after))


# --- defaults ---------------------------------------------------------------------------------------------------


def ensure_defaults(sandbox_url: str) -> None:
    """Bring the upstreams in line with the environment; offer the shipped workflows when the sandbox is new.

    `sandbox_url`: where it answers, http…/sandbox; '' when this process neither serves it nor knows where it is.
    """
    if settings.UPSTREAM_API_URL:
        key = settings.UPSTREAM_API_KEY
        Upstream.objects.update_or_create(
            name=DEFAULT,
            defaults={
                "api_url": settings.UPSTREAM_API_URL,
                "socket_url": settings.UPSTREAM_SOCKET_URL,
                "studio_url": settings.UPSTREAM_STUDIO_URL,
                "key_sealed": vault.seal(key) if key else "",
                "key_hint": key[-KEY_HINT:] if len(key) >= 3 * KEY_HINT else "",
            },
        )
    if sandbox_url:
        _offer_sandbox(sandbox_url)
    for upstream in Upstream.objects.filter(name__in=(DEFAULT, SANDBOX)):
        try:
            check_upstream(upstream)
        except Refused as refused:
            logger.warning("%s", refused)


def _offer_sandbox(sandbox_url: str) -> None:
    upstream, made = Upstream.objects.update_or_create(
        name=SANDBOX,
        defaults={
            "api_url": sandbox_url,
            "socket_url": "ws" + sandbox_url.removeprefix("http"),
            "studio_url": sandbox_url,
        },
    )
    if made:
        for path in sorted(Path(settings.SHIPPED_WORKFLOWS).glob("*.json")):
            save_workflow(upstream=upstream, definition=json.loads(path.read_text()))
