"""What several calls look up: an upstream by its name, and the site's own address."""

from django.http import HttpRequest

from runs.actions import Refused
from runs.core.plan import Mistake
from runs.models import Upstream


def upstream_named(name: str | None) -> Upstream | None:
    """None without a name. Raises Refused for a name that no upstream has."""
    if name is None:
        return None
    upstream = Upstream.objects.filter(name=name).first()
    if upstream is None:
        known = ", ".join(Upstream.objects.order_by("name").values_list("name", flat=True)[:10]) or "none yet"
        message = f"There is no upstream named {name!r}. There are: {known}."
        raise Refused(message, (Mistake(place="upstream", task=None, message=message),))
    return upstream


def site(request: HttpRequest) -> str:
    """The site's address as the caller knows it, without a slash at the end."""
    return request.build_absolute_uri("/").rstrip("/")
