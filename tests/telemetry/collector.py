"""A receiver of traces on loopback: what OpenTelemetry's own classes read of what arrives, span by span."""

from collections.abc import Iterator

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.receiver import Heard, Receiver

type Value = str | int | bool


def requests(receiver: Receiver) -> Iterator[ExportTraceServiceRequest]:
    for heard in receiver.heard:
        assert heard.path == "/v1/traces"
        assert heard.headers["content-type"] == "application/x-protobuf"
        yield ExportTraceServiceRequest.FromString(heard.content)


def spans_of(heard: Heard) -> list[Span]:
    request = ExportTraceServiceRequest.FromString(heard.content)
    return [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


def all_spans(receiver: Receiver) -> list[Span]:
    return [span for heard in receiver.heard for span in spans_of(heard)]


def values(span: Span) -> dict[str, Value]:
    """The attributes of a span."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "") for pair in span.attributes}
