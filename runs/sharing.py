"""Links that show one run, or one flow's badge, to anybody who has them: making, revoking, and what one leads to."""

import secrets
from contextlib import suppress
from datetime import timedelta
from typing import Final

from django.db import OperationalError, transaction
from django.urls import reverse
from django.utils import timezone

from accounts import audit
from accounts.models import Deed, User, digest
from runs.models import Run, ShareLink, Workflow

SHOWN: Final = 8  # characters of a text by which people tell their links apart: no help in guessing the other 35
LONGEST: Final = 100  # characters; ours have 43, and nothing longer is worth hashing
NOTED_EVERY: Final = timedelta(minutes=1)  # the last use is kept no more exactly than this


def make(of: Run | Workflow, by: User, *, days: int | None = None, name: str = "") -> tuple[ShareLink, str]:
    """A new link and its text, which can be read only now. `days`: how long it is good; None: until it is revoked."""
    text = secrets.token_urlsafe(32)
    now = timezone.now()
    with transaction.atomic():
        link = ShareLink.objects.create(
            run=of if isinstance(of, Run) else None,
            workflow=of if isinstance(of, Workflow) else None,
            name=name,
            prefix=text[:SHOWN],
            digest=digest(text),
            made_by=by,
            created_at=now,
            expires_at=now + timedelta(days=days) if days else None,
        )
        audit.record(Deed.SHARE_MADE, by, _about(link), f"{days} days" if days else "no expiry")
    return link, text


def paths(text: str) -> tuple[str, str, str]:
    """Of the page, the embedded view and the badge that a link with this text shows."""
    page, embed, badge = (reverse(name, args=[text]) for name in ("shared", "shared-embed", "shared-badge"))
    return page, embed, badge


def revoke(link: ShareLink, by: User) -> None:
    """It shows nothing from now on; pages that are open are closed by runs/web/live.py."""
    with transaction.atomic():
        if ShareLink.objects.filter(pk=link.pk, revoked_at=None).update(revoked_at=timezone.now()):
            audit.record(Deed.SHARE_REVOKED, by, _about(link))


def listed(of: Run | Workflow) -> list[ShareLink]:
    """Those that are not revoked, the newest first; expired ones stay in sight."""
    return list(of.share_links.filter(revoked_at=None).select_related("made_by").order_by("-pk"))


def use(text: str) -> ShareLink | None:
    """The good link with this text; None when it is unknown, expired or revoked."""
    if not text or len(text) > LONGEST:
        return None
    good = ShareLink.objects.good().select_related("run", "workflow")
    link = good.filter(digest=digest(text)).first()
    now = timezone.now()
    if link and (link.last_used_at is None or link.last_used_at < now - NOTED_EVERY):
        with suppress(OperationalError):  # a database that takes no writes may be read all the same
            ShareLink.objects.filter(pk=link.pk).update(last_used_at=now)
    return link


def _about(link: ShareLink) -> str:
    run = link.run
    of = f"run {run.pk}: {run.flow_name} / {run.run_name}" if run else f"the badge of workflow {link.workflow}"
    return f"{link.prefix}… of {of}"
