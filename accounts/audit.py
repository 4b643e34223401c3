"""The log of who did what: written here, in the transaction of the deed where there is one, and read by the page.

No secret goes in: tokens by their prefix, links and passwords not at all, and of a failed sign-in only names of users.
"""

from collections.abc import Sequence

from accounts import origin
from accounts.models import AuditEntry, User

PAGE_SIZE = 100


def record(deed: str, who: User | str | None, about: str = "", detail: str = "") -> None:
    """`who`: the one who acts, or their name; None where that is not known, as with a command."""
    name = who.username if isinstance(who, User) else who or ""
    here = origin.current()
    AuditEntry.objects.create(
        name=name, deed=deed, about=about, detail=detail, via=here.via, place=here.place, token=here.token
    )


def page(*, name: str = "", deed: str = "", before: int | None = None) -> tuple[Sequence[AuditEntry], int | None]:
    """Entries, newest first, older than `before`; and the `before` of the next page, None on the last."""
    entries = AuditEntry.objects.order_by("-id")
    if name:
        entries = entries.filter(name=name)
    if deed:
        entries = entries.filter(deed=deed)
    if before is not None:
        entries = entries.filter(id__lt=before)
    found = list(entries[: PAGE_SIZE + 1])
    return found[:PAGE_SIZE], found[PAGE_SIZE - 1].pk if len(found) > PAGE_SIZE else None
