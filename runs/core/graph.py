"""A plan as a picture: layers from left to right, tasks in places where few lines cross. Numbers only, no drawing.

The layered method of Sugiyama: each task stands one layer after the last one that leads to it; a line over several
layers gets a waypoint in each between; the order within a layer follows the mean place of its neighbours.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

import msgspec

from runs.core.plan import Plan

WIDTH, HEIGHT = 184, 40  # of a node
BETWEEN_LAYERS, BETWEEN_NODES, WAYPOINT = 48, 16, 10
MARGIN = 12
SWEEPS: Final = 6  # there and back through the layers

type _Point = str | tuple[str, str, int]  # a task's name, or the waypoint of an edge in a layer


class Node(msgspec.Struct, frozen=True):
    """`x`, `y`: its upper left corner."""

    name: str
    x: float
    y: float


class Edge(msgspec.Struct, frozen=True):
    """`points`: from the right side of one node to the left side of the other. `condition`: of a branch, else None."""

    source: str
    target: str
    condition: str | None
    points: tuple[tuple[float, float], ...]


class Graph(msgspec.Struct, frozen=True):
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    width: float
    height: float


def graph(plan: Plan) -> Graph:
    """Where each task of the plan stands, and how the lines go: what it waits for, and its branches."""
    conditions: dict[tuple[str, str], str | None] = {
        (before, task.name): None for task in plan.tasks for before in task.depends
    }
    for branch in plan.branches:
        if branch.source != branch.target:
            known = conditions.get((branch.source, branch.target))
            conditions[branch.source, branch.target] = ", ".join(filter(None, (known, branch.condition)))
    layers = _layers([task.name for task in plan.tasks], conditions)
    chains = {pair: _chain(pair, layers) for pair in conditions}
    columns = _ordered(_columns(layers, chains.values()), chains.values())
    middles = _middles(columns, chains.values())
    height = max((middles[point] + _size(point) / 2 for point in middles), default=0.0) + MARGIN
    nodes = tuple(Node(task.name, _left(layers[task.name]), middles[task.name] - HEIGHT / 2) for task in plan.tasks)
    edges = tuple(
        Edge(*pair, condition, _points(pair[0], chains[pair], layers, middles))
        for pair, condition in conditions.items()
    )
    return Graph(nodes, edges, _left(len(columns)) - BETWEEN_LAYERS + MARGIN, height)


def _left(layer: int) -> float:
    return MARGIN + layer * (WIDTH + BETWEEN_LAYERS)


def _size(point: _Point) -> float:
    return HEIGHT if isinstance(point, str) else WAYPOINT


def _layers(names: list[str], pairs: Iterable[tuple[str, str]]) -> dict[str, int]:
    """The layer of every task. Branches may lead back: where all wait for each other, the first one begins."""
    before: dict[str, set[str]] = {name: set() for name in names}
    after: dict[str, list[str]] = {name: [] for name in names}
    for source, target in pairs:
        before[target].add(source)
        after[source].append(target)
    layers: dict[str, int] = {}
    waiting = {name: len(before[name]) for name in names}
    ready = [name for name in names if not waiting[name]]
    rest = iter(names)
    while len(layers) < len(names):
        if not ready:
            ready.append(next(name for name in rest if name not in layers))
        for name in ready:  # grows while it is read
            if name in layers:
                continue
            layers[name] = 1 + max((layers[one] for one in before[name] if one in layers), default=-1)
            for follower in after[name]:
                waiting[follower] -= 1
                if waiting[follower] == 0:
                    ready.append(follower)
        ready = []
    return layers


def _chain(pair: tuple[str, str], layers: Mapping[str, int]) -> list[_Point]:
    """The two ends of an edge and its waypoints, from left to right; a line that leads back runs the same way."""
    source, target = pair
    left, right = (source, target) if layers[source] <= layers[target] else (target, source)
    return [left, *((source, target, layer) for layer in range(layers[left] + 1, layers[right])), right]


def _columns(layers: Mapping[str, int], chains: Iterable[list[_Point]]) -> list[list[_Point]]:
    columns: list[list[_Point]] = [[] for _ in range(1 + max(layers.values(), default=-1))]
    for name, layer in layers.items():
        columns[layer].append(name)
    for chain in chains:
        for point in chain[1:-1]:
            assert not isinstance(point, str)
            columns[point[2]].append(point)
    return columns


def _neighbours(chains: Iterable[list[_Point]]) -> tuple[dict[_Point, list[_Point]], dict[_Point, list[_Point]]]:
    """Of each point those on its left, and those on its right."""
    left: dict[_Point, list[_Point]] = {}
    right: dict[_Point, list[_Point]] = {}
    for chain in chains:
        for one, other in pairwise(chain):
            right.setdefault(one, []).append(other)
            left.setdefault(other, []).append(one)
    return left, right


def _ordered(columns: list[list[_Point]], chains: Iterable[list[_Point]]) -> list[list[_Point]]:
    left, right = _neighbours(chains)
    place: dict[_Point, float] = {point: at for column in columns for at, point in enumerate(column)}
    for sweep in range(SWEEPS):
        towards, order = (left, columns) if sweep % 2 == 0 else (right, columns[::-1])
        for column in order:
            means = _means(column, towards, place)
            column.sort(key=lambda point: means.get(point, place[point]))  # sorted at once
            place.update({point: at for at, point in enumerate(column)})
    return columns


def _means(
    column: list[_Point], towards: Mapping[_Point, list[_Point]], place: Mapping[_Point, float]
) -> dict[_Point, float]:
    """The mean place of the neighbours of each point that has some."""
    return {
        point: sum(place[one] for one in towards[point]) / len(towards[point]) for point in column if point in towards
    }


def _middles(columns: list[list[_Point]], chains: Iterable[list[_Point]]) -> dict[_Point, float]:
    """The height of each point's middle: level with its neighbours where the order leaves room for that."""
    left, right = _neighbours(chains)
    middles: dict[_Point, float] = {}
    for column in columns:
        _stack(column, middles, {})
    for towards, order in ((left, columns), (right, columns[::-1]), (left, columns)):
        for column in order:
            _stack(column, middles, _means(column, towards, middles))
    lowest = min((middles[point] - _size(point) / 2 for point in middles), default=0.0)
    return {point: middle - lowest + MARGIN for point, middle in middles.items()}


def _stack(column: list[_Point], middles: dict[_Point, float], wishes: Mapping[_Point, float]) -> None:
    """One below the other, each as near to its wish as those above it allow; then all of them as near as together."""
    end, off = float("-inf"), 0.0
    for point in column:
        half = _size(point) / 2
        wish = wishes.get(point, middles.get(point, end if end > float("-inf") else 0.0))
        middles[point] = max(wish, end + half)
        off += middles[point] - wish
        end = middles[point] + half + BETWEEN_NODES
    for point in column:
        middles[point] -= off / len(column)


def _points(
    source: str, chain: list[_Point], layers: Mapping[str, int], middles: Mapping[_Point, float]
) -> tuple[tuple[float, float], ...]:
    points: list[tuple[float, float]] = []
    for number, point in enumerate(chain):
        y = middles[point]
        if isinstance(point, str):
            x = _left(layers[point])
            points.append((x + WIDTH if number == 0 else x, y))
        else:
            points += [(_left(point[2]), y), (_left(point[2]) + WIDTH, y)]
    return tuple(points) if chain[0] == source else tuple(reversed(points))
