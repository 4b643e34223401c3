"""The only writer of upstreams and workflows: what can be launched, and where. Definitions are kept masked for the
pages and encrypted for launching.
"""

import ipaddress
import json
import logging
import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import IntegrityError, transaction

from runs import vault
from runs.core import plan as plans
from runs.core import redact
from runs.core.decode import MAX_DEPTH
from runs.core.plan import Mistake, PlanError
from runs.core.text import storable
from runs.models import Upstream, Workflow

DEFAULT, SANDBOX = "default", "sandbox"
KEY_HINT = 4  # last characters of a key that the pages show

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
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        problem = f"is nested deeper than {MAX_DEPTH}" if depth > MAX_DEPTH else ""
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
        *_address_mistakes("api_url", api_url, ("http", "https")),
        *_address_mistakes("socket_url", socket_url, ("ws", "wss")),
        *(_address_mistakes("studio_url", studio_url, ("http", "https")) if studio_url else []),
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


def _address_mistakes(place: str, url: str, schemes: tuple[str, ...]) -> list[Mistake]:
    expected = " or ".join(f"{scheme}://" for scheme in schemes)
    if len(url) > 500 or _UNPRINTABLE.search(url):
        return [mistake(place, "An address has at most 500 characters, and no control characters.")]
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        return [mistake(place, f"{url!r} is no address.")]
    if parts.scheme not in schemes or not host:
        return [mistake(place, f"{url!r} is no address that starts with {expected}.")]
    if parts.query or parts.fragment or parts.username:
        return [mistake(place, "The address may have no query, fragment or user in it.")]
    if not settings.ALLOW_PRIVATE_UPSTREAMS and _private(host):
        return [mistake(place, f"{host} is a private address, and ALLOW_PRIVATE_UPSTREAMS is off.")]
    return []


def _private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


# --- workflows ------------------------------------------------------------------------------------------------


def read_definition(definition: object) -> plans.Plan:
    """The plan of a definition. Raises Refused with the place of each mistake."""
    check_json(definition, "definition")
    if isinstance(definition, dict) and not isinstance(definition.get("default_inputs") or {}, dict):
        message = "default_inputs must be a JSON object."
        raise Refused(f"The definition cannot be launched: {message}", (mistake("default_inputs", message),))
    try:
        return plans.read(definition)
    except PlanError as error:
        first = error.mistakes[0].message
        more = f" (and {len(error.mistakes) - 1} more)" if len(error.mistakes) > 1 else ""
        raise Refused(f"The definition cannot be launched: {first}{more}", error.mistakes) from None


def save_workflow(
    *,
    upstream: Upstream,
    definition: Any,
    description: str = "",
    flow_name: str = "",
    workflow: Workflow | None = None,
) -> Workflow:
    """Make (workflow is None) or change a workflow.

    A secret that the pages showed masked may come back masked: at its own place it stays what it was.
    """
    if workflow is not None:
        try:
            definition = redact.restore(definition, workflow.definition, unsealed(workflow.sealed))
        except LookupError as error:
            place = str(error.args[0]) if error.args else "definition"
            raise Refused(
                f"At {place} stands a masked secret that was not there before; enter the secret itself.",
                (mistake(place, "A masked secret was not there before; enter the secret itself."),),
            ) from None
    plan = read_definition(definition)
    name = flow_name or str(definition.get("flow_name") or (workflow.flow_name if workflow else ""))
    check_name(name, "flow_name")
    definition = {**definition, "flow_name": name}
    row = workflow or Workflow()
    masker = vault.masker(upstream)
    row.upstream, row.flow_name = upstream, name
    row.description = storable(masker.text(description or str(definition.get("description", ""))))
    row.definition = masker.value(definition)
    row.sealed = vault.seal(definition)
    row.tasks_total = len(plan.tasks)
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        raise Taken(
            f"{upstream.name} has a workflow named {name!r} already.", (mistake("flow_name", "This name is taken."),)
        ) from None
    return row


def delete_workflow(workflow: Workflow) -> None:
    """Its runs stay."""
    workflow.delete()


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
    if not sandbox_url:
        return
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
