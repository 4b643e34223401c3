"""Workflows that are saved at an upstream's studio, beside those that are stored here; and taking some over.

Nothing that the studio says is stored or shown before it was read as a definition and masked.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

from asgiref.sync import async_to_sync

from accounts.models import User
from runs import actions, vault
from runs.catalogue import Refused, check_name, named, read_definition, same, unsealed
from runs.core import schema as schemas
from runs.core.redact import Masker
from runs.fields import dumps
from runs.models import Upstream, Workflow
from runs.upstream import studio

ORIGIN: Final = "from the studio"
SHORTEST_KEY: Final = 8  # characters; a shorter text stands everywhere by chance


class Offer(NamedTuple):
    """One saved workflow. `state`: against what is stored here under its name; `why` it is refused.

    `definition`: as it would be stored, with its secrets; `masked`: for pages. `mark`: changes with anything that a
    reader of this offer was shown, here or there.
    """

    flow_name: str
    updated_at: datetime | str
    state: Literal["new", "same", "changed", "refused"]
    why: str = ""
    tasks: int | None = None
    workflow: Workflow | None = None
    definition: dict[str, Any] | None = None
    masked: Any = None
    mark: str = ""


class TakenOver(NamedTuple):
    made: list[Workflow]
    updated: list[Workflow]
    refused: list[tuple[str, str]]  # flow name, why
    gone: int  # chosen, and not as they were any more


def offers(upstream: Upstream) -> tuple[list[Offer], bool]:
    """What the studio of this upstream has, and whether it has more than is read. Raises Refused in its name."""
    if not upstream.studio_url:
        raise Refused(f"{upstream.name} has no studio address. An administrator can enter one on the page Upstreams.")
    try:
        key, masker = vault.upstream_key(upstream), vault.masker(upstream)
    except vault.Unreadable as error:
        raise Refused(f"The key of {upstream.name} cannot be used. {error}") from None
    try:
        saved, more = async_to_sync(studio.saved_workflows)(upstream.studio_url, key)
    except studio.Failed as failed:
        raise Refused(masker.text(f"The studio of {upstream.name} gave no workflows: {failed}.")) from None
    return list(_offers(upstream, saved, masker)), more


def take_over(upstream: Upstream, chosen: set[str], user: User | None = None) -> TakenOver:
    """Store the offers with these marks, new ones and changed ones. Raises Refused as `offers` does."""
    found = {offer.mark: offer for offer in offers(upstream)[0] if offer.state in ("new", "changed")}
    result = TakenOver([], [], [], len(chosen - set(found)))
    for offer in (found[mark] for mark in found if mark in chosen):
        try:
            saved = actions.save_workflow(
                upstream=upstream,
                definition=offer.definition,
                description=offer.workflow.description if offer.workflow else "",
                flow_name=offer.flow_name,
                workflow=offer.workflow,
                origin=ORIGIN,
                user=user,
            )
        except Refused as refused:
            result.refused.append((offer.flow_name, _why(refused, vault.masker(upstream))))
        else:
            (result.updated if offer.workflow else result.made).append(saved)
    return result


def _offers(upstream: Upstream, saved: list[studio.Saved], masker: Masker) -> Iterator[Offer]:
    names = {one.flow_name for one in saved}
    workflows = Workflow.objects.select_related("upstream").filter(upstream=upstream, flow_name__in=names)
    stored = {one.flow_name: one for one in workflows}
    seen: set[str] = set()
    for one in saved:
        try:
            yield _offer(one, stored.get(one.flow_name), masker, twice=one.flow_name in seen)
        except Refused as refused:
            name = masker.text(one.flow_name) or "without a name"
            yield Offer(name, _time(one.updated_at, masker), "refused", _why(refused, masker))
        seen.add(one.flow_name)


def _offer(one: studio.Saved, workflow: Workflow | None, masker: Masker, *, twice: bool) -> Offer:
    if one.definition is None or one.why:
        raise Refused(one.why)
    check_name(one.flow_name, "flow_name")
    if twice:
        raise Refused("Another workflow of this name is saved at the studio; only the first can be imported.")
    definition = named(one.definition, one.flow_name)
    plan = read_definition(definition)
    masked = schemas.masked(definition, masker)
    shown = dumps(masked)
    if len(one.api_key) >= SHORTEST_KEY and one.api_key in shown:
        raise Refused("The key of its account stands in it where nobody expects a secret. Take it out at the studio.")
    state: Literal["new", "same", "changed"] = "new"
    if workflow is not None:
        state = "same" if same(definition, unsealed(workflow.sealed)) else "changed"
    version = workflow.version if workflow else 0
    mark = hashlib.sha256(f"{one.flow_id}\n{version}\n{shown}".encode("utf-8", "replace")).hexdigest()[:32]
    updated_at = _time(one.updated_at, masker)
    return Offer(one.flow_name, updated_at, state, "", len(plan.tasks), workflow, definition, masked, mark)


def _why(refused: Refused, masker: Masker) -> str:
    place = refused.mistakes[0].place if refused.mistakes else ""
    return masker.text(refused.message) + (f" First at {masker.text(place)}." if place else "")


def _time(text: str, masker: Masker) -> datetime | str:
    """A time in UTC, which it is where no zone is given; what is none stays a text."""
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return masker.text(text)
