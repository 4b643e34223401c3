"""A JSON value as a tree of HTML that opens and closes, with masked values as chips. Everything is escaped here."""

from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from runs.templatetags.rows import chips

MOST_NODES = 1500  # of one value; the raw event has the rest
OPEN_DEPTH = 2  # levels that stand open at first
LONG_TEXT = 400  # characters after which a text is folded
EXACT_INTEGER = 2**53


class _Budget:
    def __init__(self) -> None:
        self.left = MOST_NODES


def tree(value: Any) -> SafeString:
    """The value as nested <details>; after MOST_NODES nodes it says how to see the rest."""
    return _node(value, 0, _Budget())


def _node(value: Any, depth: int, budget: _Budget) -> SafeString:
    budget.left -= 1
    if isinstance(value, dict):
        rows = [(key, item) for key, item in value.items()]
        return _branch(rows, "{", "}", depth, budget)
    if isinstance(value, list):
        return _branch(list(enumerate(value)), "[", "]", depth, budget)
    return _leaf(value)


def _branch(rows: list[tuple[Any, Any]], opening: str, closing: str, depth: int, budget: _Budget) -> SafeString:
    if not rows:
        return format_html('<span class="j-empty">{}{}</span>', opening, closing)
    items: list[SafeString] = []
    for key, item in rows:
        if budget.left <= 0:
            items.append(format_html('<li class="j-more">… {} more; see the raw event</li>', len(rows) - len(items)))
            break
        items.append(format_html('<li><span class="j-key">{}</span> {}</li>', key, _node(item, depth + 1, budget)))
    noun = "key" if opening == "{" else "item"
    return format_html(
        '<details class="j"{}><summary>{}<span class="j-count">{} {}{}</span>{}</summary><ul>{}</ul></details>',
        SafeString(" open") if depth < OPEN_DEPTH else "",
        opening,
        len(rows),
        noun,
        "" if len(rows) == 1 else "s",
        closing,
        format_html_join("", "{}", ((item,) for item in items)),
    )


def _leaf(value: Any) -> SafeString:
    if value is None or isinstance(value, bool):
        return format_html('<span class="j-word">{}</span>', {None: "null", True: "true", False: "false"}[value])
    if isinstance(value, int) and abs(value) > EXACT_INTEGER:
        return format_html('<span class="j-number" title="kept exactly">{}</span>', str(value))
    if isinstance(value, int | float):
        return format_html('<span class="j-number">{}</span>', repr(value))
    text = str(value)
    if len(text) > LONG_TEXT:
        return format_html(
            '<details class="j j-long"><summary class="j-text">{}…<span class="j-count">{} characters</span></summary>'
            '<span class="j-text">{}</span></details>',
            text[:120],
            len(text),
            chips(text),
        )
    return format_html('<span class="j-text">{}</span>', chips(text))
