"""Masks secrets in payloads and texts before anything else sees them: the one place that does.

It makes new values and never raises: what it cannot mask it replaces whole. A secret becomes `[masked:KIND#FFFFFF]`;
FFFFFF is a keyed fingerprint, so equal secrets stay visibly equal. What is a secret: names.py says by its name,
values.py and known.py by its looks, pairs.py in texts that are no JSON. masker.py walks over a payload.
"""

from runs.core.redact.markers import has_marker, is_marker
from runs.core.redact.masker import MAX_DEPTH, Masker
from runs.core.redact.restore import restore

__all__ = ["MAX_DEPTH", "Masker", "has_marker", "is_marker", "restore"]
