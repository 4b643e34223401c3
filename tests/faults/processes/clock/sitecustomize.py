"""Loaded by a process under test at its start (PYTHONPATH): its wall clock is off by the seconds in a file."""

import os
import time
from pathlib import Path

_true_time = time.time
_shift = Path(os.environ["CLOCK_SHIFT_FILE"])


def _shifted_time() -> float:
    return _true_time() + float(_shift.read_text() or 0)  # empty for the moment in which it is written anew


time.time = _shifted_time
