"""The upstream's own example streams, each frame's text exactly as its documentation prints it."""

import json
from pathlib import Path

FOLDER = Path(__file__).parent


def frames(name: str) -> list[str]:
    """The raw frames, in order, of "customer_support" or "financial_data".

    A file holds one JSON string a line, since the frames themselves have line breaks.
    """
    lines = (FOLDER / f"{name}.frames.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]
