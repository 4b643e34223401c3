"""The calls about links that show a run to anybody."""

from typing import Any

from django.http import Http404, HttpRequest
from ninja import Router, Status

from api import schemas
from api.access import OPERATOR, caller
from api.lookup import site
from api.runs import find
from runs import sharing
from runs.facts import Facts, moment
from runs.models import ShareLink

router = Router(tags=["links"])


def facts(link: ShareLink) -> Facts:
    return {
        "id": link.pk,
        "name": link.name,
        "prefix": link.prefix,
        "made_by": link.made_by.username if link.made_by else None,
        "created_at": moment(link.created_at),
        "expires_at": moment(link.expires_at),
        "last_used_at": moment(link.last_used_at),
    }


@router.get("/{int:run_id}/links", response=schemas.LinksOut, auth=OPERATOR)
def list_links(request: HttpRequest, run_id: int) -> Facts:
    """The run's links, the newest first, without those that are revoked. Needs the role operator."""
    return {"items": [facts(link) for link in sharing.listed(find(run_id))]}


@router.post("/{int:run_id}/links", response={201: schemas.NewLinkOut}, auth=OPERATOR)
def make_link(request: HttpRequest, run_id: int, body: schemas.LinkIn) -> Status[Any]:
    """A link that shows this run to whoever has it. Its addresses can be read only in this answer."""
    link, text = sharing.make(find(run_id), caller(request), days=body.days, name=body.name)
    page, embed, badge = (site(request) + path for path in sharing.paths(text))
    return Status(201, {**facts(link), "url": page, "embed_url": embed, "badge_url": badge})


@router.delete("/{int:run_id}/links/{int:link_id}", response={204: None}, auth=OPERATOR)
def revoke_link(request: HttpRequest, run_id: int, link_id: int) -> Status[None]:
    """It shows nothing from now on."""
    link = ShareLink.objects.filter(run=run_id, pk=link_id, revoked_at=None).first()
    if link is None:
        raise Http404(f"Run {run_id} has no link {link_id}.")
    sharing.revoke(link, caller(request))
    return Status(204, None)
