"""What a browser calls itself, in words for a list."""

import re

from django import template

register = template.Library()

# Each calls itself by the names of those before it, too: the first that fits is meant.
BROWSERS = [
    ("Edg(?:e|A|iOS)?/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/|FxiOS/", "Firefox"),
    ("Chrom(?:e|ium)/|CriOS/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
]
SYSTEMS = [
    ("iPhone|iPad", "iOS"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X|Macintosh", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux|X11", "Linux"),
]


def _first(agent: str, names: list[tuple[str, str]]) -> str:
    return next((name for pattern, name in names if re.search(pattern, agent)), "")


@register.filter
def browser(agent: str) -> str:
    """“Firefox on Linux” for a User-Agent; its beginning where it is no browser that is known here."""
    name, system = _first(agent, BROWSERS), _first(agent, SYSTEMS)
    if name and system:
        return f"{name} on {system}"
    return name or agent[:40] or "Not known"
