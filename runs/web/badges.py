"""A run's state as a small picture: SVG with no script and no font of its own, whose words say what its colours do."""

import math
import re
import time
import unicodedata
from typing import Final

from django.utils.html import format_html
from django.utils.safestring import SafeString

from runs.facts import progress_of
from runs.models import Run
from runs.templatetags.rows import state_word

LETTERS: Final = 40  # of a flow's name
HEIGHT: Final = 20
SIZE: Final = 11  # of the letters, pixels
PAD: Final = 7
MARK: Final = 13  # width of a mark with the blank after it
NEVER: Final = ("Never run", "#565d64", "")

# State -> its colour, on which white has a contrast of at least 4.5, and the mark beside its word, 16 x 16.
LOOKS: Final = {
    Run.Status.QUEUED: ("#565d64", "M8 4.2V8l2.4 1.6M8 2.2a5.8 5.8 0 1 0 .01 0z"),
    Run.Status.LAUNCHING: ("#00609a", "M8 13V3.4M3.8 7.4 8 3.2l4.2 4.2"),
    Run.Status.RUNNING: ("#00609a", "M4.8 3v10l8-5z"),
    Run.Status.SUCCEEDED: ("#006b4e", "m3 8.6 3.2 3.2L13 4.6"),
    Run.Status.FAILED: ("#a64100", "m3.9 3.9 8.2 8.2m0-8.2-8.2 8.2"),
    Run.Status.LOST: ("#93366c", "M5.4 6a2.7 2.7 0 1 1 3.8 2.4c-.9.4-1.2 1-1.2 1.9M8 13v.1"),
    Run.Status.STOPPED: ("#565d64", "M8 2.4a5.6 5.6 0 1 0 .01 0zM4.2 11.8l7.6-7.6"),
    Run.Status.REJECTED: ("#a64100", "M8 2.4a5.6 5.6 0 1 0 .01 0zM4.6 8h6.8"),
}


def drawn(name: str, run: Run | None) -> SafeString:
    """The picture of the latest `run` of the flow `name`; None: it was never run."""
    word, colour, mark = _look(run)
    name = _plain(name)
    left, right = _width(name), _width(word)
    middle = left + 2 * PAD
    word_at = middle + PAD + (MARK if mark else 0)
    return format_html(
        '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img" aria-label="{title}">'
        "<title>{title}</title>"
        '<clipPath id="r"><rect width="{width}" height="{height}" rx="4"/></clipPath>'
        '<g clip-path="url(#r)"><rect width="{middle}" height="{height}" fill="#2b3036"/>'
        '<rect x="{middle}" width="{rest}" height="{height}" fill="{colour}"/></g>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="{size}" aria-hidden="true">'
        '<text x="{pad}" y="14" textLength="{left}" lengthAdjust="spacingAndGlyphs">{name}</text>'
        '<text x="{word_at}" y="14" textLength="{right}" lengthAdjust="spacingAndGlyphs">{word}</text></g>'
        "{mark}</svg>\n",
        width=word_at + right + PAD,
        height=HEIGHT,
        title=f"{name}: {word}",
        middle=middle,
        rest=word_at + right + PAD - middle,
        colour=colour,
        size=SIZE,
        pad=PAD,
        left=left,
        right=right,
        name=name,
        word_at=word_at,
        word=word,
        mark=_mark(mark, middle + PAD - 2),
    )


def _look(run: Run | None) -> tuple[str, str, str]:
    """Word, colour and mark."""
    if run is None:
        return NEVER
    word = state_word(run.status)
    fraction = progress_of(run, time.time()).fraction if run.status == Run.Status.RUNNING else None
    if fraction is not None:
        word += f" {math.floor(100 * fraction + 1e-9)} %"
    return (word, *LOOKS[Run.Status(run.status)])


def _mark(path: str, x: int) -> SafeString:
    if not path:
        return SafeString("")
    return format_html(
        '<path d="{}" transform="translate({} 4) scale(.75)" fill="none" stroke="#fff" stroke-width="2.2" '
        'stroke-linecap="round" stroke-linejoin="round"/>',
        path,
        x,
    )


def _plain(name: str) -> str:
    """As XML may hold it, and not too long."""
    name = re.sub("[^\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", name)
    return name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"


def _width(text: str) -> int:
    """About how wide this is in such letters, pixels; `textLength` then makes it so in whatever font there is."""
    return math.ceil(sum(map(_letter, text)))


def _letter(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 11.0
    if letter in "iIjl.,:;'|!()[] ftr-":
        return 4.3
    if letter in "mwMW%@…":
        return 10.3
    return 7.7 if letter.isupper() else 6.8
