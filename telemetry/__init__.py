"""Sends each run that has ended as an OpenTelemetry trace, where there is somebody to send it to."""

from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from telemetry.sending import TraceSender


def senders(name: str, site: str) -> "list[TraceSender]":
    """What a worker of this name has to run: one, or none where nobody wants traces.

    `site`: where people find the pages, without a slash at the end.
    """
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return []
    from telemetry.sending import TraceSender  # noqa: PLC0415  # its libraries take 0.1 s to load, and 4 MiB

    return [TraceSender(name, site)]
