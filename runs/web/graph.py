"""A workflow's graph as SVG: of a run coloured by state, of a workflow as it would be launched."""

from collections.abc import Mapping
from urllib.parse import quote

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from runs.core import plan as plans
from runs.core.graph import HEIGHT, WIDTH, Graph, Node, graph
from runs.core.outline import ERRORS_FIRST, Item
from runs.models import Launch, Run
from runs.web.scene import Scene

MOST_NODES = 300  # a larger graph is a picture of nothing, and the timeline has all of its tasks
LETTERS = 19  # of a name that a node has room for
MARKS = {"pending": "○", "running": "▶", "succeeded": "✓", "failed": "✕", "skipped": "⊘", "unknown": "?"}


def graph_of(definition: object) -> Graph | str:
    """The graph of a definition, or why there is none."""
    try:
        plan = plans.read(definition)
    except plans.PlanError:
        return "This definition cannot be read as a graph."
    if len(plan.tasks) > MOST_NODES:
        return f"A graph of {len(plan.tasks)} tasks could not be read, so it is not drawn: the timeline has them all."
    return graph(plan)


def graph_of_run(scene: Scene) -> SafeString:
    """What was launched, in the states that its tasks have there. Reads the launch once."""
    kept = scene.kept
    if kept.graph is None:
        kept.graph = _launched(scene.run)
    return drawn(kept.graph, by_name(kept.outline.items()))


def _launched(run: Run) -> Graph | str:
    definition = Launch.objects.filter(run=run).values_list("definition", flat=True).first()
    if definition is None:
        return "This run was started elsewhere: Stepline does not know its workflow, so there is no graph of it."
    return graph_of(definition)


def drawn(
    found: Graph | str, items: Mapping[str, Item] | None = None, lines: Mapping[str, int] | None = None
) -> SafeString:
    """The graph, or why there is none. `items`: the run's tasks by name; without them nothing has a state. `lines`: on
    which line of an editor's text each task begins, to go there.
    """
    if isinstance(found, str):
        return format_html('<p class="empty small">{}</p>', found)
    paths = (
        (
            "edge" if edge.condition is None else "edge branch",
            _path(edge.points),
            "" if edge.condition is None else format_html("<title>{}</title>", edge.condition or "on a condition"),
        )
        for edge in found.edges
    )
    return format_html(
        '<svg class="graph" width="{}" height="{}" viewBox="0 0 {} {}" role="group" aria-label="Graph of the tasks">'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="arrow" d="M0 0 8 4 0 8z"/></marker></defs>{}{}</svg>',
        *(f"{size:.0f}" for size in (found.width, found.height, found.width, found.height)),
        format_html_join("", '<path class="{}" d="{}" marker-end="url(#arrow)">{}</path>', paths),
        format_html_join("", "{}", ((_node(node, items, lines),) for node in found.nodes)),
    )


def by_name(items: list[Item]) -> dict[str, Item]:
    """Of each name the task that a reader should know of first."""
    found: dict[str, Item] = {}
    for item in items:
        if item.name not in found or _rank(item) < _rank(found[item.name]):
            found[item.name] = item
    return found


def _rank(item: Item) -> int:
    return ERRORS_FIRST.index(item.status)


def _node(node: Node, items: Mapping[str, Item] | None, lines: Mapping[str, int] | None) -> SafeString:
    item = None if items is None else items.get(node.name)
    status = "" if items is None else item.status if item else "pending"
    shown = node.name if len(node.name) <= LETTERS else node.name[: LETTERS - 1] + "…"
    inside = format_html(
        '<title>{}</title><rect width="{}" height="{}" rx="6"/><text class="mark" x="16" y="{}">{}</text>'
        '<text x="{}" y="{}">{}</text>',
        f"{node.name}, {status}" if status else node.name,
        WIDTH,
        HEIGHT,
        HEIGHT / 2 + 5,
        MARKS.get(status, ""),
        30 if status else 12,
        HEIGHT / 2 + 4,
        shown,
    )
    at = f"translate({node.x:.1f} {node.y:.1f})"
    if lines is not None and node.name in lines:
        link = '<a class="node" href="#id_definition" data-line="{}" aria-label="{}, line {}" transform="{}">{}</a>'
        return format_html(link, lines[node.name], node.name, lines[node.name], at, inside)
    if item is None:
        return format_html('<g class="node" transform="{}">{}</g>', at, inside)
    return format_html(
        '<a class="node s-{}" data-key="{}" data-state="{}" href="?view=graph&amp;task={}" aria-label="{}, {}" '
        'transform="{}">{}</a>',
        status,
        item.key,
        status,
        quote(item.key, safe=""),
        node.name,
        status,
        at,
        inside,
    )


def _path(points: tuple[tuple[float, float], ...]) -> str:
    """A line that leaves and arrives level: curves between the layers, straight within them."""
    (x, y), *rest = points
    parts = [f"M{x:.1f} {y:.1f}"]
    for number, (to_x, to_y) in enumerate(rest):
        if number % 2:
            parts.append(f"H{to_x:.1f}")
        else:
            middle = (x + to_x) / 2
            parts.append(f"C{middle:.1f} {y:.1f} {middle:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}")
        x, y = to_x, to_y
    return "".join(parts)
