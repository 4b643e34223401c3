"""Whether work grows with what it works on or with its square, judged so that a busy machine changes nothing."""

import gc
import time
from collections.abc import Callable

ROUNDS = 15  # of both lengths in turn, before a suspicion stands
SIZE = 200_000  # characters


def _seconds(work: Callable[[str], object], text: str) -> float:
    """CPU seconds of this thread alone."""
    start = time.thread_time()
    work(text)
    return time.thread_time() - start


def repeated(piece: str) -> Callable[[int], str]:
    """A text of so many characters made of one piece again and again."""
    return lambda size: (piece * (size // len(piece) + 1))[:size]


def grows_in_proportion(work: Callable[[str], object], text_of: Callable[[int], str]) -> bool:
    """Whether twice the length takes about twice the time; a square would take four times as much.

    Noise (a cold cache, a neighbour on the core) only ever adds to a time, so the least of several rounds of each
    length is what is compared, and rounds go on as long as the verdict is bad: it stays bad only where the work is.
    """
    half, whole = text_of(SIZE), text_of(2 * SIZE)
    of_half = of_whole = float("inf")
    gc.disable()  # its rounds come in steps that hide how the work grows
    try:
        for number in range(ROUNDS):
            of_half = min(of_half, _seconds(work, half))
            of_whole = min(of_whole, _seconds(work, whole))
            if number >= 1 and of_whole < 3.2 * of_half + 0.02:
                return True
        return False
    finally:
        gc.enable()
