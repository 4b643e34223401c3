"""One line of the table: what Stepline took, what a bare one took in the same run, and what was to be reached."""

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

Figure = float | tuple[float, ...] | None  # one figure, or several: p50 and p99


@dataclass(frozen=True)
class Row:
    """`floor` and `reach` are in the unit of `stepline`; None where there is none. `more`: more of it is better."""

    bench: str
    unit: str
    stepline: Figure
    floor: Figure = None
    reach: Figure = None
    work: str = ""
    more: bool = False

    @property
    def ratio(self) -> float | None:
        """Of the first figure to that of the floor."""
        pairs = list(zip(_all(self.stepline), _all(self.floor), strict=False))
        return round(pairs[0][0] / pairs[0][1], 3) if pairs and pairs[0][1] else None

    @property
    def verdict(self) -> str:
        pairs = list(zip(_all(self.stepline), _all(self.reach), strict=False))
        if not pairs:
            return "-"
        return "reached" if all(got >= asked if self.more else got <= asked for got, asked in pairs) else "short"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "verdict": self.verdict}

    @classmethod
    def of_json(cls, told: dict[str, Any]) -> "Row":
        return msgspec.convert(told, cls)


def table(rows: Iterable[Row]) -> str:
    lines = [f"{'bench':13} {'Stepline':>15} {'floor':>15} {'ratio':>8} {'reach':>10} {'verdict':8} unit; work"]
    lines += [
        f"{row.bench:13} {text(row.stepline):>15} {text(row.floor):>15} {text(row.ratio):>8} {text(row.reach):>10} "
        f"{row.verdict:8} {row.unit}; {row.work}"
        for row in rows
    ]
    return "\n".join(lines)


def text(figure: Figure) -> str:
    return " / ".join(_short(one) for one in _all(figure)) or "-"


def nth(values: Iterable[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values: Iterable[float], digits: int = 1) -> float:
    return round(statistics.median(values), digits)


def _all(figure: Figure) -> tuple[float, ...]:
    if figure is None:
        return ()
    return figure if isinstance(figure, tuple) else (figure,)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:.3g}"
