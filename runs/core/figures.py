"""What a worker has done since it started, in numbers that only grow: for those who watch it from outside."""

from bisect import bisect_left
from typing import Final

import msgspec

# Upper ends in seconds of the classes in which lags are counted; one more class is for what is above.
LAGS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Figures(msgspec.Struct):
    """`lags`: how many writes of how many a class; `lag_sum`: their seconds together."""

    commits: int = 0
    events: int = 0
    rejected: int = 0
    lag_sum: float = 0.0
    lags: list[int] = msgspec.field(default_factory=lambda: [0] * (len(LAGS) + 1))

    def wrote(self, events: int, rejected: int, lag: float | None) -> None:
        """A write to one run is durable. `lag`: seconds since the receipt of its oldest event; None without one."""
        self.events += events
        self.rejected += rejected
        if lag is not None:
            self.lag_sum += max(0.0, lag)
            self.lags[bisect_left(LAGS, lag)] += 1
